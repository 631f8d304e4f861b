// LOCK: one writer a directory. An advisory lock on an open file description (F_OFD_SETLK): the
// kernel frees it when the last descriptor goes, so a killed writer leaves nothing behind. The file
// holds the writer's pid as decimal text and is never removed.
//
// A forked child inherits the description and would keep the lock alive: it must call
// close_in_child().
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "srvdb/storage/file.h"

namespace srvdb {

class DirectoryLock {
 public:
  // Takes <directory>/LOCK (FileSystem::lock_path). Throws Error(kLocked) with the holder's pid, or
  // Error(kStorage).
  static std::unique_ptr<DirectoryLock> acquire(const std::string& directory,
                                                FileSystem& files = posix_file_system());
  // Pid of the process that holds the lock (0 when it is not known), nothing when it is free or the
  // directory has none.
  // Changes nothing: for readers, which take no lock.
  static std::optional<int> holder(const std::string& directory,
                                   FileSystem& files = posix_file_system());
  ~DirectoryLock();  // frees the lock
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

  // In a forked child only (pthread_atfork): closes this process's descriptor; the parent keeps the
  // lock. Async-signal-safe, may be called twice.
  void close_in_child() noexcept;

 private:
  explicit DirectoryLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace srvdb
