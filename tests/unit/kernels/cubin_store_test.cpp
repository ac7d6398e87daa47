// SPDX-License-Identifier: MIT
#include <evenkeel/kernels/detail/cubin_store.hpp>

#include <dirent.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace evenkeel::detail {
namespace {

class CubinStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/evenkeel_cubin_store_XXXXXX";
    folder_ = mkdtemp(pattern.data());
    const char* before = std::getenv("XDG_CACHE_HOME");
    if (before != nullptr) before_ = before;
    setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
  }
  void TearDown() override {
    for (const auto& name : names()) std::remove((folder_ + "/evenkeel/" + name).c_str());
    std::remove((folder_ + "/evenkeel").c_str());
    std::remove(folder_.c_str());
    if (before_.empty()) {
      unsetenv("XDG_CACHE_HOME");
    } else {
      setenv("XDG_CACHE_HOME", before_.c_str(), 1);
    }
  }

  // Of all files in the store.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    DIR* directory = opendir((folder_ + "/evenkeel").c_str());
    if (directory == nullptr) return names;
    while (const dirent* entry = readdir(directory)) {
      const std::string name = static_cast<const char*>(entry->d_name);
      if (name != "." && name != "..") names.push_back(name);
    }
    closedir(directory);
    return names;
  }

  std::string folder_;
  std::string before_;
};

TEST_F(CubinStoreTest, GivesBackWhatWasWritten) {
  const std::vector<char> cubin{'\x7f', 'E', 'L', 'F', '\0', '\n'};
  CubinStore().write("a.cubin", cubin);
  EXPECT_EQ(CubinStore().read("a.cubin"), cubin);
  EXPECT_TRUE(CubinStore().read("b.cubin").empty());
}

TEST_F(CubinStoreTest, LeavesNothingElseBehind) {
  CubinStore().write("a.cubin", {'1'});
  CubinStore().write("a.cubin", {'2'});
  EXPECT_EQ(names(), std::vector<std::string>{"a.cubin"});
}

TEST_F(CubinStoreTest, IsSilentWhereItCannotWrite) {
  { std::ofstream file(folder_ + "/evenkeel"); }  // a file where the folder should be
  CubinStore().write("a.cubin", {'1'});
  EXPECT_TRUE(CubinStore().read("a.cubin").empty());
}

TEST_F(CubinStoreTest, NamesDifferWithWhatIsCompiled) {
  EXPECT_EQ(CubinStore::name_of("-DD=512"), CubinStore::name_of("-DD=512"));
  EXPECT_NE(CubinStore::name_of("-DD=512"), CubinStore::name_of("-DD=513"));
}

}  // namespace
}  // namespace evenkeel::detail
