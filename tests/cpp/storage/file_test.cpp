#include "srvdb/storage/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>

#include "srvdb/base/error.h"
#include "support/simulated_files.h"
#include "support/temporary_directory.h"

namespace srvdb {
namespace {

using testing::SimulatedFiles;
using testing::TemporaryDirectory;

// The simulation must behave as the real one: the same steps on both.
class FileSystemTest : public ::testing::TestWithParam<bool> {
 protected:
  FileSystemTest() {
    if (GetParam()) {
      root_ = "/d";
      simulated_.make_dir(root_);
    } else {
      root_ = directory_.path();
    }
  }
  FileSystem& files() {
    if (GetParam()) return simulated_;
    return posix_file_system();
  }
  std::string path(const std::string& name) const { return root_ + "/" + name; }

 private:
  TemporaryDirectory directory_;
  SimulatedFiles simulated_;
  std::string root_;
};

TEST_P(FileSystemTest, WritesReadsAndTruncates) {
  const auto file = files().open(path("a"), OpenMode::kCreateNew);
  file->pwrite("hello", 5, 3);
  EXPECT_EQ(file->size(), 8u);
  char bytes[16] = {};
  EXPECT_EQ(file->pread(bytes, 16, 0), 8u);
  EXPECT_EQ(std::string(bytes, 8), std::string("\0\0\0hello", 8));
  EXPECT_EQ(file->pread(bytes, 4, 100), 0u);
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i) texts.push_back(std::string(static_cast<std::size_t>(i % 3), 'v'));
  std::vector<ByteSpan> parts;
  for (const auto& text : texts) parts.push_back(as_byte_span(text));
  file->pwritev(parts, 8);
  EXPECT_EQ(file->size(), 8u + 39u);
  file->truncate(4);
  file->sync_data();
  EXPECT_EQ(read_file(files(), path("a"), 10), std::string("\0\0\0h", 4));
  EXPECT_THROW(read_file(files(), path("a"), 3), Error);
  EXPECT_THROW(file->pread_exactly(bytes, 5, 0), Error);
}

TEST_P(FileSystemTest, MappingShowsBytesWrittenAfterIt) {
  const auto file = files().open(path("m"), OpenMode::kCreate);
  file->pwrite("abc", 3, 0);
  const auto map = file->map(std::size_t{1} << 20);
  file->pwrite("defg", 4, 3);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(map->data()), 7), "abcdefg");
}

TEST_P(FileSystemTest, NamesFollowTheRules) {
  files().open(path("b"), OpenMode::kCreateNew);
  EXPECT_THROW(files().open(path("b"), OpenMode::kCreateNew), Error);
  EXPECT_THROW(files().open(path("c"), OpenMode::kRead), Error);
  EXPECT_THROW(files().open(path("c"), OpenMode::kReadWrite), Error);
  EXPECT_TRUE(files().make_dir(path("sub")));
  EXPECT_FALSE(files().make_dir(path("sub")));
  files().open(path("sub/x"), OpenMode::kCreate);
  files().rename(path("b"), path("c"));
  files().sync_dir(path("sub"));
  EXPECT_FALSE(files().exists(path("b")));
  EXPECT_TRUE(files().exists(path("c")));
  EXPECT_EQ(files().list_dir(path("sub")), std::vector<std::string>{"x"});
  files().remove(path("sub/x"));
  EXPECT_TRUE(files().list_dir(path("sub")).empty());
  try {
    files().remove(path("sub/x"));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kStorage);
    EXPECT_EQ(error.os_error(), ENOENT);
    EXPECT_NE(std::string(error.what()).find("sub/x"), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Both, FileSystemTest, ::testing::Bool());

TEST(PosixFiles, AreForTheOwnerOnly) {
  const TemporaryDirectory directory;
  const mode_t before = ::umask(0);
  posix_file_system().make_dir(directory / "d");
  posix_file_system().open(directory / "d/f", OpenMode::kCreate);
  ::umask(before);
  struct stat found;
  ASSERT_EQ(::stat((directory / "d").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777u, 0700u);
  ASSERT_EQ(::stat((directory / "d/f").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777u, 0600u);
}

TEST(SimulatedFiles, CrashKeepsWhatWasSyncedAndNothingElse) {
  SimulatedFiles files;
  files.make_dir("d");
  const auto file = files.open("d/a", OpenMode::kCreate);
  file->pwrite("one", 3, 0);
  file->sync_data();
  EXPECT_FALSE(files.crash(SimulatedFiles::Keep::kNothing)->exists("d/a")) << "name not synced";
  files.sync_dir("d");
  file->pwrite("two", 3, 3);
  EXPECT_EQ(files.crash(SimulatedFiles::Keep::kNothing)->contents("d/a"), "one");
  EXPECT_EQ(files.crash(SimulatedFiles::Keep::kEverything)->contents("d/a"), "onetwo");
}

}  // namespace
}  // namespace srvdb
