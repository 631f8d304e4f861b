// A CRC-32C for every page of metadata.db, kept beside it in metadata.crc (cpp/FORMAT.md).
//
// A page's checksum covers its number and its content, so that neither a stale page nor one that
// landed in another's place passes. Checksums of written pages are noted in memory and reach the
// file with write_noted(), before sync(); both come before the commit that makes the pages count.
// Entries of pages that are not noted keep their value, so a torn write of the file cannot harm
// what was committed earlier.
//
// Threads: check() from any, beside at most one that notes and writes; set_reach() beside nobody.
// Errors: kStorage, kCorruption.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "srvdb/storage/file.h"

namespace srvdb {

// Where the checksums of this metadata file lie: "x/metadata.db" -> "x/metadata.crc".
std::string page_checksum_path(const std::string& path);

std::uint32_t page_checksum(std::uint64_t number, const void* page, std::size_t bytes) noexcept;

class PageChecksums {
 public:
  static constexpr std::size_t kHeaderBytes = 512;

  // kCreate starts a new file (an old one is emptied), kRead and kReadWrite take an existing one.
  PageChecksums(FileSystem& files, const std::string& path, std::uint32_t page_bytes,
                OpenMode mode);

  std::uint32_t page_bytes() const noexcept { return page_bytes_; }
  const std::string& path() const noexcept { return file_->path(); }

  // Room to remember which of the first `pages` pages were checked.
  void set_reach(std::uint64_t pages);

  bool is_checked(std::uint64_t number) const noexcept;
  // Forgets what was checked: every page is checked again when next touched.
  void forget_checked() noexcept;
  // The first of `count` pages that are not what was written, or nothing, and then the first one
  // counts as checked.
  std::optional<std::uint64_t> first_wrong(std::uint64_t number, std::uint64_t count,
                                           const std::uint8_t* pages);

  // Pages that have just been written: noted, and they count as checked.
  void note(std::uint64_t number, ByteSpan pages);
  std::size_t noted() const noexcept { return noted_.size(); }
  void write_noted();
  void sync() { file_->sync_data(); }

 private:
  struct Noted {
    std::uint64_t number;
    std::uint32_t checksum;
  };
  struct Free {
    void operator()(std::uint64_t* words) const noexcept { std::free(words); }
  };

  void set_checked(std::uint64_t number) noexcept;

  const std::uint32_t page_bytes_;
  std::unique_ptr<File> file_;
  std::unique_ptr<std::uint64_t, Free> checked_;  // a bit a page, used atomically
  std::uint64_t reach_ = 0;                       // pages
  std::vector<Noted> noted_;
};

}  // namespace srvdb
