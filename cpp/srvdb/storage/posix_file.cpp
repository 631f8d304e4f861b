#include <dirent.h>
#include <fcntl.h>
#ifdef __linux__
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#endif
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/storage/file.h"

namespace srvdb {

namespace {

// Linux writes at most this much in one call.
constexpr std::size_t kMaxTransferBytes = std::size_t{1} << 30;

class Descriptor {
 public:
  explicit Descriptor(int value) noexcept : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return value_; }

 private:
  int value_;
};

int open_retrying(const std::string& path, int flags) {
  int descriptor = -1;
  do {
    descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  } while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

int open_or_throw(const std::string& path, int flags) {
  const int descriptor = open_retrying(path, flags);
  if (descriptor < 0) throw_storage("cannot open", path, errno);
  return descriptor;
}

// Makes `to`, which is empty, share all blocks of `from`. False where that is not possible.
bool clone_blocks([[maybe_unused]] int from, [[maybe_unused]] int to) noexcept {
#ifdef FICLONE
  return ::ioctl(to, FICLONE, from) == 0;
#else
  return false;
#endif
}

// Copies inside the kernel; returns how far it came, which is short of `bytes` where the file
// systems cannot, or `from` ends.
std::uint64_t copy_in_kernel([[maybe_unused]] int from, [[maybe_unused]] int to,
                             [[maybe_unused]] std::uint64_t bytes,
                             [[maybe_unused]] const std::string& path) {
  std::uint64_t done = 0;
#ifdef __linux__
  while (done < bytes) {
    loff_t read_at = static_cast<loff_t>(done);
    loff_t write_at = read_at;
    const std::size_t want =
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes - done, kMaxTransferBytes));
    const ssize_t got = ::copy_file_range(from, &read_at, to, &write_at, want, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (is_no_space(errno) || errno == EIO)) {
      throw_storage("cannot copy to", path, errno);
    }
    if (got <= 0) break;
    done += static_cast<std::uint64_t>(got);
  }
#endif
  return done;
}

bool means_no_hard_links(int error) noexcept {
  return error == EPERM || error == EXDEV || error == EMLINK || error == ENOSYS ||
         error == ENOTSUP || error == EOPNOTSUPP;
}

class PosixMapping final : public Mapping {
 public:
  PosixMapping(void* at, std::size_t bytes)
      : Mapping(static_cast<const std::uint8_t*>(at), bytes), at_(at) {}
  ~PosixMapping() override { ::munmap(at_, reserved()); }
  void want_huge_pages() const noexcept override {
#ifdef MADV_HUGEPAGE
    ::madvise(at_, reserved(), MADV_HUGEPAGE);  // refused by file systems without large pages
#endif
  }

 private:
  void* at_;
};

class PosixFile final : public File {
 public:
  PosixFile(std::string path, int descriptor) : File(std::move(path)), fd_(descriptor) {}
  int descriptor() const noexcept { return fd_.get(); }

  std::size_t pread(void* to, std::size_t bytes, std::uint64_t offset) const override {
    std::size_t done = 0;
    while (done < bytes) {
      const std::size_t want = std::min(bytes - done, kMaxTransferBytes);
      const ssize_t got = ::pread(fd_.get(), static_cast<char*>(to) + done, want,
                                  static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw_storage("cannot read", path(), errno);
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    return done;
  }

  void pwrite(const void* from, std::size_t bytes, std::uint64_t offset) override {
    std::size_t done = 0;
    while (done < bytes) {
      const std::size_t want = std::min(bytes - done, kMaxTransferBytes);
      const ssize_t put = ::pwrite(fd_.get(), static_cast<const char*>(from) + done, want,
                                   static_cast<off_t>(offset + done));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) throw_storage("cannot write", path(), errno);
      if (put == 0) throw_storage("cannot write", path(), EIO);
      done += static_cast<std::size_t>(put);
    }
  }

  void pwritev(std::span<const ByteSpan> parts, std::uint64_t offset) override {
    if (parts.size() == 1) return pwrite(parts[0].data(), parts[0].size(), offset);
    std::array<iovec, 16> vectors;
    std::size_t next = 0;  // first part not written whole
    std::size_t skip = 0;  // bytes of it that are
    while (next < parts.size()) {
      int count = 0;
      for (std::size_t i = next; i < parts.size() && count < static_cast<int>(vectors.size());
           ++i) {
        const ByteSpan part = parts[i].subspan(i == next ? skip : 0);
        vectors[static_cast<std::size_t>(count++)] = {const_cast<std::uint8_t*>(part.data()),
                                                      part.size()};
      }
      const ssize_t put = ::pwritev(fd_.get(), vectors.data(), count, static_cast<off_t>(offset));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) throw_storage("cannot write", path(), errno);
      offset += static_cast<std::uint64_t>(put);
      skip += static_cast<std::size_t>(put);
      const std::size_t before = next;
      while (next < parts.size() && skip >= parts[next].size()) skip -= parts[next++].size();
      if (put == 0 && next == before) throw_storage("cannot write", path(), EIO);
    }
  }

