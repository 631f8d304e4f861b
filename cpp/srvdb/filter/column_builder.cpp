#include <algorithm>
#include <bit>
#include <cassert>
#include <compare>
#include <numeric>

#include "srvdb/filter/column.h"

namespace srvdb::filter {
namespace {

constexpr std::uint64_t kMix = 0x9E3779B97F4A7C15U;
constexpr std::size_t kFirstSlots = 16;

std::size_t mix(std::uint64_t a, std::uint64_t b) noexcept {
  const std::uint64_t x = (a ^ std::rotl(b, 32)) * kMix;
  return static_cast<std::size_t>(x ^ x >> 32);
}

std::size_t hash_of(const Value& value) noexcept {
  const auto kind = static_cast<std::uint64_t>(value.kind()) * 2 + (value.element() ? 1 : 0);
  if (!value.is_string()) return mix(value.as_uint() * kMix, kind);
  const std::uint64_t text =
      value.cut() ? value.hash()[0] : std::hash<std::string_view>{}(value.text());
  return mix(text, kind);
}

std::size_t hash_of(std::span<const std::uint32_t> members) noexcept {
  std::uint64_t hash = members.size();
  for (const std::uint32_t member : members) hash = mix(hash, member * kMix);
  return static_cast<std::size_t>(hash);
}

bool same(const Value& a, const Value& b) noexcept {
  return a.kind() == b.kind() && std::is_eq(dictionary_order(a, b));
}

}  // namespace

// Keeps at most half of the slots used.
template <typename Hash>
void ColumnBuilder::Slots::grow(Hash&& hash_at) {
  if ((used + 1) * 2 <= at.size()) return;
  const std::vector<std::uint32_t> old = std::move(at);
  at.assign(std::max(kFirstSlots, 2 * old.size()), 0);
  for (const std::uint32_t slot : old) {
    if (slot == 0) continue;
    std::size_t i = hash_at(slot - 1) & (at.size() - 1);
    while (at[i] != 0) i = (i + 1) & (at.size() - 1);
    at[i] = slot;
  }
}

std::uint32_t ColumnBuilder::find_value(const Value& full) {
  const Value value = full.shortened();
  value_slots_.grow([&](std::uint32_t index) { return hash_of(values_[index]); });
  const std::size_t mask = value_slots_.at.size() - 1;
  std::size_t i = hash_of(value) & mask;
  for (; value_slots_.at[i] != 0; i = (i + 1) & mask) {
    if (same(values_[value_slots_.at[i] - 1], value)) return value_slots_.at[i] - 1;
  }
  Value kept = value;
  if (value.is_string()) {
    const std::string_view text = text_.copy(value.text());
    kept = value.cut() ? Value::cut_string(text, value.hash()) : Value::string(text);
    kept = kept.with_element(value.element());
    text_bytes_ += text.size();
  }
  values_.push_back(kept);
  value_slots_.at[i] = static_cast<std::uint32_t>(values_.size());
  ++value_slots_.used;
  return value_slots_.at[i] - 1;
}

// `members` ascends.
std::uint32_t ColumnBuilder::find_set(std::span<const std::uint32_t> members) {
  const auto members_of = [&](std::uint32_t set) {
    return std::span(members_).subspan(sets_[set].first, sets_[set].count);
  };
  set_slots_.grow([&](std::uint32_t set) { return hash_of(members_of(set)); });
  const std::size_t mask = set_slots_.at.size() - 1;
  std::size_t i = hash_of(members) & mask;
  for (; set_slots_.at[i] != 0; i = (i + 1) & mask) {
    const auto found = members_of(set_slots_.at[i] - 1);
    if (std::equal(found.begin(), found.end(), members.begin(), members.end())) {
      return set_slots_.at[i] - 1;
    }
  }
  sets_.push_back(
      {static_cast<std::uint32_t>(members_.size()), static_cast<std::uint32_t>(members.size())});
  members_.insert(members_.end(), members.begin(), members.end());
  set_slots_.at[i] = static_cast<std::uint32_t>(sets_.size());
  ++set_slots_.used;
  return set_slots_.at[i] - 1;
}

void ColumnBuilder::add(const Value& value) {
  // A row of very many values is opaque, whichever of them are the same.
  if (next_.size() >= 4 * kMaxValuesOfRow || is_full()) next_is_opaque_ = true;
  if (!next_is_opaque_) next_.push_back(find_value(value));
}

// What the row holds: an index of values_, or kSet and one of sets_.
std::uint32_t ColumnBuilder::end_row() {
  if (next_.size() > 1) {
    std::sort(next_.begin(), next_.end());
    next_.erase(std::unique(next_.begin(), next_.end()), next_.end());
  }
  if (next_is_opaque_ || next_.size() > kMaxValuesOfRow) return kSet | find_set({});
  if (next_.empty()) return kNothing;
  return next_.size() == 1 ? next_[0] : kSet | find_set(next_);
}

void ColumnBuilder::finish(std::uint32_t row) {
  assert(row < kColumnRows);
  rows_.emplace_back(static_cast<std::uint16_t>(row), end_row());
  next_.clear();
  next_is_opaque_ = false;
}

void ColumnBuilder::set(std::uint32_t row, std::span<const Value> values) {
  for (const Value& value : values) add(value);
  finish(row);
}

bool ColumnBuilder::is_said_by(const ColumnView& block, std::uint32_t row,
                               std::uint32_t code) const {
  const std::uint32_t said = block.code_of_row(row);
  if (said == 0 || code == kNothing) return said == 0 && code == kNothing;
  std::span<const std::uint32_t> members(&code, 1);
  if ((code & kSet) != 0) {
    const Set& set = sets_[code & ~kSet];
    members = std::span(members_).subspan(set.first, set.count);
  }
  std::size_t found = 0;
  bool all = true;
  block.for_each_member(said, [&](std::uint32_t index) {
    ++found;
    const Value value = block.value(index);
    all = all && std::any_of(members.begin(), members.end(),
                             [&](std::uint32_t member) { return same(values_[member], value); });
  });
  return all && found == members.size();
}

bool ColumnBuilder::is_said_by(const ColumnView& block) const {
  std::vector<bool> seen(kColumnRows);
  for (auto entry = rows_.rbegin(); entry != rows_.rend(); ++entry) {
    if (!seen[entry->first] && !is_said_by(block, entry->first, entry->second)) return false;
    seen[entry->first] = true;
  }
  return true;
}

std::size_t ColumnBuilder::memory_bytes() const noexcept {
  return text_.bytes() + values_.capacity() * sizeof(Value) +
         (value_slots_.at.capacity() + set_slots_.at.capacity() + members_.capacity()) * 4 +
         sets_.capacity() * sizeof(Set) + rows_.capacity() * sizeof(rows_[0]);
}

}  // namespace srvdb::filter
