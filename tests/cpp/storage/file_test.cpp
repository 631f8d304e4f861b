#include "srvdb/storage/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

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

TEST_P(FileSystemTest, LinkGivesASecondNameToOneFile) {
  files().open(path("a"), OpenMode::kCreate)->pwrite("hello", 5, 0);
  EXPECT_EQ(files().info(path("a"))->links, 1u);
  ASSERT_TRUE(files().link(path("a"), path("b")));
  EXPECT_EQ(files().info(path("a"))->links, 2u);
  EXPECT_EQ(files().info(path("a"))->inode, files().info(path("b"))->inode);
  files().open(path("a"), OpenMode::kReadWrite)->pwrite("J", 1, 0);
  EXPECT_EQ(read_file(files(), path("b"), 10), "Jello");
  EXPECT_THROW(files().link(path("a"), path("b")), Error);
  EXPECT_THROW(files().link(path("absent"), path("c")), Error);
  files().remove(path("a"));
  EXPECT_EQ(files().info(path("b"))->links, 1u);
  EXPECT_EQ(read_file(files(), path("b"), 10), "Jello");
}

TEST_P(FileSystemTest, CopyTakesTheFirstBytesAndIsAFileOfItsOwn) {
  std::string content(3'000'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7 / 3);
  const auto source = files().open(path("a"), OpenMode::kCreate);
  source->pwrite(content.data(), content.size(), 0);
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{2'500'001}, content.size()}) {
    const std::string to = path("copy" + std::to_string(bytes));
    files().copy(path("a"), to, bytes);
    EXPECT_EQ(read_file(files(), to, content.size()), content.substr(0, bytes));
    EXPECT_EQ(files().info(to)->links, 1u);
  }
  source->pwrite("changed", 7, 0);
  EXPECT_EQ(read_file(files(), path("copy3000000"), content.size()), content);
  EXPECT_THROW(files().copy(path("a"), path("copy0"), 1), Error) << "never over an old file";
  try {
    files().copy(path("a"), path("longer"), content.size() + 1);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruption);
  }
}

TEST_P(FileSystemTest, TreesAreListedMeasuredRenamedAndRemoved) {
  files().make_dir(path("t"));
  files().make_dir(path("t/sub"));
  files().make_dir(path("t/empty"));
  files().open(path("t/a"), OpenMode::kCreate)->pwrite("12345", 5, 0);
  files().open(path("t/sub/b"), OpenMode::kCreate)->pwrite("123", 3, 0);
  files().open(path("outside"), OpenMode::kCreate)->pwrite("1234567", 7, 0);
  files().link(path("outside"), path("t/sub/c"));
  sync_tree(files(), path("t"));
  EXPECT_EQ(files().list_dir(path("t")), (std::vector<std::string>{"a", "empty", "sub"}));
  files().rename(path("t"), path("u"));
  EXPECT_FALSE(files().exists(path("t")));
  EXPECT_FALSE(files().exists(path("t/a")));
  EXPECT_EQ(list_tree(files(), path("u")), (std::vector<std::string>{"a", "sub/b", "sub/c"}));
  EXPECT_EQ(tree_bytes(files(), path("u")).total, 15u);
  EXPECT_EQ(tree_bytes(files(), path("u")).own, 8u);
  EXPECT_THROW(files().remove(path("u")), Error) << "not empty";
  remove_tree(files(), path("u"));
  EXPECT_FALSE(files().exists(path("u")));
  EXPECT_EQ(read_file(files(), path("outside"), 10), "1234567");
  remove_tree(files(), path("u"));  // nothing there: nothing to do
  remove_tree(files(), path("outside"));
  EXPECT_FALSE(files().exists(path("outside")));
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

TEST(PosixFiles, RemovingATreeFollowsNoSymbolicLink) {
  const TemporaryDirectory directory;
  FileSystem& files = posix_file_system();
  files.make_dir(directory / "kept");
  files.open(directory / "kept/a", OpenMode::kCreate);
  files.make_dir(directory / "tree");
  ASSERT_EQ(::symlink((directory / "kept").c_str(), (directory / "tree/link").c_str()), 0);
  ASSERT_EQ(::symlink("nowhere", (directory / "tree/dangling").c_str()), 0);
  EXPECT_TRUE(files.info(directory / "tree/link")->is_link);
  remove_tree(files, directory / "tree");
  EXPECT_FALSE(files.exists(directory / "tree"));
  EXPECT_TRUE(files.exists(directory / "kept/a"));
}

TEST(PosixFiles, LinkSaysWhereItCannot) {
  const TemporaryDirectory directory;
  FileSystem& files = posix_file_system();
  const auto here = files.info(directory.path());
  const auto there = files.info("/dev/shm");
  if (!there || there->device == here->device) GTEST_SKIP() << "one file system only";
  files.open(directory / "a", OpenMode::kCreate)->pwrite("hello", 5, 0);
  const std::string to = "/dev/shm/srvdb-link-test-" + std::to_string(::getpid());
  EXPECT_FALSE(files.link(directory / "a", to));
  files.copy(directory / "a", to, 4);  // across file systems
  EXPECT_EQ(read_file(files, to, 10), "hell");
  files.remove(to);
}

TEST(SimulatedFiles, CrashForgetsRenamesOfDirectoriesThatWereNotSynced) {
  using Keep = SimulatedFiles::Keep;
  SimulatedFiles files;
  files.make_dir("d");
  files.sync_dir("");
  files.make_dir("d/t");
  files.sync_dir("d");
  const auto file = files.open("d/t/a", OpenMode::kCreate);
  file->pwrite("one", 3, 0);
  file->sync_data();
  files.rename("d/t", "d/u");
  EXPECT_FALSE(files.crash(Keep::kNothing)->exists("d/t/a")) << "name not synced";
  EXPECT_EQ(files.crash(Keep::kEverything)->contents("d/u/a"), "one");
  files.sync_dir("d/u");
  EXPECT_EQ(files.crash(Keep::kNothing)->contents("d/t/a"), "one") << "rename not synced";
  EXPECT_FALSE(files.crash(Keep::kNothing)->exists("d/u"));
  files.link("d/u/a", "d/u/b");
  files.sync_dir("d");
  EXPECT_EQ(files.crash(Keep::kNothing)->contents("d/u/a"), "one");
  EXPECT_FALSE(files.crash(Keep::kNothing)->exists("d/u/b")) << "link not synced";
  EXPECT_EQ(files.crash(Keep::kEverything)->info("d/u/a")->links, 2u);
}

TEST(SimulatedFiles, CrashKeepsWhatWasSyncedAndNothingElse) {
  SimulatedFiles files;
  files.make_dir("d");
  files.sync_dir("");
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
