#include "srvdb/storage/page_checksums.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <new>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"

namespace srvdb {

namespace {

constexpr std::string_view kMagic = "SRVDBCRC";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kEntryBytes = 4;
// Noted entries that lie in one block of this many are written together.
constexpr std::uint64_t kBlockEntries = 1024;

std::string header(std::uint32_t page_bytes) {
  std::string out(kMagic);
  put(out, kVersion);
  put(out, page_bytes);
  out.resize(PageChecksums::kHeaderBytes - kEntryBytes);
  put(out, crc32c(out));
  return out;
}

std::uint64_t offset_of(std::uint64_t number) noexcept {
  return PageChecksums::kHeaderBytes + kEntryBytes * number;
}

}  // namespace

std::string page_checksum_path(const std::string& path) {
  constexpr std::string_view kSuffix = ".db";
  const bool has_suffix = path.ends_with(kSuffix);
  return path.substr(0, path.size() - (has_suffix ? kSuffix.size() : 0)) + ".crc";
}

std::uint32_t page_checksum(std::uint64_t number, const void* page, std::size_t bytes) noexcept {
  return crc32c(page, bytes, crc32c(&number, sizeof(number)));
}

PageChecksums::PageChecksums(FileSystem& files, const std::string& path, std::uint32_t page_bytes,
                             OpenMode mode)
    : page_bytes_(page_bytes) {
  const std::string expected = header(page_bytes);
  if (mode == OpenMode::kCreate || mode == OpenMode::kCreateNew) {
    file_ = files.open(path, mode);
    if (file_->size() != 0) file_->truncate(0);
    file_->pwrite(expected.data(), expected.size(), 0);
    return;
  }
  if (!files.exists(path)) throw Error(ErrorCode::kCorruption, path + " is missing");
  file_ = files.open(path, mode);
  std::string found(expected.size(), '\0');
  file_->pread_exactly(found.data(), found.size(), 0);
  if (found == expected) return;
  throw Error(ErrorCode::kCorruption, path + " is damaged: its header at offset 0 is not that of " +
                                          "checksums of pages of " + std::to_string(page_bytes) +
                                          " bytes");
}

// -- what was checked ----------------------------------------------------------------------------

void PageChecksums::set_reach(std::uint64_t pages) {
  const std::size_t words = static_cast<std::size_t>((pages + 63) / 64);
  // calloc gives a large block untouched, so that a map of much more than the file costs nothing.
  std::unique_ptr<std::uint64_t, Free> bits(
      static_cast<std::uint64_t*>(std::calloc(std::max<std::size_t>(words, 1), 8)));
  if (!bits) throw std::bad_alloc();
  if (checked_) {
    const std::size_t old_words = static_cast<std::size_t>((reach_ + 63) / 64);
    std::memcpy(bits.get(), checked_.get(), 8 * std::min(words, old_words));
  }
  checked_ = std::move(bits);
  reach_ = pages;
}

bool PageChecksums::is_checked(std::uint64_t number) const noexcept {
  if (number >= reach_) return false;
  const std::atomic_ref word(checked_.get()[number / 64]);
  return (word.load(std::memory_order_relaxed) >> (number % 64) & 1) != 0;
}

void PageChecksums::set_checked(std::uint64_t number) noexcept {
  if (number >= reach_) return;
  const std::atomic_ref word(checked_.get()[number / 64]);
  word.fetch_or(std::uint64_t{1} << (number % 64), std::memory_order_relaxed);
}

void PageChecksums::forget_checked() noexcept {
  for (std::uint64_t i = 0; i < (reach_ + 63) / 64; ++i) {
    std::atomic_ref(checked_.get()[i]).store(0, std::memory_order_relaxed);
  }
}

std::optional<std::uint64_t> PageChecksums::first_wrong(std::uint64_t number, std::uint64_t count,
                                                        const std::uint8_t* pages) {
  std::array<std::uint32_t, 64> stored;
  for (std::uint64_t done = 0; done < count;) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(count - done, stored.size()));
    const std::size_t got =
        file_->pread(stored.data(), n * kEntryBytes, offset_of(number + done)) / kEntryBytes;
    for (std::size_t i = 0; i < n; ++i, ++done) {
      const std::uint8_t* const page = pages + done * page_bytes_;
      if (i >= got || stored[i] != page_checksum(number + done, page, page_bytes_)) {
        return number + done;
      }
    }
  }
  set_checked(number);
  return std::nullopt;
}

// -- what was written ----------------------------------------------------------------------------

void PageChecksums::note(std::uint64_t number, ByteSpan pages) {
  for (std::size_t at = 0; at + page_bytes_ <= pages.size(); at += page_bytes_, ++number) {
    noted_.push_back({number, page_checksum(number, pages.data() + at, page_bytes_)});
    set_checked(number);
  }
}

void PageChecksums::write_noted() {
  // The last one noted of a page is what the page holds. (A write may have failed after noting, or
  // a page was written twice in one transaction.)
  std::ranges::reverse(noted_);
  std::ranges::stable_sort(noted_, {}, &Noted::number);
  const auto same = [](const Noted& a, const Noted& b) { return a.number == b.number; };
  noted_.erase(std::unique(noted_.begin(), noted_.end(), same), noted_.end());
  std::array<std::uint32_t, kBlockEntries> block;
  for (std::size_t i = 0; i < noted_.size();) {
    const std::uint64_t first = noted_[i].number;
    const std::uint64_t end = (first / kBlockEntries + 1) * kBlockEntries;
    std::size_t j = i;
    while (j < noted_.size() && noted_[j].number < end) ++j;
    const auto count = static_cast<std::size_t>(noted_[j - 1].number - first + 1);
    const std::size_t bytes = count * kEntryBytes;
    if (j - i < count) {  // gaps keep what is there
      const std::size_t got = file_->pread(block.data(), bytes, offset_of(first));
      std::memset(reinterpret_cast<char*>(block.data()) + got, 0, bytes - got);
    }
    for (; i < j; ++i)
      block[static_cast<std::size_t>(noted_[i].number - first)] = noted_[i].checksum;
    file_->pwrite(block.data(), bytes, offset_of(first));
  }
  noted_.clear();
}

}  // namespace srvdb
