// Which fields of metadata have columns, and what their columns leave out.
//
// A field gets a number, and so a column, when it first appears, up to a limit; or, where the
// fields are named (`only`), when it is one of those. A number stays until the columns are made
// anew. Kept in the metadata store beside the columns, and changed in the transactions that change
// these (cpp/FORMAT.md, "Columns").
//
// A value; copies are cheap enough to be made for each checkpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "srvdb/base/types.h"
#include "srvdb/storage/meta_store.h"

namespace srvdb {

inline constexpr std::uint32_t kDefaultIndexedFields = 64;

// What columns know about a field.
enum class FieldCoverage : std::uint8_t {
  kColumn,   // it has a column, which knows every row of the store
  kNowhere,  // no row of the store has it
  kUnknown,  // only the documents tell
};

class FieldCatalogue {
 public:
  // Of a new store.
  FieldCatalogue() = default;
  // Throws Error(kCorruption).
  explicit FieldCatalogue(const MetaStore::ReadTxn& store);

  FieldCoverage coverage(std::string_view path) const;
  std::optional<std::uint32_t> number(std::string_view path) const;
  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(paths_.size()); }
  const std::string& path(std::uint32_t number) const { return paths_[number]; }
  // The fields that are to have columns; nothing: all, up to limit().
  const std::optional<std::vector<std::string>>& only() const noexcept { return only_; }
  std::uint32_t limit() const noexcept { return limit_; }
  // There are fields without a column because there were too many.
  bool is_full() const noexcept { return full_; }
  // Rows that are still without columns: [first, second). Until there are none, no column counts.
  std::pair<Row, Row> missing() const noexcept { return {missing_from_, missing_to_}; }
  bool is_complete() const noexcept { return missing_from_ >= missing_to_; }

  // The field's number, a new one if it is to have one; nothing when it has no column.
  std::optional<std::uint32_t> find_or_add(std::string_view path);
  void set_missing(Row from, Row to) noexcept {
    missing_from_ = from;
    missing_to_ = to;
  }
  // The same wishes, with no field yet.
  FieldCatalogue fresh() const;
  // Throws Error(kInvalidInput) for wishes that cannot be had.
  static void check_only(const std::vector<std::string>& paths);
  // Other wishes: sorted, each once. Fields come anew.
  void set_only(std::optional<std::vector<std::string>> only);

  // The catalogue as the store keeps it; decoding, the state first and then the fields in order,
  // throws Error(kCorruption).
  std::string state_bytes() const;
  void decode_state(ByteSpan bytes);
  void decode_field(std::uint32_t field, ByteSpan bytes);
  // Writes what differs from `before`, the catalogue in the store.
  void put(MetaStore::WriteTxn& txn, const FieldCatalogue& before) const;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view path) const noexcept {
      return std::hash<std::string_view>{}(path);
    }
  };
  bool is_wanted(std::string_view path) const;

  std::vector<std::string> paths_;  // by number
  std::unordered_map<std::string, std::uint32_t, Hash, std::equal_to<>> numbers_;
  std::optional<std::vector<std::string>> only_;
  std::uint32_t limit_ = kDefaultIndexedFields;
  bool full_ = false;
  Row missing_from_ = 0;
  Row missing_to_ = 0;
};

}  // namespace srvdb
