#include "srvdb/database/pending.h"

#include <algorithm>
#include <cstring>

namespace srvdb {
namespace {

// Comparing the first eight bytes as a number settles most comparisons of ids.
struct IdKey {
  std::uint64_t prefix;  // first eight bytes, big-endian, zero-padded
  std::uint32_t index;   // into the caller's list
};

std::uint64_t id_prefix(std::string_view id) noexcept {
  unsigned char raw[8] = {};
  std::memcpy(raw, id.data(), std::min<std::size_t>(id.size(), 8));
  std::uint64_t prefix = 0;
  for (const unsigned char byte : raw) prefix = prefix << 8 | byte;
  return prefix;
}

}  // namespace

std::optional<Row> PendingChanges::find(std::string_view id) const {
  const auto at = ids_.find(id);
  if (at == ids_.end()) return std::nullopt;
  return at->second;
}

std::optional<std::int64_t> PendingChanges::expiry(Row row) const {
  const auto at = expiry_.find(row);
  if (at == expiry_.end()) return std::nullopt;
  return at->second;
}

std::optional<std::string_view> PendingChanges::metadata(Row row) const {
  if (const auto edit = edits_.find(row); edit != edits_.end()) return edit->second;
  const auto at = std::lower_bound(metadata_.begin(), metadata_.end(), row,
                                   [](const auto& entry, Row r) { return entry.first < r; });
  if (at == metadata_.end() || at->first != row) return std::nullopt;
  return at->second;
}

void PendingChanges::put(std::string_view id, Row row, std::string_view metadata) {
  set(id, row);
  if (!metadata.empty()) metadata_.emplace_back(row, arena_.copy(metadata));
}

void PendingChanges::erase(std::string_view id) {
  set(id, kNoRow);
}

// One look at the map: it goes in under the caller's memory, and gets its own copy there.
void PendingChanges::set(std::string_view id, Row row) {
  arena_.make_room(id.size());
  const auto [at, is_new] = ids_.try_emplace(id, row);
  if (is_new) {
    const_cast<std::string_view&>(at.key()) = arena_.copy(id);  // an equal key
  } else {
    at.value() = row;
  }
}

void PendingChanges::reserve(std::size_t more_ids) {
  const std::size_t wanted = ids_.size() + more_ids;
  if (wanted > static_cast<std::size_t>(static_cast<float>(ids_.bucket_count()) * kMaxLoad)) {
    ids_.reserve(wanted);
  }
}

std::size_t PendingChanges::memory_bytes() const noexcept {
  constexpr std::size_t kNodeBytes = 40;  // of an unordered_map, about
  return ids_.bucket_count() * sizeof(Map::value_type) * 3 / 2 +
         metadata_.capacity() * sizeof(metadata_[0]) +
         (retired_.capacity() + soft_touched_.capacity()) * sizeof(Row) +
         log_.capacity() * sizeof(log_[0]) + (edits_.size() + expiry_.size()) * kNodeBytes +
         arena_.bytes();
}

LargeVector<std::pair<std::string_view, Row>> PendingChanges::sorted() const {
  return sorted_after({});
}

LargeVector<std::pair<std::string_view, Row>> PendingChanges::sorted_after(
    std::string_view after) const {
  LargeVector<std::string_view> ids;
  LargeVector<Row> rows;
  ids.reserve(ids_.size());
  rows.reserve(ids_.size());
  for (const auto& [id, row] : ids_) {
    if (id <= after) continue;
    ids.push_back(id);
    rows.push_back(row);
  }
  LargeVector<std::pair<std::string_view, Row>> out;
  out.reserve(ids.size());
  for (const std::uint32_t i : sort_ids(ids.size(), ids.data())) {
    out.emplace_back(ids[i], rows[i]);
  }
  return out;
}

std::vector<std::uint32_t> sort_ids(std::size_t count, const std::string_view* ids) {
  std::vector<std::uint32_t> order(count);
  for (std::uint32_t i = 0; i < count; ++i) order[i] = i;
  if (std::is_sorted(ids, ids + count)) return order;
  LargeVector<IdKey> keys(count);
  for (std::uint32_t i = 0; i < count; ++i) keys[i] = {id_prefix(ids[i]), i};
  std::sort(keys.begin(), keys.end(), [ids](const IdKey& a, const IdKey& b) {
    if (a.prefix != b.prefix) return a.prefix < b.prefix;
    const int order_of = ids[a.index].compare(ids[b.index]);
    return order_of != 0 ? order_of < 0 : a.index < b.index;
  });
  for (std::size_t i = 0; i < count; ++i) order[i] = keys[i].index;
  return order;
}

}  // namespace srvdb
