#include "srvdb/database/field_catalogue.h"

#include <algorithm>

#include "srvdb/base/bytes.h"
#include "srvdb/base/error.h"
#include "srvdb/filter/document.h"

namespace srvdb {
namespace {

constexpr std::uint32_t kOnly = 1;  // flags of the state
constexpr std::uint32_t kFull = 2;
constexpr std::size_t kMostPaths = 1024;

[[noreturn]] void throw_bad(const char* what) {
  throw Error(ErrorCode::kCorruption,
              std::string("metadata.db: what is kept of ") + what + " cannot be what was written");
}

}  // namespace

FieldCatalogue::FieldCatalogue(const MetaStore::ReadTxn& store) {
  if (const auto bytes = store.column_state()) decode_state(*bytes);
  store.for_each_field([&](std::uint32_t field, ByteSpan bytes) { decode_field(field, bytes); });
}

void FieldCatalogue::decode_field(std::uint32_t field, ByteSpan bytes) {
  if (field != paths_.size()) throw_bad("fields");
  paths_.emplace_back(as_text(bytes));
  if (!numbers_.emplace(paths_.back(), field).second) throw_bad("fields");
}

void FieldCatalogue::decode_state(ByteSpan bytes) {
  ByteReader reader(bytes);
  const auto flags = reader.get<std::uint32_t>();
  limit_ = reader.get<std::uint32_t>();
  missing_from_ = reader.get<std::uint32_t>();
  missing_to_ = reader.get<std::uint32_t>();
  const auto count = reader.get<std::uint32_t>();
  full_ = (flags & kFull) != 0;
  only_.reset();
  if ((flags & kOnly) != 0) only_.emplace();
  for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
    const std::string_view path = reader.text();
    if (only_) only_->emplace_back(path);
  }
  if (!reader.ok() || reader.remaining() != 0 || (count != 0 && !only_) ||
      (flags & ~(kOnly | kFull)) != 0 || missing_to_ > kMaxRows) {
    throw_bad("columns");
  }
}

std::string FieldCatalogue::state_bytes() const {
  std::string out;
  put_all(out, (only_ ? kOnly : 0U) | (full_ ? kFull : 0U), limit_, missing_from_, missing_to_,
          static_cast<std::uint32_t>(only_ ? only_->size() : 0));
  if (only_) {
    for (const std::string& path : *only_) put_text(out, path);
  }
  return out;
}

void FieldCatalogue::put(MetaStore::WriteTxn& txn, const FieldCatalogue& before) const {
  for (std::uint32_t field = before.size(); field < size(); ++field) {
    txn.put_field(field, as_byte_span(paths_[field]));
  }
  const std::string bytes = state_bytes();
  if (bytes != before.state_bytes()) txn.set_column_state(as_byte_span(bytes));
}

FieldCoverage FieldCatalogue::coverage(std::string_view path) const {
  if (!is_complete()) return FieldCoverage::kUnknown;
  if (number(path)) return FieldCoverage::kColumn;
  const bool would_have = only_ ? is_wanted(path) : !full_;
  return would_have ? FieldCoverage::kNowhere : FieldCoverage::kUnknown;
}

std::optional<std::uint32_t> FieldCatalogue::number(std::string_view path) const {
  const auto found = numbers_.find(path);
  if (found == numbers_.end()) return std::nullopt;
  return found->second;
}

bool FieldCatalogue::is_wanted(std::string_view path) const {
  return !only_ || std::binary_search(only_->begin(), only_->end(), path);
}

std::optional<std::uint32_t> FieldCatalogue::find_or_add(std::string_view path) {
  if (const auto found = number(path)) return found;
  if (!is_wanted(path)) return std::nullopt;
  if (!only_ && size() >= limit_) {
    full_ = true;
    return std::nullopt;
  }
  numbers_.emplace(path, size());
  paths_.emplace_back(path);
  return size() - 1;
}

void FieldCatalogue::check_only(const std::vector<std::string>& paths) {
  if (paths.size() > kMostPaths) {
    throw Error(ErrorCode::kInvalidInput, "indexed_fields must name at most " +
                                              std::to_string(kMostPaths) + " fields, got " +
                                              std::to_string(paths.size()));
  }
  for (const std::string& path : paths) {
    if (path.size() <= filter::kMaxPathBytes) continue;
    throw Error(ErrorCode::kInvalidInput, "a field of indexed_fields must be at most " +
                                              std::to_string(filter::kMaxPathBytes) +
                                              " bytes long, got " + std::to_string(path.size()));
  }
}

FieldCatalogue FieldCatalogue::fresh() const {
  FieldCatalogue out;
  out.only_ = only_;
  out.limit_ = limit_;
  return out;
}

void FieldCatalogue::set_only(std::optional<std::vector<std::string>> only) {
  *this = fresh();
  only_ = std::move(only);
  if (!only_) return;
  std::sort(only_->begin(), only_->end());
  only_->erase(std::unique(only_->begin(), only_->end()), only_->end());
}

}  // namespace srvdb