  void start_sync() noexcept override {
#ifdef SYNC_FILE_RANGE_WRITE
    ::sync_file_range(fd_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
#endif
  }

  void sync_data() override {
    if (::fdatasync(fd_.get()) != 0) throw_storage("cannot sync", path(), errno);
  }

  void truncate(std::uint64_t size) override {
    int result = 0;
    do {
      result = ::ftruncate(fd_.get(), static_cast<off_t>(size));
    } while (result != 0 && errno == EINTR);
    if (result != 0) throw_storage("cannot truncate", path(), errno);
  }

  std::uint64_t size() const override {
    struct stat found;
    if (::fstat(fd_.get(), &found) != 0) throw_storage("cannot examine", path(), errno);
    return static_cast<std::uint64_t>(found.st_size);
  }

  std::shared_ptr<const Mapping> map(std::size_t reserve) const override {
    void* at = ::mmap(nullptr, reserve, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd_.get(), off_t{0});
    if (at == MAP_FAILED) throw_storage("cannot map", path(), errno);
    return std::make_shared<PosixMapping>(at, reserve);
  }

 private:
  Descriptor fd_;
};

// Whether a page of a file that has its blocks can always be written through memory.
bool keeps_blocks([[maybe_unused]] int descriptor) noexcept {
#ifdef __linux__
  struct statfs found;
  if (::fstatfs(descriptor, &found) != 0) return false;
  constexpr unsigned kXfsMagic = 0x58465342;  // not in every linux/magic.h
  const auto type = static_cast<unsigned>(found.f_type);
  return type == EXT4_SUPER_MAGIC || type == kXfsMagic || type == TMPFS_MAGIC;
#else
  return false;
#endif
}

// Gives a file its blocks, so that writing it through memory cannot fail. 0, or an errno: ENOTSUP
// where that cannot be promised.
int reserve_blocks(int descriptor, std::size_t bytes) noexcept {
  if (!keeps_blocks(descriptor)) return ENOTSUP;
  return ::posix_fallocate(descriptor, off_t{0}, static_cast<off_t>(bytes));
}

// MAP_FAILED and errno when it cannot be mapped.
void* map_writable(int descriptor, std::size_t bytes) noexcept {
  return ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, off_t{0});
}

// Writes are copies into a mapping; all else is the file's.
class SharedFile final : public File {
 public:
  // The file has that many bytes, and blocks for them.
  SharedFile(std::unique_ptr<PosixFile> file, std::size_t bytes)
      : File(file->path()), file_(std::move(file)), bytes_(bytes) {
    at_ = map_writable(file_->descriptor(), bytes);
    if (at_ == MAP_FAILED) throw_storage("cannot map", path(), errno);
#ifdef MADV_DONTFORK
    ::madvise(at_, bytes, MADV_DONTFORK);
#endif
  }
  ~SharedFile() override {
    ::munmap(at_, bytes_);
  }
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;

  std::size_t pread(void* to, std::size_t bytes, std::uint64_t offset) const override {
    return file_->pread(to, bytes, offset);
  }
  void pwrite(const void* from, std::size_t bytes, std::uint64_t offset) override {
    if (offset > bytes_ || bytes > bytes_ - offset) throw_storage("cannot write", path(), EFBIG);
    std::memcpy(static_cast<char*>(at_) + offset, from, bytes);
  }
  void pwritev(std::span<const ByteSpan> parts, std::uint64_t offset) override {
    for (const ByteSpan part : parts) {
      pwrite(part.data(), part.size(), offset);
      offset += part.size();
    }
  }
  void sync_data() override {
    file_->sync_data();
  }
  void truncate(std::uint64_t) override {
    throw_storage("cannot truncate", path(), EINVAL);
  }
  std::uint64_t size() const override {
    return file_->size();
  }
  std::shared_ptr<const Mapping> map(std::size_t reserve) const override {
    return file_->map(reserve);
  }

 private:
  std::unique_ptr<PosixFile> file_;
  std::size_t bytes_;
  void* at_;
};

class PosixFileSystem final : public FileSystem {
 public:
  std::unique_ptr<File> open(const std::string& path, OpenMode mode) override {
    int flags = O_RDWR;
    if (mode == OpenMode::kRead) flags = O_RDONLY;
    if (mode == OpenMode::kCreate) flags |= O_CREAT;
    if (mode == OpenMode::kCreateNew) flags |= O_CREAT | O_EXCL;
    return std::make_unique<PosixFile>(path, open_or_throw(path, flags));
  }

