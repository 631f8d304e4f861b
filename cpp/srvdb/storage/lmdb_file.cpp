#include "srvdb/storage/lmdb_file.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/base/planted_bugs.h"
#include "srvdb/storage/lmdb_io.h"

namespace srvdb {

namespace {

// Where LMDB 0.9 keeps things on 64-bit little-endian machines; cmake/lmdb_srvdb.patch has LMDB's
// compiler check the size.
constexpr std::uint64_t kMetaPages = 2;
constexpr std::size_t kPageFlagsAt = 10;      // u16
constexpr std::size_t kOverflowPagesAt = 12;  // u32
constexpr std::size_t kPageHeaderBytes = 16;
constexpr std::size_t kPageSizeAt = 40;                   // u32 in a meta page
constexpr std::size_t kLastPageAt = 136;                  // u64 in a meta page
constexpr std::size_t kTransactionAt = 144;               // u64 in a meta page
constexpr std::size_t kMetaCrcAt = SRVDB_META_BYTES - 4;  // u32 in a meta page
constexpr std::uint16_t kOverflowFlag = 4;
constexpr std::uint16_t kMetaFlag = 8;
constexpr std::uint32_t kMinPageBytes = 256;
constexpr std::uint32_t kMaxPageBytes = 32768;

using MetaPage = std::array<std::uint8_t, SRVDB_META_BYTES>;

// Descriptors are this plus a slot: more than any process may have open.
constexpr int kFirstDescriptor = 1 << 28;
constexpr int kDescriptors = 4096;
std::array<std::atomic<LmdbDescriptor*>, kDescriptors> descriptors;  // no lock: safe over fork()

thread_local LmdbFile* opening = nullptr;
thread_local std::string last_damage;

[[noreturn]] void refuse() {
  throw Error(ErrorCode::kStorage, "LMDB asked for something that its file does not do", EBADF);
}

std::string place(const std::string& path, std::uint64_t number, std::uint32_t page_bytes) {
  return "page " + std::to_string(number) + " at offset " + std::to_string(number * page_bytes) +
         " of " + path;
}

}  // namespace

std::string take_lmdb_damage() {
  return std::exchange(last_damage, {});
}

// -- descriptors ---------------------------------------------------------------------------------

LmdbDescriptor::LmdbDescriptor() : number_(0) {
  for (int slot = 0; slot < kDescriptors; ++slot) {
    LmdbDescriptor* expected = nullptr;
    if (!descriptors[static_cast<std::size_t>(slot)].compare_exchange_strong(expected, this)) {
      continue;
    }
    number_ = kFirstDescriptor + slot;
    return;
  }
  throw Error(ErrorCode::kStorage, "too many metadata stores are open in this process", EMFILE);
}

LmdbDescriptor::~LmdbDescriptor() {
  descriptors[static_cast<std::size_t>(number_ - kFirstDescriptor)] = nullptr;
}

LmdbDescriptor* LmdbDescriptor::find(int number) noexcept {
  const int slot = number - kFirstDescriptor;
  if (number < kFirstDescriptor || slot >= kDescriptors) return nullptr;
  return descriptors[static_cast<std::size_t>(slot)].load(std::memory_order_acquire);
}

std::size_t LmdbDescriptor::read(void*, std::size_t, std::uint64_t) {
  refuse();
}
void LmdbDescriptor::write(std::span<const ByteSpan>, std::uint64_t) {
  refuse();
}
void LmdbDescriptor::append(ByteSpan) {
  refuse();
}
void LmdbDescriptor::sync() {
  refuse();
}
void LmdbDescriptor::truncate(std::uint64_t) {
  refuse();
}
std::uint64_t LmdbDescriptor::size() {
  refuse();
}
void* LmdbDescriptor::map(std::size_t) {
  refuse();
}

LmdbFile::Opening::Opening(LmdbFile& file) noexcept {
  opening = &file;
}
LmdbFile::Opening::~Opening() {
  opening = nullptr;
}
LmdbFile* LmdbFile::Opening::current() noexcept {
  return opening;
}

// -- the data file -------------------------------------------------------------------------------

LmdbFile::LmdbFile(FileSystem& files, const std::string& path, bool read_only, bool create)
    : files_(files) {
  const auto found = files.info(path);
  const bool is_new = !found || found->size == 0;
  if (is_new && (read_only || !create)) {
    throw Error(ErrorCode::kCorruption, path + " is missing or empty");
  }
  if (is_new) {
    const auto system_page = static_cast<std::uint32_t>(::sysconf(_SC_PAGESIZE));
    page_bytes_ = std::min(system_page, kMaxPageBytes);
    file_ = files.open(path, OpenMode::kCreate);
  } else {
    file_ = files.open(path, read_only ? OpenMode::kRead : OpenMode::kReadWrite);
    // A writer in another process may be in the middle of writing what a reader looks at.
    for (int tries = read_only ? 50 : 1;;
         std::this_thread::sleep_for(std::chrono::milliseconds(1))) {
      try {
        look_at_meta_pages();
        break;
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kCorruption || --tries == 0) throw;
      }
    }
  }
  size_ = file_->size();
  if (size_ < used_bytes_) {
    throw Error(ErrorCode::kCorruption, path + " is too short: expected at least " +
                                            std::to_string(used_bytes_) + " bytes, got " +
                                            std::to_string(size_));
  }
  OpenMode mode = OpenMode::kCreate;
  if (!is_new) mode = read_only ? OpenMode::kRead : OpenMode::kReadWrite;
  checksums_ = std::make_unique<PageChecksums>(files, page_checksum_path(path), page_bytes_, mode);
}

