#include "srvdb/storage/lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "srvdb/base/error.h"
#include "srvdb/storage/file.h"

namespace srvdb {

namespace {

constexpr std::size_t kPidBytes = 12;

// The pid that the holder wrote, or 0 (it may be about to write it).
int holder_of(int descriptor) noexcept {
  std::array<char, 24> text{};
  const ssize_t got = ::pread(descriptor, text.data(), text.size(), 0);
  int pid = 0;
  const auto result = std::from_chars(text.data(), text.data() + std::max<ssize_t>(got, 0), pid);
  return result.ec == std::errc{} && pid > 0 ? pid : 0;
}

struct flock whole_file() noexcept {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return whole;
}

}  // namespace

std::unique_ptr<DirectoryLock> DirectoryLock::acquire(const std::string& directory,
                                                      FileSystem& files) {
  const std::string path = files.lock_path(directory + "/LOCK");
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) throw_storage("cannot open", path, errno);
  std::unique_ptr<DirectoryLock> lock(new DirectoryLock(descriptor));
  struct flock whole = whole_file();
  if (::fcntl(descriptor, F_OFD_SETLK, &whole) != 0) {
    const int error = errno;
    if (error != EAGAIN && error != EACCES) throw_storage("cannot lock", path, error);
    const int pid = holder_of(descriptor);
    throw Error(ErrorCode::kLocked, directory + " is open for writing in another place (pid " +
                                        (pid == 0 ? "unknown" : std::to_string(pid)) + ")");
  }
  // Always as long, and written over: cutting a file can wait for the file system's journal.
  std::string pid = std::to_string(::getpid());
  pid.resize(kPidBytes, '\n');
  // A full disk must not keep a database from being opened: then the file holds no pid, never a
  // wrong one.
  if (::pwrite(descriptor, pid.data(), pid.size(), 0) < 0 && ::ftruncate(descriptor, 0) < 0) {
    errno = 0;
  }
  return lock;
}

std::optional<int> DirectoryLock::holder(const std::string& directory, FileSystem& files) {
  const std::string path = files.lock_path(directory + "/LOCK");
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT) return std::nullopt;
    throw_storage("cannot open", path, errno);
  }
  const DirectoryLock closer(descriptor);
  struct flock whole = whole_file();
  if (::fcntl(descriptor, F_OFD_GETLK, &whole) != 0) throw_storage("cannot examine", path, errno);
  if (whole.l_type == F_UNLCK) return std::nullopt;
  return holder_of(descriptor);
}

DirectoryLock::~DirectoryLock() {
  close_in_child();
}

void DirectoryLock::close_in_child() noexcept {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

}  // namespace srvdb