  std::unique_ptr<File> open_shared(const std::string& path, std::size_t bytes) override {
    auto file = std::make_unique<PosixFile>(path, open_or_throw(path, O_RDWR | O_CREAT));
    const int error = reserve_blocks(file->descriptor(), bytes);
    if (error == 0) return std::make_unique<SharedFile>(std::move(file), bytes);
    file.reset();
    remove(path);
    if (error == ENOTSUP) return nullptr;
    throw_storage("cannot make room in", path, error);
  }

  void* map_scratch(const std::string& directory, std::size_t bytes) override {
#ifdef O_TMPFILE
    const Descriptor file(open_retrying(directory, O_TMPFILE | O_RDWR));
#else
    const Descriptor file(-1);
    errno = ENOTSUP;
#endif
    if (file.get() < 0) throw_storage("cannot make a working file in", directory, errno);
    const int error = reserve_blocks(file.get(), bytes);
    if (error != 0) throw_storage("cannot make room for working memory in", directory, error);
    void* const at = map_writable(file.get(), bytes);
    if (at == MAP_FAILED) throw_storage("cannot map working memory in", directory, errno);
    return at;
  }

  void rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) throw_storage("cannot rename to", to, errno);
  }

  void remove(const std::string& path) override {
    if (::remove(path.c_str()) != 0) throw_storage("cannot remove", path, errno);
  }

  bool make_dir(const std::string& path) override {
    if (::mkdir(path.c_str(), 0700) == 0) return true;
    const int error = errno;
    const auto found = info(path);
    if (error == EEXIST && found && found->is_directory) return false;
    throw_storage("cannot make directory", path, error);
  }

  void sync_dir(const std::string& path) override {
    const Descriptor directory(open_retrying(path, O_RDONLY | O_DIRECTORY));
    if (directory.get() < 0) throw_storage("cannot open directory", path, errno);
    if (::fsync(directory.get()) != 0) throw_storage("cannot sync directory", path, errno);
  }

  bool link(const std::string& from, const std::string& to) override {
    if (::link(from.c_str(), to.c_str()) == 0) return true;
    if (means_no_hard_links(errno)) return false;
    throw_storage("cannot link to", to, errno);
  }

  void copy(const std::string& from, const std::string& to, std::uint64_t bytes) override {
    const PosixFile source(from, open_or_throw(from, O_RDONLY));
    const std::uint64_t size = source.size();
    if (size < bytes) {
      throw Error(ErrorCode::kCorruption, from + " is too short: expected at least " +
                                              std::to_string(bytes) + " bytes, got " +
                                              std::to_string(size));
    }
    PosixFile target(to, open_or_throw(to, O_RDWR | O_CREAT | O_EXCL));
    if (clone_blocks(source.descriptor(), target.descriptor())) {
      if (target.size() != bytes) target.truncate(bytes);
      return;
    }
    std::uint64_t done =
        copy_in_kernel(source.descriptor(), target.descriptor(), bytes, target.path());
    if (done == bytes) return;
    std::vector<char> buffer(std::size_t{1} << 20);
    while (done < bytes) {
      const std::size_t piece =
          static_cast<std::size_t>(std::min<std::uint64_t>(bytes - done, buffer.size()));
      source.pread_exactly(buffer.data(), piece, done);
      target.pwrite(buffer.data(), piece, done);
      done += piece;
    }
  }

  std::vector<std::string> list_dir(const std::string& path) override {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), &::closedir);
    if (!directory) throw_storage("cannot list", path, errno);
    std::vector<std::string> names;
    for (;;) {
      errno = 0;
      const dirent* entry = ::readdir(directory.get());
      if (entry == nullptr) break;
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    if (errno != 0) throw_storage("cannot list", path, errno);
    std::sort(names.begin(), names.end());
    return names;
  }

  std::optional<FileInfo> info(const std::string& path) override {
    struct stat found;
    int result = ::lstat(path.c_str(), &found);
    const bool is_link = result == 0 && S_ISLNK(found.st_mode);
    if (is_link) result = ::stat(path.c_str(), &found);
    if (result != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
      throw_storage("cannot examine", path, errno);
    }
    return FileInfo{S_ISDIR(found.st_mode),
                    is_link,
                    static_cast<std::uint64_t>(found.st_size),
                    static_cast<std::uint64_t>(found.st_dev),
                    static_cast<std::uint64_t>(found.st_ino),
                    static_cast<std::uint64_t>(found.st_nlink)};
  }
};

}  // namespace

FileSystem& posix_file_system() {
  static PosixFileSystem files;
  return files;
}

}  // namespace srvdb
