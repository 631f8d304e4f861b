// Several handles, processes and forks around one directory.

#include "srvdb/database/registry.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "fixture.h"

namespace srvdb {
namespace {

constexpr std::size_t kDim = 8;

class RegistryTest : public DatabaseTest {
 protected:
  static OpenOptions reading() {
    OpenOptions options;
    options.read_only = true;
    return options;
  }
  // Runs the body in a forked child; its exit status.
  static int in_child(const std::function<int()>& body) {
    const ::pid_t child = ::fork();
    if (child == 0) {
      int status = 99;
      try {
        status = body();
      } catch (const std::exception&) {
        status = 98;
      }
      ::_exit(status);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  static bool throws(ErrorCode code, const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.code() == code;
    }
    return false;
  }
};

TEST_F(RegistryTest, OnePathByAnotherNameIsOneDatabase) {
  const auto one = open();
  std::filesystem::create_directory_symlink(path_, root_ + "/link");
  const auto two = Database::open(root_ + "/link", {});
  fill(*one, 3, kDim);
  EXPECT_EQ(two->count(), 3u);
}

TEST_F(RegistryTest, HandlesThatWantDifferentThingsAreRefused) {
  const auto one = open();
  OpenOptions options;
  options.durability = Durability::kDisk;
  EXPECT_EQ(code_of([&] { open(options); }), ErrorCode::kInvalidInput);
  const auto reader = open(reading());
  EXPECT_EQ(code_of([&] { fill(*reader, 1, kDim); }), ErrorCode::kReadOnly);
  OpenOptions dimension = reading();
  dimension.dimension = 77;  // a reader fixes nothing
  open(dimension);
  EXPECT_EQ(fill(*one, 2, kDim).size(), 2 * kDim);
  EXPECT_EQ(reader->count(), 2u);
  one->close();  // the last writer: checkpointed, still open for the reader
  EXPECT_EQ(reader->stats().checkpointed, reader->stats().sequence);
}

TEST_F(RegistryTest, AWriterIsRefusedWhereThisProcessReads) {
  fill(*open(), 2, kDim);
  const auto reader = open(reading());
  EXPECT_EQ(code_of([&] { open(); }), ErrorCode::kLocked);
  reader->close();
  EXPECT_EQ(open()->count(), 2u);
}

TEST_F(RegistryTest, AHandleClosesOnceAndThenSaysSo) {
  const auto db = open();
  fill(*db, 2, kDim);
  db->close();
  db->close();
  EXPECT_EQ(code_of([&] { db->stats(); }), ErrorCode::kClosed);
  EXPECT_EQ(code_of([&] { db->persist(); }), ErrorCode::kClosed);
}

TEST_F(RegistryTest, AHitOutlivesTheDatabase) {
  const auto db = open();
  const std::vector<float> rows = fill(*db, 100, kDim);
  db->persist();
  const SearchResult found = db->search(rows.data(), kDim, {.k = 3});
  db->close();
  std::filesystem::remove_all(path_);
  EXPECT_EQ(found.hits[0].id, "r0");
}

TEST_F(RegistryTest, ADirectoryMadeAgainIsNotTheOneThatWasRemoved) {
  const auto old = open();
  fill(*old, 3, kDim);
  std::filesystem::remove_all(path_);
  // Whether the inode number comes back is the file system's choice; the answer is the same.
  const auto fresh = open();
  EXPECT_EQ(fresh->count(), 0u);
  fill(*fresh, 1, kDim);
  EXPECT_EQ(old->count(), 3u);
  fresh->close();
  EXPECT_EQ(open()->count(), 1u);
}

TEST_F(RegistryTest, AChangeOfTheWorkingDirectoryDoesNotMatter) {
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(root_);
  const auto db = Database::open("db", {});
  std::filesystem::current_path(before);
  fill(*db, 5, kDim);
  db->persist();
  fill(*db, 5, kDim, 5);
  db->close();
  EXPECT_EQ(open()->count(), 10u);
}

TEST_F(RegistryTest, ASecondProcessIsRefusedWithThePidOfTheFirst) {
  const auto db = open();
  fill(*db, 2, kDim);
  const std::string pid = "pid " + std::to_string(::getpid());
  EXPECT_EQ(in_child([&] {
              try {
                Database::open(path_, {});
              } catch (const Error& error) {
                const bool names = std::string(error.what()).find(pid) != std::string::npos;
                return error.code() == ErrorCode::kLocked && names ? 0 : 1;
              }
              return 2;
            }),
            0);
}

TEST_F(RegistryTest, AForkedChildGetsAClearErrorAndMayReadByItself) {
  const auto db = open();
  fill(*db, 20, kDim);
  db->persist();
  fill(*db, 5, kDim, 20);  // after the checkpoint: not for readers beside the writer
  EXPECT_EQ(in_child([&] {
              if (!throws(ErrorCode::kClosed, [&] { db->count(); })) return 1;
              if (!throws(ErrorCode::kClosed, [&] { fill(*db, 1, kDim, 90); })) return 2;
              db->close();
              const auto reader = Database::open(path_, reading());
              if (reader->count() != 20) return 3;
              const std::vector<float> rows = random_rows(20, kDim);
              return reader->search(rows.data(), kDim, {.k = 1}).hits[0].id == "r0" ? 0 : 4;
            }),
            0);
  EXPECT_EQ(db->count(), 25u);
  fill(*db, 5, kDim, 25);
}

TEST_F(RegistryTest, AForkedChildDoesNotKeepTheLock) {
  int to_child[2];
  int to_parent[2];
  ASSERT_EQ(::pipe(to_child), 0);
  ASSERT_EQ(::pipe(to_parent), 0);
  auto db = open();
  fill(*db, 2, kDim);
  const ::pid_t child = ::fork();
  char byte = 0;
  if (child == 0) {
    ::close(to_child[1]);
    if (::write(to_parent[1], &byte, 1) != 1) ::_exit(2);
    const auto end = ::read(to_child[0], &byte, 1);  // until the parent is done
    ::_exit(end == 0 ? 0 : 1);
  }
  ::close(to_child[0]);
  ASSERT_EQ(::read(to_parent[0], &byte, 1), 1);  // it runs: its handler has closed the lock
  db->close();
  EXPECT_EQ(in_child([&] { return Database::open(path_, {})->count() == 2 ? 0 : 1; }), 0);
  ::close(to_child[1]);
  ::waitpid(child, nullptr, 0);
}

TEST_F(RegistryTest, AReaderProcessKeepsItsMomentWhileTheWriterGoesOn) {
  const auto db = open();
  fill(*db, 100, kDim);
  db->persist();
  int to_child[2];
  int to_parent[2];
  ASSERT_EQ(::pipe(to_child), 0);
  ASSERT_EQ(::pipe(to_parent), 0);
  const ::pid_t child = ::fork();
  if (child == 0) {
    int status = 1;
    try {
      const auto reader = Database::open(path_, reading());
      char byte = 0;
      status = ::write(to_parent[1], &byte, 1) == 1 && ::read(to_child[0], &byte, 1) == 1 ? 0 : 2;
      if (reader->count() != 100) status = 3;
      const std::vector<float> rows = random_rows(100, kDim);
      for (std::size_t i = 0; i < 100 && status == 0; ++i) {
        const auto found = reader->search(rows.data() + i * kDim, kDim, {.k = 1});
        if (found.hits[0].row != i) status = 4;
      }
      if (!reader->contains("r5") || reader->contains("r200")) status = 5;
    } catch (const std::exception&) {
      status = 6;
    }
    ::_exit(status);
  }
  ::close(to_parent[1]);  // so that a child that dies early ends the reading below
  char byte = 0;
  ASSERT_EQ(::read(to_parent[0], &byte, 1), 1);
  fill(*db, 5000, kDim, 100);
  const std::vector<std::string_view> gone = {"r5"};
  db->remove(gone);
  db->persist();
  db->persist();
  ASSERT_EQ(::write(to_child[1], &byte, 1), 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace srvdb