void LmdbFile::look_at_meta_pages() {
  std::array<MetaPage, kMetaPages> pages;
  for (std::uint64_t i = 0; i < kMetaPages; ++i) {
    file_->pread_exactly(pages[i].data(), pages[i].size(), i * page_bytes_);
    const auto page_bytes = load<std::uint32_t>(&pages[i][kPageSizeAt]);
    if (srvdb_lmdb_meta_ok(pages[i].data()) == 0 || load<std::uint64_t>(pages[i].data()) != i ||
        page_bytes < kMinPageBytes || page_bytes > kMaxPageBytes ||
        !std::has_single_bit(page_bytes)) {
      throw Error(ErrorCode::kCorruption, file_->path() + " is damaged: the meta page at offset " +
                                              std::to_string(i * page_bytes_) +
                                              " is not what was written");
    }
    page_bytes_ = page_bytes;
  }
  const bool second = load<std::uint64_t>(&pages[0][kTransactionAt]) <
                      load<std::uint64_t>(&pages[1][kTransactionAt]);
  const auto last_page = load<std::uint64_t>(&pages[second ? 1 : 0][kLastPageAt]);
  if (last_page >= (std::uint64_t{1} << 48)) {
    throw Error(ErrorCode::kCorruption, file_->path() + " is damaged: it cannot hold " +
                                            std::to_string(last_page) + " pages");
  }
  used_bytes_ = (last_page + 1) * page_bytes_;
}

std::size_t LmdbFile::read(void* to, std::size_t bytes, std::uint64_t offset) {
  return file_->pread(to, bytes, offset);
}

void LmdbFile::write(std::span<const ByteSpan> parts, std::uint64_t offset) {
  if (offset % page_bytes_ != 0) refuse();
  file_->pwritev(parts, offset);
  for (const ByteSpan part : parts) {
    const std::uint64_t number = offset / page_bytes_;
    if (number >= kMetaPages) checksums_->note(number, part);
    offset += part.size();
  }
  size_ = std::max(size_, offset);
}

void LmdbFile::sync() {
  checksums_->write_noted();
  file_->start_sync();
  if (!planted(Bug::kSkipChecksumFileSync)) checksums_->sync();
  if (!planted(Bug::kSkipStoreSync)) file_->sync_data();
}

void LmdbFile::truncate(std::uint64_t size) {
  file_->truncate(size);
}

std::uint64_t LmdbFile::size() {
  return file_->size();
}

void* LmdbFile::map(std::size_t bytes) {
  std::shared_ptr<const Mapping> mapping = file_->map(bytes);
  checksums_->set_reach(bytes / page_bytes_);
  maps_.push_back(mapping);
  return const_cast<std::uint8_t*>(mapping->data());
}

