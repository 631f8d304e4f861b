#include "srvdb/storage/lock.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "srvdb/base/error.h"
#include "support/temporary_directory.h"

namespace srvdb {
namespace {

using testing::TemporaryDirectory;

// Runs `body` in a child and returns its exit code.
template <typename Body>
int in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 99;
    try {
      code = body();
    } catch (const std::exception&) {
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int try_lock(const std::string& directory) {
  try {
    DirectoryLock::acquire(directory);
    return 0;
  } catch (const Error& error) {
    const std::string holder = std::to_string(::getppid());
    if (error.code() != ErrorCode::kLocked) return 2;
    return std::string(error.what()).find(holder) == std::string::npos ? 3 : 1;
  }
}

TEST(Lock, SecondProcessIsRefusedWithTheHoldersPid) {
  const TemporaryDirectory directory;
  EXPECT_EQ(DirectoryLock::holder(directory.path()), std::nullopt);
  auto lock = DirectoryLock::acquire(directory.path());
  const int code = in_child([&] {
    lock->close_in_child();
    return try_lock(directory.path());
  });
  EXPECT_EQ(code, 1);
  EXPECT_EQ(DirectoryLock::holder(directory.path()), ::getpid());
  lock.reset();
  EXPECT_EQ(DirectoryLock::holder(directory.path()), std::nullopt);
  EXPECT_EQ(in_child([&] { return try_lock(directory.path()); }), 0);
}

TEST(Lock, SecondOpenInOneProcessIsRefused) {
  const TemporaryDirectory directory;
  const auto lock = DirectoryLock::acquire(directory.path());
  EXPECT_THROW(DirectoryLock::acquire(directory.path()), Error);
}

TEST(Lock, ForkedChildThatClosedItDoesNotKeepItAlive) {
  const TemporaryDirectory directory;
  auto lock = DirectoryLock::acquire(directory.path());
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    lock->close_in_child();
    lock->close_in_child();
    const ssize_t told = ::write(ready[1], "x", 1);
    ::pause();
    ::_exit(told == 1 ? 0 : 1);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(DirectoryLock::holder(directory.path()), ::getpid()) << "the parent keeps it";
  lock.reset();
  EXPECT_NO_THROW(DirectoryLock::acquire(directory.path()));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(Lock, KilledHolderLeavesItFree) {
  const TemporaryDirectory directory;
  const int code = in_child([&] {
    const auto lock = DirectoryLock::acquire(directory.path());
    ::kill(::getpid(), SIGKILL);
    return 0;
  });
  EXPECT_EQ(code, -1);
  EXPECT_NO_THROW(DirectoryLock::acquire(directory.path()));
}

}  // namespace
}  // namespace srvdb
