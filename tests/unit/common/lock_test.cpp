// SPDX-License-Identifier: MIT
#include "common/lock.hpp"

#include "common/files.hpp"
#include "temporary_folder.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>
#include <string>

namespace evenkeel::examples {
namespace {

TEST(LockTest, ASecondRunIsToldWhoHasTheFolder) {
  const TemporaryFolder folder;
  std::optional<FolderLock> first(folder / "lock");
  try {
    const FolderLock second(folder / "lock");
    FAIL() << "expected a FileError";
  } catch (const FileError& error) {
    const std::string text = error.what();
    const auto who = "another run is in this folder: process " + std::to_string(::getpid());
    EXPECT_NE(text.find(who), std::string::npos) << text;
  }
  first.reset();
  const FolderLock second(folder / "lock");
}

TEST(LockTest, ALockGoesWithItsProcessHoweverThatEnds) {
  const TemporaryFolder folder;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const auto child = ::fork();
  if (child == 0) {
    const FolderLock lock(folder / "lock");
    const char byte = 0;
    if (::write(ready[1], &byte, 1) != 1) ::_exit(1);
    while (true) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THROW(FolderLock(folder / "lock"), FileError);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_NO_THROW(FolderLock(folder / "lock"));
}

}  // namespace
}  // namespace evenkeel::examples