void LmdbFile::unmap(const void* at) noexcept {
  const auto found =
      std::ranges::find_if(maps_, [&](const auto& map) { return map->data() == at; });
  if (found != maps_.end()) maps_.erase(found);
}

// LMDB does not write pages at the end that it took and gave back in one transaction.
void LmdbFile::reach(std::uint64_t bytes) {
  if (bytes <= size_) return;
  file_->truncate(bytes);
  size_ = bytes;
}

int LmdbFile::write_meta(int number, ByteSpan meta) {
  const std::uint64_t offset = static_cast<std::uint64_t>(number) * page_bytes_;
  MetaPage page{};
  store(page.data(), static_cast<std::uint64_t>(number));
  store(&page[kPageFlagsAt], kMetaFlag);
  if (meta.size() != kMetaCrcAt - kPageHeaderBytes) refuse();
  std::copy(meta.begin(), meta.end(), page.begin() + kPageHeaderBytes);
  srvdb_lmdb_seal_meta(page.data());
  MetaPage before;
  file_->pread_exactly(before.data(), before.size(), offset);
  try {
    file_->pwrite(page.data(), page.size(), offset);
    file_->sync_data();
    return 0;
  } catch (const Error& error) {
    const int why = error.os_error() != 0 ? error.os_error() : EIO;
    try {
      MetaPage now;
      file_->pread_exactly(now.data(), now.size(), offset);
      if (now == before) return why;  // not a byte was written
      // Until this is on the disk the new page may be found there, and then the pages it names must
      // not be used for anything else.
      file_->pwrite(before.data(), before.size(), offset);
      file_->sync_data();
      return why;
    } catch (const Error&) {
      return is_no_space(why) ? EIO : why;
    }
  }
}

bool LmdbFile::page_ok(std::uint64_t number, std::uint64_t end, const std::uint8_t* page) {
  if (checksums_->is_checked(number) || planted(Bug::kIgnorePageChecksum)) return true;
  std::uint64_t count = 1;
  if ((load<std::uint16_t>(page + kPageFlagsAt) & kOverflowFlag) != 0) {
    count =
        std::clamp<std::uint64_t>(load<std::uint32_t>(page + kOverflowPagesAt), 1, end - number);
  }
  try {
    const auto wrong = checksums_->first_wrong(number, count, page);
    if (!wrong) return true;
    last_damage = place(file_->path(), *wrong, page_bytes_) + " is not what was written (" +
                  checksums_->path() + ")";
  } catch (const Error& error) {
    last_damage = place(file_->path(), number, page_bytes_) + " cannot be checked: " + error.what();
  }
  return false;
}

// -- copies --------------------------------------------------------------------------------------

LmdbCopy::LmdbCopy(FileSystem& files, const std::string& path, std::uint32_t page_bytes)
    : file_(files.open(path, OpenMode::kCreateNew)),
      checksums_(files, page_checksum_path(path), page_bytes, OpenMode::kCreateNew) {}

void LmdbCopy::append(ByteSpan bytes) {
  const std::uint32_t page_bytes = checksums_.page_bytes();
  if (bytes.size() % page_bytes != 0) refuse();
  constexpr std::size_t kNotedAtOnce = 65536;
  if (written_ < kMetaPages * page_bytes) {
    const auto count = std::min<std::size_t>(bytes.size(), kMetaPages * page_bytes - written_);
    std::string metas(as_text(bytes.first(count)));
    for (std::size_t at = 0; at < count; at += page_bytes) srvdb_lmdb_seal_meta(metas.data() + at);
    file_->pwrite(metas.data(), count, written_);
    written_ += count;
    bytes = bytes.subspan(count);
  }
  if (bytes.empty()) return;
  file_->pwrite(bytes.data(), bytes.size(), written_);
  checksums_.note(written_ / page_bytes, bytes);
  written_ += bytes.size();
  if (checksums_.noted() >= kNotedAtOnce) checksums_.write_noted();
}

void LmdbCopy::sync() {
  checksums_.write_noted();
  file_->start_sync();
  checksums_.sync();
  file_->sync_data();
}

}  // namespace srvdb
