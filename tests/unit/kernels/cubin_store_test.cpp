// SPDX-License-Identifier: MIT
#include <evenkeel/kernels/cuda/cubin_store.hpp>

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace evenkeel::detail::cuda {
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
  const std::string cubin(
      "\x7f"
      "ELF\0\n",
      6);
  CubinStore().write("a.cubin", cubin);
  EXPECT_EQ(CubinStore().read("a.cubin"), cubin);
  EXPECT_TRUE(CubinStore().read("b.cubin").empty());
}

TEST_F(CubinStoreTest, LeavesNothingElseBehind) {
  CubinStore().write("a.cubin", "1");
  CubinStore().write("a.cubin", "2");
  EXPECT_EQ(names(), std::vector<std::string>{"a.cubin"});
}

TEST_F(CubinStoreTest, IsSilentWhereItCannotWrite) {
  { std::ofstream file(folder_ + "/evenkeel"); }  // a file where the folder should be
  CubinStore().write("a.cubin", "1");
  EXPECT_TRUE(CubinStore().read("a.cubin").empty());
}

TEST_F(CubinStoreTest, NamesDifferWithWhatIsCompiled) {
  EXPECT_EQ(CubinStore::name_of("D 512"), CubinStore::name_of("D 512"));
  EXPECT_NE(CubinStore::name_of("D 512"), CubinStore::name_of("D 513"));
}

// What a file of the store must be to be loaded.
class CubinStoreFileTest : public CubinStoreTest {
 protected:
  void SetUp() override {
    CubinStoreTest::SetUp();
    CubinStore().write("a.cubin", cubin_);
  }
  std::string path(const std::string& name) const { return folder_ + "/evenkeel/" + name; }
  static std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  static void overwrite(const std::string& path, const std::string& contents) {
    std::ofstream(path, std::ios::binary) << contents;
  }
  /// It is refused, and written anew.
  void expect_refused() const {
    EXPECT_TRUE(CubinStore().read("a.cubin").empty());
    CubinStore().write("a.cubin", cubin_);
    EXPECT_EQ(CubinStore().read("a.cubin"), cubin_);
  }

  const std::string cubin_ = std::string(1000, 'k');
};

TEST_F(CubinStoreFileTest, IsWhole) {
  const auto whole = contents(path("a.cubin"));
  for (const size_t length : {whole.size() - 1, whole.size() / 2, size_t{10}, size_t{0}}) {
    SCOPED_TRACE(length);
    overwrite(path("a.cubin"), whole.substr(0, length));
    expect_refused();
  }
  overwrite(path("a.cubin"), whole + "x");
  expect_refused();
}

TEST_F(CubinStoreFileTest, HasTheBytesThatWereWritten) {
  const auto whole = contents(path("a.cubin"));
  for (const size_t place : {size_t{0}, size_t{9}, size_t{20}, whole.size() - 1}) {
    SCOPED_TRACE(place);
    auto other = whole;
    other[place] ^= 1;
    overwrite(path("a.cubin"), other);
    expect_refused();
  }
}

TEST_F(CubinStoreFileTest, IsWhatItsNameSays) {
  CubinStore().write("b.cubin", std::string(1000, 'o'));
  ASSERT_EQ(std::rename(path("b.cubin").c_str(), path("a.cubin").c_str()), 0);
  expect_refused();
}

TEST_F(CubinStoreFileTest, IsNoLinkAndNobodyElsesToWrite) {
  const auto elsewhere = folder_ + "/elsewhere";
  ASSERT_EQ(std::rename(path("a.cubin").c_str(), elsewhere.c_str()), 0);
  ASSERT_EQ(symlink(elsewhere.c_str(), path("a.cubin").c_str()), 0);
  expect_refused();
  std::remove(elsewhere.c_str());
  ASSERT_EQ(chmod(path("a.cubin").c_str(), 0666), 0);
  expect_refused();
}

TEST_F(CubinStoreFileTest, LiesInAFolderOfTheUsersOwn) {
  struct stat made {};
  ASSERT_EQ(stat((folder_ + "/evenkeel").c_str(), &made), 0);
  EXPECT_EQ(made.st_mode & 0777U, 0700U);
  for (const mode_t mode : {0770, 0702}) {
    ASSERT_EQ(chmod((folder_ + "/evenkeel").c_str(), mode), 0);
    EXPECT_TRUE(CubinStore().read("a.cubin").empty()) << mode;
    CubinStore().write("b.cubin", cubin_);
    EXPECT_EQ(names(), std::vector<std::string>{"a.cubin"}) << mode;
  }
  ASSERT_EQ(chmod((folder_ + "/evenkeel").c_str(), 0700), 0);
  EXPECT_EQ(CubinStore().read("a.cubin"), cubin_);
  if (geteuid() == 0) {  // who else can give a folder away?
    ASSERT_EQ(chown((folder_ + "/evenkeel").c_str(), 1, 1), 0);
    EXPECT_TRUE(CubinStore().read("a.cubin").empty());
    ASSERT_EQ(chown((folder_ + "/evenkeel").c_str(), 0, 0), 0);
  }
  const auto moved = folder_ + "/moved";
  ASSERT_EQ(std::rename((folder_ + "/evenkeel").c_str(), moved.c_str()), 0);
  ASSERT_EQ(symlink(moved.c_str(), (folder_ + "/evenkeel").c_str()), 0);
  EXPECT_TRUE(CubinStore().read("a.cubin").empty());
  std::remove((folder_ + "/evenkeel").c_str());
  ASSERT_EQ(std::rename(moved.c_str(), (folder_ + "/evenkeel").c_str()), 0);
}

TEST_F(CubinStoreTest, TakesNoNameThatLeadsElsewhere) {
  CubinStore().write("../b.cubin", "1");
  EXPECT_FALSE(std::ifstream(folder_ + "/b.cubin").good());
  EXPECT_TRUE(CubinStore().read("../b.cubin").empty());
}

}  // namespace
}  // namespace evenkeel::detail::cuda
