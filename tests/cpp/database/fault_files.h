// The operating system's files, with a failure on demand: the n-th operation that changes
// something, once or from then on.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "srvdb/storage/file.h"

namespace srvdb::testing {

class FaultFiles final : public FileSystem {
 public:
  struct Fault {
    std::uint64_t at = ~std::uint64_t{0};  // counted from 0
    int error = EIO;
    bool forever = false;
    bool partial = false;  // a failing write leaves its first half behind
    bool syncs = true;     // syncs count and fail too
  };

  std::atomic<bool> can_link = true;  // false: a file system without hard links

  void fail(Fault fault) {
    const std::lock_guard lock(mutex_);
    fault_ = fault;
    operations_ = 0;
    failures_ = 0;
  }
  std::uint64_t failures() const {
    const std::lock_guard lock(mutex_);
    return failures_;
  }

  std::unique_ptr<File> open(const std::string& path, OpenMode mode) override {
    const bool makes = mode == OpenMode::kCreateNew || (mode == OpenMode::kCreate && !exists(path));
    if (makes) step(path, false);
    return std::make_unique<FaultFile>(*this, real_.open(path, mode));
  }
  // Only making it can fail: its writes are copies into memory.
  std::unique_ptr<File> open_shared(const std::string& path, std::size_t bytes) override {
    step(path, false);
    return real_.open_shared(path, bytes);
  }
  void rename(const std::string& from, const std::string& to) override {
    step(to, false);
    real_.rename(from, to);
  }
  void remove(const std::string& path) override {
    step(path, false);
    real_.remove(path);
  }
  bool make_dir(const std::string& path) override {
    step(path, false);
    return real_.make_dir(path);
  }
  void sync_dir(const std::string& path) override {
    step(path, true);
    real_.sync_dir(path);
  }
  bool link(const std::string& from, const std::string& to) override {
    step(to, false);
    return can_link && real_.link(from, to);
  }
  void copy(const std::string& from, const std::string& to, std::uint64_t bytes) override {
    step(to, false);
    const bool half = fails(false);
    if (half && partial()) real_.copy(from, to, bytes / 2);
    if (half) refuse(to);
    real_.copy(from, to, bytes);
  }
  std::vector<std::string> list_dir(const std::string& path) override {
    return real_.list_dir(path);
  }
  std::optional<FileInfo> info(const std::string& path) override { return real_.info(path); }

 private:
  class FaultFile final : public File {
   public:
    FaultFile(FaultFiles& files, std::unique_ptr<File> real)
        : File(real->path()), files_(files), real_(std::move(real)) {}
    std::size_t pread(void* to, std::size_t bytes, std::uint64_t offset) const override {
      return real_->pread(to, bytes, offset);
    }
    void pwrite(const void* from, std::size_t bytes, std::uint64_t offset) override {
      const bool half = files_.fails(false);
      if (half && files_.partial()) real_->pwrite(from, bytes / 2, offset);
      if (half) files_.refuse(path());
      real_->pwrite(from, bytes, offset);
    }
    void pwritev(std::span<const ByteSpan> parts, std::uint64_t offset) override {
      std::string all;
      for (const ByteSpan part : parts) all += as_text(part);
      pwrite(all.data(), all.size(), offset);
    }
    void sync_data() override {
      files_.step(path(), true);
      real_->sync_data();
    }
    void truncate(std::uint64_t size) override {
      files_.step(path(), false);
      real_->truncate(size);
    }
    std::uint64_t size() const override { return real_->size(); }
    std::shared_ptr<const Mapping> map(std::size_t reserve) const override {
      return real_->map(reserve);
    }

   private:
    FaultFiles& files_;
    std::unique_ptr<File> real_;
  };

  bool fails(bool sync) {
    const std::lock_guard lock(mutex_);
    if (sync && !fault_.syncs) return false;
    const std::uint64_t number = operations_++;
    const bool now = number == fault_.at || (fault_.forever && number > fault_.at);
    if (now) ++failures_;
    return now;
  }
  bool partial() const {
    const std::lock_guard lock(mutex_);
    return fault_.partial;
  }
  [[noreturn]] void refuse(const std::string& path) const {
    throw_storage("injected failure of", path, fault_.error);
  }
  void step(const std::string& path, bool sync) {
    if (fails(sync)) refuse(path);
  }

  FileSystem& real_ = posix_file_system();
  mutable std::mutex mutex_;
  Fault fault_;                   // guarded by mutex_
  std::uint64_t operations_ = 0;  // guarded by mutex_
  std::uint64_t failures_ = 0;    // guarded by mutex_
};

}  // namespace srvdb::testing
