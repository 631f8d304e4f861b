// Working memory of a graph walk: the set of rows seen and the pool of candidates. Internal to the
// index layer. One for each thread; reused, so that a walk allocates nothing once it has run.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

#include "srvdb/base/types.h"
#include "srvdb/index/row_bitmap.h"

namespace srvdb {

// Rows seen so far: open addressing, linear probing, at most half full.
class VisitedSet {
 public:
  // Empties the set; `expected` rows fit without growing.
  void clear(std::size_t expected) {
    const std::size_t slots = std::bit_ceil(std::max<std::size_t>(expected * 2, 1024));
    if (slots_.size() != slots) {
      slots_.assign(slots, kNoRow);
    } else {
      std::memset(slots_.data(), 0xFF, slots * sizeof(Row));
    }
    set_geometry();
    count_ = 0;
  }
  // True when the row was not in the set. Row kNoRow must not be given.
  bool insert(Row row) {
    std::size_t at = (row * kMultiplier) >> shift_;
    while (slots_[at] != kNoRow) {
      if (slots_[at] == row) return false;
      at = (at + 1) & mask_;
    }
    slots_[at] = row;
    if (++count_ * 2 > slots_.size()) [[unlikely]]
      grow();
    return true;
  }
  std::size_t size() const noexcept { return count_; }

 private:
  static constexpr std::uint32_t kMultiplier = 0x9E3779B1u;  // 2^32 / golden ratio (Knuth)

  void set_geometry() noexcept {
    mask_ = slots_.size() - 1;
    shift_ = 32 - static_cast<unsigned>(std::countr_zero(slots_.size()));
  }
  void grow() {
    std::vector<Row> old(slots_.size() * 2, kNoRow);
    old.swap(slots_);
    set_geometry();
    for (const Row row : old) {
      if (row == kNoRow) continue;
      std::size_t at = (row * kMultiplier) >> shift_;
      while (slots_[at] != kNoRow) at = (at + 1) & mask_;
      slots_[at] = row;
    }
  }

  std::vector<Row> slots_;
  std::size_t mask_ = 0;
  unsigned shift_ = 32;
  std::size_t count_ = 0;
};

// The best candidates of a walk, sorted. An entry is one word: key (biased to unsigned) in the
// upper half, row in the next 31 bits, "expanded" in the lowest bit; so entries order by key, then
// row.
//
// Unfiltered, it holds at most ef entries. With excluded rows it holds the best ef eligible rows
// and every excluded row better than the last of them, up to kSlack times ef entries.
template <bool kFiltered>
class CandidatePool {
 public:
  static constexpr std::size_t kSlack = 16;

  CandidatePool(std::vector<std::uint64_t>& memory, std::size_t ef, const RowBitmap* excluded)
      : ef_(ef), capacity_(kFiltered ? ef * kSlack : ef), excluded_(excluded) {
    if (memory.size() < capacity_ + 1) memory.resize(capacity_ + 1);
    entries_ = memory.data();
  }

  // Keys not below this cannot enter.
  std::int64_t threshold() const noexcept { return threshold_; }

  // True when the row is now the first one not yet expanded.
  bool insert(std::int32_t key, Row row) noexcept {
    const std::uint64_t entry = pack(key, row);
    std::uint64_t* const at = std::upper_bound(entries_, entries_ + size_, entry);
    const auto place = static_cast<std::size_t>(at - entries_);
    if (place >= capacity_) return false;
    std::memmove(at + 1, at, (size_ - place) * sizeof(entry));
    *at = entry;
    ++size_;
    const bool first = place <= cursor_;
    if (first) cursor_ = place;
    if constexpr (kFiltered) {
      if (!excluded_->test(row)) ++eligible_;
      trim();
    } else if (size_ > capacity_) {
      size_ = capacity_;
    }
    update_threshold();
    return first;
  }

  // Best row not yet expanded, which then counts as expanded; false when there is none.
  bool next(Row& row) noexcept {
    while (cursor_ < size_ && (entries_[cursor_] & 1) != 0) ++cursor_;
    if (cursor_ == size_) return false;
    row = row_of(entries_[cursor_]);
    entries_[cursor_++] |= 1;
    return true;
  }
  // The row that next() is likely to give; false when there is none in sight.
  bool peek(Row& row) const noexcept {
    if (cursor_ >= size_ || (entries_[cursor_] & 1) != 0) return false;
    row = row_of(entries_[cursor_]);
    return true;
  }

  std::size_t size() const noexcept { return size_; }
  bool truncated() const noexcept { return truncated_; }
  std::int32_t key(std::size_t i) const noexcept {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(entries_[i] >> 32) ^ kBias);
  }
  Row row(std::size_t i) const noexcept { return row_of(entries_[i]); }

 private:
  static constexpr std::uint32_t kBias = 0x80000000u;

  static std::uint64_t pack(std::int32_t key, Row row) noexcept {
    const std::uint32_t biased = static_cast<std::uint32_t>(key) ^ kBias;
    return std::uint64_t{biased} << 32 | std::uint64_t{row} << 1;
  }
  static Row row_of(std::uint64_t entry) noexcept {
    return static_cast<Row>(static_cast<std::uint32_t>(entry) >> 1);
  }
  // Drops what lies behind the ef-th eligible row, and what the slack does not hold.
  void trim() noexcept {
    if (size_ > capacity_) {
      truncated_ = true;
      drop_last();
    }
    if (eligible_ > ef_) drop_last_eligible();
    if (eligible_ == ef_) {
      while (excluded_->test(row_of(entries_[size_ - 1]))) --size_;
    }
  }
  void drop_last() noexcept {
    --size_;
    if (!excluded_->test(row_of(entries_[size_]))) --eligible_;
  }
  void drop_last_eligible() noexcept {
    while (excluded_->test(row_of(entries_[size_ - 1]))) --size_;
    drop_last();
  }
  void update_threshold() noexcept {
    const bool full = kFiltered ? eligible_ == ef_ || size_ == capacity_ : size_ == capacity_;
    if (full) threshold_ = key(size_ - 1);
  }

  std::uint64_t* entries_ = nullptr;
  std::size_t size_ = 0;
  std::size_t cursor_ = 0;  // no entry before it is unexpanded
  std::size_t ef_;
  std::size_t capacity_;
  std::size_t eligible_ = 0;
  std::int64_t threshold_ = INT64_MAX;
  const RowBitmap* excluded_;
  bool truncated_ = false;
};

// What one thread keeps between walks.
struct WalkScratch {
  VisitedSet visited;
  std::vector<std::uint64_t> pool;
  std::vector<Row> ids;
  std::vector<std::int32_t> keys;
};

}  // namespace srvdb
