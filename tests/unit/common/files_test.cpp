// SPDX-License-Identifier: MIT
#include "common/files.hpp"

#include "system_faults.hpp"
#include "temporary_folder.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <string>

namespace evenkeel::examples {
namespace {

class FilesTest : public ::testing::Test {
 protected:
  std::string error_of(const std::string& file) {
    try {
      write_file(file, "new");
    } catch (const FileError& error) {
      return error.what();
    }
    return "no error";
  }

  std::ptrdiff_t files() const {
    return std::distance(std::filesystem::directory_iterator(folder_ / ""), {});
  }

  TemporaryFolder folder_;
};

TEST_F(FilesTest, AFileIsWrittenWholeAndNothingBesideIt) {
  write_file(folder_ / "a", "one");
  EXPECT_EQ(bytes_of(folder_ / "a"), "one");
  write_file(folder_ / "a", "another");
  EXPECT_EQ(bytes_of(folder_ / "a"), "another");
  EXPECT_EQ(files(), 1);
}

TEST_F(FilesTest, AFileStaysAsItWasUntilTheCommit) {
  write_file(folder_ / "a", "old");
  {
    FileWriter writer(folder_ / "a");
    writer.write("new");
    EXPECT_EQ(bytes_of(folder_ / "a"), "old");
  }
  EXPECT_EQ(bytes_of(folder_ / "a"), "old");
  EXPECT_EQ(files(), 1);
}

TEST_F(FilesTest, FilesOfTheUsersOwnBesideItStay) {
  for (const char* name : {"a.part", "a.tmp", "a~", ".a.swp", ".evenkeel-mine"}) {
    std::ofstream(folder_ / name) << name;
  }
  write_file(folder_ / "a", "new");
  for (const char* name : {"a.part", "a.tmp", "a~", ".a.swp", ".evenkeel-mine"}) {
    EXPECT_EQ(bytes_of(folder_ / name), name);
  }
}

TEST_F(FilesTest, TheModeOfAFileStays) {
  write_file(folder_ / "a", "old");
  ASSERT_EQ(::chmod((folder_ / "a").c_str(), 0600), 0);
  write_file(folder_ / "a", "new");
  struct stat status {};
  ASSERT_EQ(::stat((folder_ / "a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0600U);
}

TEST_F(FilesTest, ALinkStaysAndItsTargetIsReplaced) {
  std::filesystem::create_directory(folder_ / "sub");
  write_file(folder_ / "sub/real", "old");
  std::filesystem::create_symlink("sub/real", folder_ / "link");
  std::filesystem::create_symlink("link", folder_ / "link_to_link");
  std::filesystem::create_symlink("nothing_yet", folder_ / "dangling");
  write_file(folder_ / "link_to_link", "new");
  write_file(folder_ / "dangling", "first");
  EXPECT_EQ(bytes_of(folder_ / "sub/real"), "new");
  EXPECT_EQ(bytes_of(folder_ / "nothing_yet"), "first");
  for (const char* link : {"link", "link_to_link", "dangling"}) {
    EXPECT_TRUE(std::filesystem::is_symlink(folder_ / link)) << link;
  }
}

TEST_F(FilesTest, AFifoIsWrittenTo) {
  const auto fifo = folder_ / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  auto read = std::async(std::launch::async, [&] { return bytes_of(fifo); });
  write_file(fifo, "through");
  EXPECT_EQ(read.get(), "through");
  EXPECT_TRUE(std::filesystem::is_fifo(fifo));
}

TEST_F(FilesTest, ADeviceIsWrittenToAndSaysWhyItCannotBe) {
  // Root could do harm to those in /dev, and makes its own.
  const auto device = [&](const std::string& name, unsigned minor) {
    if (::geteuid() != 0) return "/dev/" + name;
    const auto own = folder_ / name;
    EXPECT_EQ(::mknod(own.c_str(), S_IFCHR | 0666U, makedev(1, minor)), 0);
    return own;
  };
  const auto null = device("null", 3);
  const auto full = device("full", 7);
  write_file(null, "gone");
  EXPECT_EQ(error_of(full), full + ": No space left on device");
  EXPECT_TRUE(std::filesystem::is_character_file(null));
  EXPECT_TRUE(std::filesystem::is_character_file(full));
}

TEST_F(FilesTest, AnOpenDescriptorIsWrittenToWhereItStands) {
  const int descriptor = ::open((folder_ / "a").c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_EQ(::write(descriptor, "before ", 7), 7);
  std::filesystem::create_symlink("/dev/fd/" + std::to_string(descriptor), folder_ / "link");
  write_file(folder_ / "link", "new");
  write_file("/proc/self/fd/" + std::to_string(descriptor), "er");
  ::close(descriptor);
  EXPECT_EQ(bytes_of(folder_ / "a"), "before newer");
}

TEST_F(FilesTest, APlaceThatCannotBeWrittenIsRefusedAtOnceWithTheReason) {
  const auto refusal = [&](const std::string& name) {
    try {
      const FileWriter writer(folder_ / name);
    } catch (const FileError& error) {
      return std::string(error.what()).substr((folder_ / name).size());
    }
    return std::string("no error");
  };
  write_file(folder_ / "a", "old");
  std::filesystem::create_directory(folder_ / "sub");
  std::filesystem::create_symlink("loop", folder_ / "loop");
  EXPECT_EQ(refusal("no/such/folder"), ": No such file or directory");
  EXPECT_EQ(refusal("sub"), ": Is a directory");
  EXPECT_EQ(refusal("new/"), ": Is a directory");
  EXPECT_EQ(refusal("a/b"), ": Not a directory");
  EXPECT_EQ(refusal("loop"), ": Too many levels of symbolic links");
  EXPECT_EQ(refusal(std::string(300, 'n')), ": File name too long");
  EXPECT_EQ(files(), 3);
}

TEST_F(FilesTest, PermissionsThatLackAreTheReason) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  write_file(folder_ / "a", "old");
  ASSERT_EQ(::chmod((folder_ / "a").c_str(), 0400), 0);
  EXPECT_EQ(error_of(folder_ / "a"), (folder_ / "a") + ": Permission denied");
}

TEST_F(FilesTest, ALongNameIsWrittenToo) {
  const std::string name(255, 'n');
  write_file(folder_ / name, "new");
  EXPECT_EQ(bytes_of(folder_ / name), "new");
}

TEST_F(FilesTest, WhatAKilledProgramLeftIsRemovedAndWhatALiveOneWritesIsNot) {
  const auto left = folder_ / ".evenkeel-0123456789abcdef";
  std::ofstream(left) << "left";
  FileWriter live(folder_ / "live");
  live.write("live");
  write_file(folder_ / "a", "new");
  EXPECT_FALSE(std::filesystem::exists(left));
  live.commit();
  EXPECT_EQ(bytes_of(folder_ / "live"), "live");
  EXPECT_EQ(files(), 2);
}

TEST_F(FilesTest, WhateverCallFailsTheOldFileOrTheNewOneIsWhole) {
  const auto file = folder_ / "a";
  const auto text = std::string(300'000, 'n');
  std::ofstream(file) << "old";
  const int failures = fail_every_call([&] { write_file(file, text); },
                                       [&](const char* call) {
                                         const auto now = bytes_of(file);
                                         EXPECT_TRUE(now == "old" || now == text)
                                             << call << " left " << now.size() << " bytes";
                                         EXPECT_EQ(files(), 1) << call;
                                         std::ofstream(file) << "old";
                                       });
  EXPECT_EQ(bytes_of(file), text);
  EXPECT_GE(failures, 5);
}

// Open descriptors of this process.
std::ptrdiff_t descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

TEST_F(FilesTest, WhateverAllocationFailsTheOldFileIsWholeAndNothingIsLeft) {
  const auto file = folder_ / "a";
  std::ofstream(file) << "old";
  const auto open = descriptors();
  const auto ends = fail_every_allocation(
      [&] {
        write_file(file, "new");
        keep_copy(file, folder_ / "link");
        write_file(folder_ / "copy", read_file(file));
      },
      [&]() -> std::string {
        const auto now = bytes_of(file);
        for (const char* name : {"link", "copy"}) std::filesystem::remove(folder_ / name);
        const auto left = files();
        std::ofstream(file) << "old";
        if (now != "old" && now != "new") return "the file holds " + now;
        if (left != 1) return std::to_string(left) + " files";
        return descriptors() == open ? "" : "a descriptor is left open";
      });
  EXPECT_EQ(ends.wrong, 0);
  EXPECT_GE(ends.named, 10);
  EXPECT_EQ(ends.terminated + ends.other, 0);
  EXPECT_EQ(bytes_of(folder_ / "copy"), "new");
}

TEST_F(FilesTest, ACopyKeepsWhatTheFileHeld) {
  write_file(folder_ / "last", "first");
  keep_copy(folder_ / "last", folder_ / "first");
  write_file(folder_ / "last", "second");
  keep_copy(folder_ / "last", folder_ / "first");
  write_file(folder_ / "last", "third");
  EXPECT_EQ(bytes_of(folder_ / "first"), "second");
  EXPECT_EQ(bytes_of(folder_ / "last"), "third");
}

TEST_F(FilesTest, ReadingSaysWhyItCannot) {
  const auto error = [&](const std::string& name) {
    try {
      read_file(folder_ / name);
    } catch (const FileError& thrown) {
      return std::string(thrown.what()).substr((folder_ / name).size());
    }
    return std::string("no error");
  };
  EXPECT_EQ(error("none"), ": No such file or directory");
  EXPECT_EQ(error(""), ": Is a directory");
}

}  // namespace
}  // namespace evenkeel::examples
