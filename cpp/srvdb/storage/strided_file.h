// A data file of fixed-stride rows behind a 4096-byte header page, and beside it a "fix" file of 8
// bytes a row: {CRC-32C, float}. vectors.bin + rows.fix and codes.i8 + codes.fix are both of this
// kind.
//
// The CRC covers the row's bytes, then the 4 bytes of its float, so neither can change unseen. Rows
// are verified when first touched and a bit remembers: opening is O(1), and so is every later
// touch.
//
// Threads: write and truncate_to are the writer's alone, never two at a time; sync may run beside
// write; view() and everything on a StridedView from any thread. A view may be used while rows
// above it are written; truncate_to must not cut rows that a live view may touch. Errors: a length
// that does not fit what was published, a bad header or a failed checksum is Error(kCorruption)
// with path, offset, expected and got.
#pragma once

#include <array>
#include <cassert>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "srvdb/base/bytes.h"
#include "srvdb/base/prefetch.h"
#include "srvdb/base/types.h"
#include "srvdb/storage/file.h"
#include "srvdb/storage/growing_map.h"
#include "srvdb/storage/verified_rows.h"

namespace srvdb {

using Uuid = std::array<std::uint8_t, 16>;

inline constexpr std::size_t kHeaderPageBytes = 4096;
inline constexpr std::size_t kMaxOpaqueBytes = 256;

struct RowFix {
  std::uint32_t crc = 0;  // CRC-32C over the row's bytes, then over `value`'s 4 bytes
  float value = 0;        // vectors: the norm, rounded up; codes: the error norm, rounded up
};
static_assert(sizeof(RowFix) == 8);

RowFix make_fix(ByteSpan row, float value) noexcept;
inline RowFix make_row_fix(std::span<const float> row, float norm) noexcept {
  return make_fix({reinterpret_cast<const std::uint8_t*>(row.data()), row.size_bytes()}, norm);
}

enum class StridedKind : std::uint32_t { kVectors = 1, kCodes = 2 };

// What the header page says. `lineage` and `opaque` are the caller's: for codes the quantiser.
struct StridedHeader {
  StridedKind kind = StridedKind::kVectors;
  Uuid uuid{};  // of the database
  std::uint64_t generation = 0;
  std::uint64_t lineage = 0;
  std::uint32_t dimension = 0;
  std::uint32_t stride = 0;  // bytes a row
  std::string opaque;        // at most kMaxOpaqueBytes
};

std::string encode_strided_header(const StridedHeader& header);  // kHeaderPageBytes bytes
// Throws Error(kCorruption) (bad magic, checksum, numbers) or Error(kVersion).
StridedHeader decode_strided_header(ByteSpan page, const std::string& path);

// Rows [0, rows()) of the two files, mapped. Cheap to copy; keeps its mappings alive. An empty one
// has no rows.
class StridedView {
 public:
  StridedView() = default;

  Row rows() const noexcept { return rows_; }
  std::size_t stride() const noexcept { return stride_; }
  const std::uint8_t* base() const noexcept { return base_; }  // of row 0; rows lie `stride` apart
  const std::uint8_t* at(Row row) const noexcept {
    assert(row < rows_);
    return base_ + static_cast<std::size_t>(row) * stride_;
  }
  RowFix fix(Row row) const noexcept {
    assert(row < rows_);
    return load<RowFix>(fix_base_ + static_cast<std::size_t>(row) * sizeof(RowFix));
  }
  float value(Row row) const noexcept { return fix(row).value; }
  // The floats of all rows, each kept beside a CRC: the value of row r is values()[2 * r].
  const float* values() const noexcept {
    return reinterpret_cast<const float*>(fix_base_ + sizeof(std::uint32_t));
  }

  // Returns when the rows' bytes and floats are known good; throws Error(kCorruption) with file and
  // offset, or Error(kInvalidInput) for rows at or above rows().
  void verify(Row row) const {
    if (row >= rows_ || !verified_->test(row)) verify_slow(row, 1);
  }
  // Whole words of verified rows are passed over 64 at a time.
  void verify_range(Row first, Row count) const;
  // False when the row's checksum does not hold; touches no bit. row < rows().
  bool row_is_good(Row row) const noexcept;
  // Whether the row is known good already.
  bool is_verified(Row row) const noexcept { return verified_->test(row); }
  // Asks the memory for what row_is_good() compares with.
  void prefetch_fix(Row row) const noexcept {
    prefetch_line(fix_base_ + static_cast<std::size_t>(row) * sizeof(RowFix));
  }
  // Error(kCorruption) for a row whose checksum does not hold.
  [[noreturn]] void throw_damaged(Row row) const;

 private:
  friend class StridedFile;
  void verify_slow(Row first, Row count) const;

  std::shared_ptr<const Mapping> data_;
  std::shared_ptr<const Mapping> fixes_;
  std::shared_ptr<VerifiedRows> verified_;
  std::shared_ptr<const std::string> path_;  // of the data file
  const std::uint8_t* base_ = nullptr;
  const std::uint8_t* fix_base_ = nullptr;
  std::size_t stride_ = 0;
  Row rows_ = 0;
};

class StridedFile {
 public:
  // Makes both files new and writes the header (not synced).
  static std::unique_ptr<StridedFile> create(FileSystem& files, const std::string& data_path,
                                             const std::string& fix_path,
                                             const StridedHeader& header);
  // Opens both, checks the header and that both hold at least `rows` rows. Longer files are what a
  // crash leaves: see file_rows() and truncate_to().
  static std::unique_ptr<StridedFile> open(FileSystem& files, const std::string& data_path,
                                           const std::string& fix_path, StridedKind kind, Row rows,
                                           bool read_only);

  const StridedHeader& header() const noexcept { return header_; }
  // Rows that both files hold whole, by their lengths.
  Row file_rows() const;

  // Writes rows at their place: rows.size() == fixes.size() * stride. Rows count as verified
  // afterwards. On failure nothing below first_row has changed.
  void write(Row first_row, ByteSpan rows, std::span<const RowFix> fixes);
  void start_sync() noexcept;  // see File::start_sync
  void sync();
  // Cuts both files to `rows`; they must be at least that long.
  void truncate_to(Row rows);
  // Rows [0, rows) must have been written. Throws Error(kCorruption) when the files are shorter.
  StridedView view(Row rows);
  // For a log record of rows written directly: CRC-32C over the rows' CRCs, or nothing when the
  // files are too short or a row's checksum fails.
  std::optional<std::uint32_t> direct_crc(Row first_row, Row count);

 private:
  StridedFile(std::unique_ptr<File> data, std::unique_ptr<File> fixes, StridedHeader header);

  std::unique_ptr<File> data_;
  std::unique_ptr<File> fixes_;
  StridedHeader header_;
  GrowingMap data_map_;
  GrowingMap fix_map_;
  std::shared_ptr<VerifiedRows> verified_;
  std::shared_ptr<const std::string> path_;
};

// The value that DirectRows::crc holds for rows just written.
std::uint32_t direct_rows_crc(std::span<const RowFix> fixes) noexcept;

}  // namespace srvdb
