// The one small file layer: everything storage reads or writes goes through it, LMDB's pages too
// (lmdb_file.h). Only locks and LMDB's reader table are the operating system's own: lock_path().
//
// Virtual, so that a test can put a file system in its place that forgets unsynced writes or fails
// the n-th call. Paths are plain strings joined with '/'. Files are made 0600 and directories 0700,
// every descriptor is closed on exec.
//
// Errors: every failed call throws Error(kStorage, "what path: reason", errno). Thread safety: a
// FileSystem from any thread; one File's pread, pwrite, size and sync_data may run concurrently
// (the operating system's rules), truncate not beside any of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "srvdb/base/bytes.h"

namespace srvdb {

// Read-only memory that shows a file's bytes. It may reach beyond the end of the file; bytes there
// must not be touched, but become readable when the file grows over them. Unmapped by the
// destructor.
class Mapping {
 public:
  virtual ~Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  const std::uint8_t* data() const noexcept { return data_; }
  std::size_t reserved() const noexcept { return reserved_; }  // bytes of address space
  // Asks for large pages, for bytes that are read all over: then a fault brings in 2 MiB at once. A
  // hint; where the system has none it does nothing.
  virtual void want_huge_pages() const noexcept {}

 protected:
  Mapping(const std::uint8_t* data, std::size_t reserved) : data_(data), reserved_(reserved) {}

 private:
  const std::uint8_t* data_;
  std::size_t reserved_;
};

class File {
 public:
  virtual ~File() = default;

  // Fills the buffer from the offset; fewer bytes than asked come back only at the end of the file.
  virtual std::size_t pread(void* to, std::size_t bytes, std::uint64_t offset) const = 0;
  // Writes all of it, or throws; then an unknown part may have been written.
  virtual void pwrite(const void* from, std::size_t bytes, std::uint64_t offset) = 0;
  // The parts one after another, in one system call unless the system writes less than asked.
  virtual void pwritev(std::span<const ByteSpan> parts, std::uint64_t offset) = 0;
  virtual void sync_data() = 0;  // fdatasync
  // Starts writing to the disk what a later sync_data() will wait for. A hint: promises nothing.
  virtual void start_sync() noexcept {}
  virtual void truncate(std::uint64_t size) = 0;
  virtual std::uint64_t size() const = 0;
  // A shared read-only mapping of `reserve` bytes from offset 0 (reserve > 0).
  virtual std::shared_ptr<const Mapping> map(std::size_t reserve) const = 0;

  const std::string& path() const noexcept { return path_; }

  // Like pread, but a short read is Error(kCorruption) with path and offset.
  void pread_exactly(void* to, std::size_t bytes, std::uint64_t offset) const;

 protected:
  explicit File(std::string path) : path_(std::move(path)) {}

 private:
  std::string path_;
};

enum class OpenMode : std::uint8_t {
  kRead,       // must exist
  kReadWrite,  // must exist
  kCreate,     // read-write; made when absent
  kCreateNew,  // read-write; must not exist
};

struct FileInfo {
  bool is_directory = false;
  bool is_link = false;      // a symbolic link; the other fields are of what it leads to
  std::uint64_t size = 0;    // bytes
  std::uint64_t device = 0;  // (device, inode) tells whether two paths are one file
  std::uint64_t inode = 0;
  std::uint64_t links = 1;  // names of this file, hard links
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual std::unique_ptr<File> open(const std::string& path, OpenMode mode) = 0;
  // A file of `bytes` bytes (made, or grown with zeros) whose writes are copies into shared memory:
  // they outlive the process as any write does, need no system call, and do not fail within
  // `bytes`. Null where there is no such thing, or where a page could turn out to have no room
  // after all, which would end the process: on file systems that copy on write, or across a
  // network.
  virtual std::unique_ptr<File> open_shared(const std::string& path, std::size_t bytes);
  // Zeros, readable and writable, mapped from a file without a name in that directory, with room on
  // the disk for all of them; munmap() gives them back. Throws Error(kStorage), also where writing
  // to a mapping could fail later (see open_shared()).
  virtual void* map_scratch(const std::string& directory, std::size_t bytes);
  virtual void rename(const std::string& from, const std::string& to) = 0;  // replaces `to`
  virtual void remove(const std::string& path) = 0;    // a file or an empty directory
  virtual bool make_dir(const std::string& path) = 0;  // false when it was there already
  virtual void sync_dir(const std::string& path) = 0;  // makes names in it durable
  // Gives a file a second name, which must be free. False, and nothing is done, where the file
  // system cannot: another device, no hard links, too many of them, not permitted.
  virtual bool link(const std::string& from, const std::string& to) = 0;
  // Makes the new file `to` of the first `bytes` bytes of `from`, sharing the blocks where the file
  // system can. Not synced: open it and sync_data(), or sync_tree(). A `from` that is shorter is
  // Error(kCorruption). After a failure an unknown part of `to` may be left.
  virtual void copy(const std::string& from, const std::string& to, std::uint64_t bytes) = 0;
  virtual std::vector<std::string> list_dir(const std::string& path) = 0;  // names, sorted
  virtual std::optional<FileInfo> info(const std::string& path) = 0;       // empty when absent
  // The real file to lock in place of `path`. Its directory exists.
  virtual std::string lock_path(const std::string& path) { return path; }

  bool exists(const std::string& path) { return info(path).has_value(); }
};

// The operating system's. Lives as long as the process.
FileSystem& posix_file_system();

// The whole of a file of at most `limit` bytes; a longer one is Error(kCorruption).
std::string read_file(FileSystem& files, const std::string& path, std::size_t limit);

// Removes a file, or a directory and everything in it; what is absent is nothing. Follows no
// symbolic link.
void remove_tree(FileSystem& files, const std::string& path);

// Syncs every file below a directory and the names in it and its subdirectories; not the
// directory's own name.
void sync_tree(FileSystem& files, const std::string& path);

struct TreeBytes {
  std::uint64_t total = 0;  // bytes of all files
  std::uint64_t own = 0;    // of these, bytes that removing the tree would free: of one name only
};
TreeBytes tree_bytes(FileSystem& files, const std::string& path);

// The files below a directory, as names relative to it, sorted; directories are not listed and
// symbolic links to directories not entered.
std::vector<std::string> list_tree(FileSystem& files, const std::string& path);

// True for errors that mean "no room": the batch is refused and nothing else is lost.
bool is_no_space(int os_error) noexcept;

// Throws Error(kStorage) for a failed call: "<what> <path>: <strerror>".
[[noreturn]] void throw_storage(const char* what, const std::string& path, int os_error);

}  // namespace srvdb
