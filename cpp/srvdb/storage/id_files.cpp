#include "srvdb/storage/id_files.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "srvdb/base/bytes.h"
#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/base/planted_bugs.h"

namespace srvdb {

namespace {

void check_length(const File& file, std::uint64_t expected) {
  const std::uint64_t got = file.size();
  if (got < expected) {
    throw Error(ErrorCode::kCorruption, file.path() + " is too short: expected at least " +
                                            std::to_string(expected) + " bytes, got " +
                                            std::to_string(got));
  }
}

}  // namespace

IdFix make_id_fix(Row row, std::uint64_t offset, std::string_view id) noexcept {
  IdFix fix;
  fix.offset = offset;
  fix.length = static_cast<std::uint16_t>(id.size());
  char prefix[14];
  store<Row>(prefix, row);
  store<std::uint64_t>(prefix + 4, offset);
  store<std::uint16_t>(prefix + 12, fix.length);
  fix.crc = crc32c(id, crc32c(prefix, sizeof(prefix)));
  return fix;
}

std::string_view IdView::id(Row row) const {
  if (row >= rows_) {
    throw Error(ErrorCode::kInvalidInput, "id of row " + std::to_string(row) +
                                              ": expected a row below " + std::to_string(rows_));
  }
  const std::size_t at = static_cast<std::size_t>(row) * sizeof(IdFix);
  const auto fix = load<IdFix>(fixes_->data() + at);
  if (fix.length != 0 && fix.length <= kMaxIdBytes && fix.zero == 0 && fix.offset <= id_bytes_ &&
      fix.length <= id_bytes_ - fix.offset) {
    const std::string_view id = as_text({bytes_->data() + fix.offset, fix.length});
    const bool holds = make_id_fix(row, fix.offset, id).crc == fix.crc;
    if (holds || planted(Bug::kIgnoreIdChecksum)) return id;
  }
  throw Error(ErrorCode::kCorruption, *path_ + " is damaged at offset " + std::to_string(at) +
                                          ": checksum of the id of row " + std::to_string(row) +
                                          " does not hold");
}

IdFiles::IdFiles(std::unique_ptr<File> bytes, std::unique_ptr<File> fixes)
    : bytes_(std::move(bytes)),
      fixes_(std::move(fixes)),
      bytes_map_(*bytes_),
      fix_map_(*fixes_),
      path_(std::make_shared<const std::string>(fixes_->path())) {}

std::unique_ptr<IdFiles> IdFiles::create(FileSystem& files, const std::string& bytes_path,
                                         const std::string& fix_path) {
  auto bytes = files.open(bytes_path, OpenMode::kCreateNew);
  auto fixes = files.open(fix_path, OpenMode::kCreateNew);
  return std::unique_ptr<IdFiles>(new IdFiles(std::move(bytes), std::move(fixes)));
}

std::unique_ptr<IdFiles> IdFiles::open(FileSystem& files, const std::string& bytes_path,
                                       const std::string& fix_path, Row rows,
                                       std::uint64_t id_bytes, bool read_only) {
  const OpenMode mode = read_only ? OpenMode::kRead : OpenMode::kReadWrite;
  auto bytes = files.open(bytes_path, mode);
  auto fixes = files.open(fix_path, mode);
  check_length(*bytes, id_bytes);
  check_length(*fixes, std::uint64_t{rows} * sizeof(IdFix));
  std::unique_ptr<IdFiles> opened(new IdFiles(std::move(bytes), std::move(fixes)));
  opened->rows_ = rows;
  opened->id_bytes_ = id_bytes;
  return opened;
}

void IdFiles::append(Row first_row, std::span<const std::string_view> ids) {
  if (first_row != rows_ || ids.size() > kMaxRows - rows_) {
    throw Error(ErrorCode::kInvalidInput, "ids of " + bytes_->path() + ": expected them from row " +
                                              std::to_string(rows_) + " on, got " +
                                              std::to_string(ids.size()) + " from row " +
                                              std::to_string(first_row));
  }
  std::string text;
  std::vector<IdFix> fixes;
  fixes.reserve(ids.size());
  for (const std::string_view id : ids) {
    if (id.empty() || id.size() > kMaxIdBytes) {
      throw Error(ErrorCode::kInvalidInput, "id of row " + std::to_string(rows_ + fixes.size()) +
                                                ": expected 1 to " + std::to_string(kMaxIdBytes) +
                                                " bytes, got " + std::to_string(id.size()));
    }
    const Row row = rows_ + static_cast<Row>(fixes.size());
    fixes.push_back(make_id_fix(row, id_bytes_ + text.size(), id));
    text.append(id);
  }
  bytes_->pwrite(text.data(), text.size(), id_bytes_);
  fixes_->pwrite(fixes.data(), fixes.size() * sizeof(IdFix), std::uint64_t{rows_} * sizeof(IdFix));
  rows_ += static_cast<Row>(ids.size());
  id_bytes_ += text.size();
}

void IdFiles::sync() {
  bytes_->sync_data();
  fixes_->sync_data();
}

void IdFiles::truncate_to(Row rows, std::uint64_t id_bytes) {
  const std::uint64_t fix_bytes = std::uint64_t{rows} * sizeof(IdFix);
  check_length(*bytes_, id_bytes);
  check_length(*fixes_, fix_bytes);
  if (bytes_->size() != id_bytes) bytes_->truncate(id_bytes);
  if (fixes_->size() != fix_bytes) fixes_->truncate(fix_bytes);
  rows_ = rows;
  id_bytes_ = id_bytes;
}

void IdFiles::advance_to(Row rows, std::uint64_t id_bytes) {
  check_length(*bytes_, id_bytes);
  check_length(*fixes_, std::uint64_t{rows} * sizeof(IdFix));
  rows_ = rows;
  id_bytes_ = id_bytes;
}

IdView IdFiles::view() {
  check_length(*bytes_, id_bytes_);
  check_length(*fixes_, std::uint64_t{rows_} * sizeof(IdFix));
  IdView view;
  view.bytes_ = bytes_map_.covering(id_bytes_);
  view.fixes_ = fix_map_.covering(std::uint64_t{rows_} * sizeof(IdFix));
  view.path_ = path_;
  view.id_bytes_ = id_bytes_;
  view.rows_ = rows_;
  return view;
}

}  // namespace srvdb
