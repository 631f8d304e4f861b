#include "srvdb/storage/strided_file.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/base/planted_bugs.h"

namespace srvdb {

namespace {

constexpr std::uint32_t kStridedVersion = 1;
constexpr std::size_t kOpaqueOffset = 64;
constexpr std::size_t kHeaderCrcOffset = kHeaderPageBytes - 4;
constexpr std::size_t kMagicBytes = 8;

const char* magic_of(StridedKind kind) noexcept {
  return kind == StridedKind::kVectors ? "srvdbrow" : "srvdbcod";
}

[[noreturn]] void corrupt(const std::string& path, std::uint64_t offset, const std::string& what) {
  throw Error(ErrorCode::kCorruption,
              path + " is damaged at offset " + std::to_string(offset) + ": " + what);
}

std::uint64_t data_bytes(const StridedHeader& header, Row rows) noexcept {
  return kHeaderPageBytes + std::uint64_t{rows} * header.stride;
}

void check_length(const File& file, std::uint64_t expected) {
  const std::uint64_t got = file.size();
  if (got < expected) {
    throw Error(ErrorCode::kCorruption, file.path() + " is too short: expected at least " +
                                            std::to_string(expected) + " bytes, got " +
                                            std::to_string(got));
  }
}

std::uint32_t fix_crc(const std::uint8_t* row, std::size_t stride, float value) noexcept {
  return crc32c(&value, sizeof(value), crc32c(row, stride));
}

}  // namespace

RowFix make_fix(ByteSpan row, float value) noexcept {
  return {fix_crc(row.data(), row.size(), value), value};
}

std::uint32_t direct_rows_crc(std::span<const RowFix> fixes) noexcept {
  std::uint32_t crc = 0;
  for (const RowFix& fix : fixes) crc = crc32c(&fix.crc, sizeof(fix.crc), crc);
  return crc;
}

std::string encode_strided_header(const StridedHeader& header) {
  if (header.opaque.size() > kMaxOpaqueBytes) {
    throw Error(ErrorCode::kInvalidInput, "opaque header bytes: expected at most " +
                                              std::to_string(kMaxOpaqueBytes) + ", got " +
                                              std::to_string(header.opaque.size()));
  }
  std::string page(magic_of(header.kind), kMagicBytes);
  put<std::uint32_t>(page, kStridedVersion);
  put<std::uint32_t>(page, static_cast<std::uint32_t>(header.kind));
  page.append(reinterpret_cast<const char*>(header.uuid.data()), header.uuid.size());
  put(page, header.generation);
  put(page, header.lineage);
  put(page, header.dimension);
  put(page, header.stride);
  put<std::uint32_t>(page, static_cast<std::uint32_t>(header.opaque.size()));
  put<std::uint32_t>(page, 0);
  assert(page.size() == kOpaqueOffset);
  page += header.opaque;
  page.resize(kHeaderCrcOffset, '\0');
  put(page, crc32c(page));
  return page;
}

StridedHeader decode_strided_header(ByteSpan page, const std::string& path) {
  if (page.size() != kHeaderPageBytes) corrupt(path, 0, "no whole header page");
  StridedHeader header;
  const std::string_view magic = as_text(page.first(kMagicBytes));
  if (magic == magic_of(StridedKind::kVectors)) {
    header.kind = StridedKind::kVectors;
  } else if (magic == magic_of(StridedKind::kCodes)) {
    header.kind = StridedKind::kCodes;
  } else {
    corrupt(path, 0, "expected the magic of a row file");
  }
  const auto expected = load<std::uint32_t>(page.data() + kHeaderCrcOffset);
  if (crc32c(page.data(), kHeaderCrcOffset) != expected) {
    corrupt(path, 0, "checksum of the header page does not hold");
  }
  ByteReader reader(page.subspan(kMagicBytes));
  const auto version = reader.get<std::uint32_t>();
  if (version != kStridedVersion) {
    throw Error(ErrorCode::kVersion, path + " has format version " + std::to_string(version) +
                                         ", expected " + std::to_string(kStridedVersion));
  }
  const auto kind = reader.get<std::uint32_t>();
  std::ranges::copy(reader.bytes(header.uuid.size()), header.uuid.begin());
  header.generation = reader.get<std::uint64_t>();
  header.lineage = reader.get<std::uint64_t>();
  header.dimension = reader.get<std::uint32_t>();
  header.stride = reader.get<std::uint32_t>();
  const auto opaque = reader.get<std::uint32_t>();
  const std::size_t unit = header.kind == StridedKind::kVectors ? sizeof(float) : 1;
  if (kind != static_cast<std::uint32_t>(header.kind) || opaque > kMaxOpaqueBytes ||
      header.dimension == 0 || header.dimension > kMaxDimension ||
      header.stride < header.dimension * unit || header.stride > 2 * kMaxDimension * unit) {
    corrupt(path, 0, "impossible numbers in the header page");
  }
  header.opaque = as_text(page.subspan(kOpaqueOffset, opaque));
  return header;
}

// -- view ----------------------------------------------------------------------------------------

bool StridedView::row_is_good(Row row) const noexcept {
  const RowFix expected = fix(row);
  return fix_crc(at(row), stride_, expected.value) == expected.crc ||
         planted(Bug::kIgnoreRowChecksum);
}

void StridedView::throw_damaged(Row row) const {
  corrupt(*path_, kHeaderPageBytes + std::uint64_t{row} * stride_,
          "checksum of row " + std::to_string(row) + " does not hold");
}

void StridedView::verify_slow(Row first, Row count) const {
  const std::uint64_t end = std::uint64_t{first} + count;
  if (end > rows_) {
    throw Error(ErrorCode::kInvalidInput, "row " + std::to_string(end - 1) + " of " +
                                              (path_ ? *path_ : std::string("an empty file")) +
                                              ": expected a row below " + std::to_string(rows_));
  }
  for (std::uint64_t row = first; row < end; ++row) {
    const Row r = static_cast<Row>(row);
    if (verified_->test(r)) continue;
    if (!row_is_good(r)) throw_damaged(r);
    verified_->set_word(r / 64, std::uint64_t{1} << (r % 64));
  }
}

void StridedView::verify_range(Row first, Row count) const {
  const std::uint64_t end = std::uint64_t{first} + count;
  if (end > rows_) verify_slow(first, count);  // throws
  for (std::uint64_t row = first; row < end;) {
    const auto word = static_cast<std::uint32_t>(row / 64);
    const std::uint64_t stop = std::min(end, (std::uint64_t{word} + 1) * 64);
    if (verified_->word(word) != ~std::uint64_t{0}) {
      verify_slow(static_cast<Row>(row), static_cast<Row>(stop - row));
    }
    row = stop;
  }
}

// -- file ----------------------------------------------------------------------------------------

StridedFile::StridedFile(std::unique_ptr<File> data, std::unique_ptr<File> fixes,
                         StridedHeader header)
    : data_(std::move(data)),
      fixes_(std::move(fixes)),
      header_(std::move(header)),
      data_map_(*data_, header_.kind == StridedKind::kCodes),
      fix_map_(*fixes_, header_.kind == StridedKind::kCodes),
      verified_(std::make_shared<VerifiedRows>()),
      path_(std::make_shared<const std::string>(data_->path())) {}

std::unique_ptr<StridedFile> StridedFile::create(FileSystem& files, const std::string& data_path,
                                                 const std::string& fix_path,
                                                 const StridedHeader& header) {
  const std::string page = encode_strided_header(header);
  decode_strided_header(as_byte_span(page), data_path);  // the numbers must make sense
  auto data = files.open(data_path, OpenMode::kCreateNew);
  auto fixes = files.open(fix_path, OpenMode::kCreateNew);
  data->pwrite(page.data(), page.size(), 0);
  return std::unique_ptr<StridedFile>(new StridedFile(std::move(data), std::move(fixes), header));
}

std::unique_ptr<StridedFile> StridedFile::open(FileSystem& files, const std::string& data_path,
                                               const std::string& fix_path, StridedKind kind,
                                               Row rows, bool read_only) {
  const OpenMode mode = read_only ? OpenMode::kRead : OpenMode::kReadWrite;
  auto data = files.open(data_path, mode);
  auto fixes = files.open(fix_path, mode);
  std::string page(kHeaderPageBytes, '\0');
  data->pread_exactly(page.data(), page.size(), 0);
  StridedHeader header = decode_strided_header(as_byte_span(page), data_path);
  if (header.kind != kind) corrupt(data_path, 0, "a row file of another kind");
  check_length(*data, data_bytes(header, rows));
  check_length(*fixes, std::uint64_t{rows} * sizeof(RowFix));
  return std::unique_ptr<StridedFile>(
      new StridedFile(std::move(data), std::move(fixes), std::move(header)));
}

Row StridedFile::file_rows() const {
  const std::uint64_t bytes = data_->size();
  const std::uint64_t by_data =
      bytes < kHeaderPageBytes ? 0 : (bytes - kHeaderPageBytes) / header_.stride;
  const std::uint64_t by_fixes = fixes_->size() / sizeof(RowFix);
  return static_cast<Row>(std::min({by_data, by_fixes, std::uint64_t{kMaxRows}}));
}

void StridedFile::write(Row first_row, ByteSpan rows, std::span<const RowFix> fixes) {
  if (fixes.size() > kMaxRows - std::min(first_row, kMaxRows) ||
      rows.size() != fixes.size() * header_.stride) {
    throw Error(ErrorCode::kInvalidInput,
                "rows of " + data_->path() + ": expected " + std::to_string(header_.stride) +
                    " bytes for each of " + std::to_string(fixes.size()) + " rows below " +
                    std::to_string(kMaxRows) + ", got " + std::to_string(rows.size()));
  }
  if (fixes.empty()) return;
  // These bytes come from memory: checked here they could only fail for what the disk does later,
  // which the next opening checks.
  data_->pwrite(rows.data(), rows.size(), data_bytes(header_, first_row));
  fixes_->pwrite(fixes.data(), fixes.size_bytes(), std::uint64_t{first_row} * sizeof(RowFix));
  verified_->set_range(first_row, static_cast<Row>(fixes.size()));
}

void StridedFile::start_sync() noexcept {
  data_->start_sync();
  fixes_->start_sync();
}

void StridedFile::sync() {
  data_->sync_data();
  fixes_->sync_data();
}

void StridedFile::truncate_to(Row rows) {
  check_length(*data_, data_bytes(header_, rows));
  check_length(*fixes_, std::uint64_t{rows} * sizeof(RowFix));
  if (data_->size() != data_bytes(header_, rows)) data_->truncate(data_bytes(header_, rows));
  const std::uint64_t fix_bytes = std::uint64_t{rows} * sizeof(RowFix);
  if (fixes_->size() != fix_bytes) fixes_->truncate(fix_bytes);
  verified_->clear_from(rows);
}

StridedView StridedFile::view(Row rows) {
  check_length(*data_, data_bytes(header_, rows));
  check_length(*fixes_, std::uint64_t{rows} * sizeof(RowFix));
  StridedView view;
  view.data_ = data_map_.covering(data_bytes(header_, rows));
  view.fixes_ = fix_map_.covering(std::uint64_t{rows} * sizeof(RowFix));
  view.verified_ = verified_;
  view.path_ = path_;
  view.base_ = view.data_->data() + kHeaderPageBytes;
  view.fix_base_ = view.fixes_->data();
  view.stride_ = header_.stride;
  view.rows_ = rows;
  return view;
}

std::optional<std::uint32_t> StridedFile::direct_crc(Row first_row, Row count) {
  const std::uint64_t end = std::uint64_t{first_row} + count;
  if (end > file_rows()) return std::nullopt;
  const StridedView view = this->view(static_cast<Row>(end));
  std::uint32_t crc = 0;
  for (std::uint64_t row = first_row; row < end; ++row) {
    const Row r = static_cast<Row>(row);
    if (!view.row_is_good(r)) return std::nullopt;
    const std::uint32_t row_crc = view.fix(r).crc;
    crc = crc32c(&row_crc, sizeof(row_crc), crc);
  }
  return crc;
}

}  // namespace srvdb
