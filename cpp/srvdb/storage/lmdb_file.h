// The data file of an LMDB environment: LMDB's reads, writes and maps (lmdb_io.h) come here and go
// to a FileSystem, with a checksum for every page.
//
//   LmdbFile file(files, path, read_only, create);
//   mdb_env_set_userctx(env, &file);
//   { const LmdbFile::Opening scope(file);  mdb_env_open(env, ...); }
//
// The file must outlive the environment. What a commit does, in this order: pages are written and
// their checksums noted; checksums are written; both files are synced; the meta page is written and
// synced. LMDB never writes over a page of either of the last two commits, and the checksums follow
// their pages, so that a loss of power at any moment leaves the last commit whole.
//
// Threads: as LMDB uses it (one writer, any readers, maps change while nobody reads). Errors:
// thrown by constructors and C++ functions; LMDB gets an errno.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "srvdb/storage/file.h"
#include "srvdb/storage/page_checksums.h"

namespace srvdb {

// What a descriptor handed to LMDB stands for. By default everything is refused.
class LmdbDescriptor {
 public:
  LmdbDescriptor();  // takes a number; throws Error(kStorage) when there are too many
  virtual ~LmdbDescriptor();
  LmdbDescriptor(const LmdbDescriptor&) = delete;
  LmdbDescriptor& operator=(const LmdbDescriptor&) = delete;

  int number() const noexcept { return number_; }
  // Nothing for a descriptor of the operating system's.
  static LmdbDescriptor* find(int number) noexcept;

  virtual std::size_t read(void* to, std::size_t bytes, std::uint64_t offset);
  virtual void write(std::span<const ByteSpan> parts, std::uint64_t offset);
  virtual void append(ByteSpan bytes);
  virtual void sync();
  virtual void truncate(std::uint64_t size);
  virtual std::uint64_t size();
  virtual void* map(std::size_t bytes);

 private:
  int number_;
};

class LmdbFile final : public LmdbDescriptor {
 public:
  // Opens the file and its checksums and looks at both meta pages. With `create` an absent or
  // empty file is a new one. Throws Error(kCorruption) when a file is missing, shorter than its
  // last commit says, or a meta page is damaged.
  LmdbFile(FileSystem& files, const std::string& path, bool read_only, bool create);

  // While it lives, mdb_env_open() of this thread opens this file.
  class Opening {
   public:
    explicit Opening(LmdbFile& file) noexcept;
    ~Opening();
    Opening(const Opening&) = delete;
    Opening& operator=(const Opening&) = delete;
    static LmdbFile* current() noexcept;
  };

  FileSystem& files() noexcept { return files_; }
  PageChecksums& checksums() noexcept { return *checksums_; }
  std::uint64_t used_bytes() const noexcept { return used_bytes_; }  // when it was opened
  // LMDB met a state it cannot go on from; set once, never written again after it.
  bool is_broken() const noexcept { return broken_; }
  void set_broken() noexcept { broken_ = true; }

  std::size_t read(void* to, std::size_t bytes, std::uint64_t offset) override;
  void write(std::span<const ByteSpan> parts, std::uint64_t offset) override;
  void sync() override;
  void truncate(std::uint64_t size) override;
  std::uint64_t size() override;
  void* map(std::size_t bytes) override;
  void unmap(const void* at) noexcept;
  void reach(std::uint64_t bytes);
  // As srvdb_lmdb_write_meta().
  int write_meta(int number, ByteSpan meta);
  bool page_ok(std::uint64_t number, std::uint64_t end, const std::uint8_t* page);

 private:
  void look_at_meta_pages();

  FileSystem& files_;
  std::unique_ptr<File> file_;
  std::unique_ptr<PageChecksums> checksums_;
  std::uint32_t page_bytes_ = 0;
  std::uint64_t used_bytes_ = 0;
  std::uint64_t size_ = 0;  // of the file, as far as this process wrote it
  bool broken_ = false;
  std::vector<std::shared_ptr<const Mapping>> maps_;
};

// Takes what mdb_env_copyfd() writes, front to back, into a new file with checksums of its own.
class LmdbCopy final : public LmdbDescriptor {
 public:
  LmdbCopy(FileSystem& files, const std::string& path, std::uint32_t page_bytes);
  void append(ByteSpan bytes) override;
  void sync() override;

 private:
  std::unique_ptr<File> file_;
  PageChecksums checksums_;
  std::uint64_t written_ = 0;
};

// Takes what mdb_env_copyfd() writes and drops it: every page in use is looked at.
class LmdbNowhere final : public LmdbDescriptor {
 public:
  void append(ByteSpan) override {}
};

// What the last page that was wrong in this thread was, with file and offset; empty when none was.
// Taking it clears it.
std::string take_lmdb_damage();

}  // namespace srvdb
