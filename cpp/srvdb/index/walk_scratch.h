// Working memory of a graph walk: the set of rows seen and the pool of candidates. Internal to the
// index layer. One for each thread; reused, so that a walk allocates nothing once it has run.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "srvdb/base/types.h"
#include "srvdb/index/graph_search.h"
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

// An entry of a pool is one word: key (biased to unsigned) in the upper half, row in the next 31
// bits, a mark in the lowest bit. So entries order by key, then row.
namespace pool_entry {

inline std::uint64_t pack(std::int32_t key, Row row) noexcept {
  const std::uint32_t biased = static_cast<std::uint32_t>(key) ^ 0x80000000u;
  return std::uint64_t{biased} << 32 | std::uint64_t{row} << 1;
}
inline std::int32_t key(std::uint64_t entry) noexcept {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(entry >> 32) ^ 0x80000000u);
}
inline Row row(std::uint64_t entry) noexcept {
  return static_cast<Row>(static_cast<std::uint32_t>(entry) >> 1);
}

}  // namespace pool_entry

// What one thread keeps between walks.
struct WalkScratch {
  VisitedSet visited;
  std::vector<std::uint64_t> pool;      // candidates
  std::vector<std::uint64_t> frontier;  // of a walk with excluded rows
  std::vector<std::uint64_t> wanted;    // likewise
  std::vector<Row> ids;
  std::vector<std::int32_t> keys;
};

// The ef best candidates of a walk, sorted; the mark says "expanded".
class CandidatePool {
 public:
  CandidatePool(WalkScratch& scratch, const WalkOptions& options) : ef_(options.ef) {
    if (scratch.pool.size() < ef_ + 1) scratch.pool.resize(ef_ + 1);
    entries_ = scratch.pool.data();
  }

  // Keys not below this cannot enter.
  std::int64_t threshold() const noexcept { return threshold_; }

  // True when the row is now the first one not yet expanded.
  bool insert(std::int32_t key, Row row) noexcept {
    const std::uint64_t entry = pool_entry::pack(key, row);
    std::uint64_t* const at = std::upper_bound(entries_, entries_ + size_, entry);
    const auto place = static_cast<std::size_t>(at - entries_);
    if (place >= ef_) return false;
    std::memmove(at + 1, at, (size_ - place) * sizeof(entry));
    *at = entry;
    if (++size_ > ef_) size_ = ef_;
    const bool first = place <= cursor_;
    if (first) cursor_ = place;
    if (size_ == ef_) threshold_ = pool_entry::key(entries_[size_ - 1]);
    return first;
  }

  // Best row not yet expanded, which then counts as expanded; false when there is none.
  bool next(Row& row) noexcept {
    while (cursor_ < size_ && (entries_[cursor_] & 1) != 0) ++cursor_;
    if (cursor_ == size_) return false;
    row = pool_entry::row(entries_[cursor_]);
    entries_[cursor_++] |= 1;
    return true;
  }
  // The row that next() is likely to give; false when there is none in sight.
  bool peek(Row& row) const noexcept {
    if (cursor_ >= size_ || (entries_[cursor_] & 1) != 0) return false;
    row = pool_entry::row(entries_[cursor_]);
    return true;
  }
  // The candidates, best first.
  std::span<const std::uint64_t> finish() const noexcept { return {entries_, size_}; }

 private:
  std::uint64_t* entries_ = nullptr;
  std::size_t size_ = 0;
  std::size_t cursor_ = 0;  // no entry before it is unexpanded
  std::size_t ef_;
  std::int64_t threshold_ = INT64_MAX;
};

// The same among excluded rows, which lead on yet are no candidates: the best eligible rows, at
// most ef (a heap, worst first), and every row seen that is better than the last of them and not
// yet expanded (a heap, best first), eligible or not and however many.
//
// It ends when ef eligible rows are better than all that is left, as CandidatePool does; or, with
// `wanted` given, once `spare` rows of any kind have been expanded beyond the last of those. Where
// excluded rows lie between the others, that is much the earlier; where they all lie before the
// others, it comes to the same.
class FilteredPool {
 public:
  FilteredPool(WalkScratch& scratch, const WalkOptions& options)
      : best_(scratch.pool),
        frontier_(scratch.frontier),
        wanted_(scratch.wanted),
        ef_(options.ef),
        k_(options.wanted),
        spare_(k_ == 0 ? SIZE_MAX : options.spare),
        excluded_(options.excluded) {
    best_.clear();
    frontier_.clear();
    wanted_.clear();
  }

  std::int64_t threshold() const noexcept { return threshold_; }
  bool insert(std::int32_t key, Row row) {
    const std::uint64_t entry = pool_entry::pack(key, row);
    frontier_.push_back(entry);
    std::push_heap(frontier_.begin(), frontier_.end(), std::greater<>());
    if (!excluded_->test(row)) {
      if (push_bounded(best_, entry, ef_)) threshold_ = pool_entry::key(best_.front());
      if (k_ != 0 && push_bounded(wanted_, entry, k_)) last_wanted_ = wanted_.front();
    }
    return frontier_.front() == entry;
  }
  bool next(Row& row) noexcept {
    if (frontier_.empty() || pool_entry::key(frontier_.front()) > threshold_) return false;
    if (frontier_.front() > last_wanted_ && spare_-- == 0) return false;
    row = pool_entry::row(frontier_.front());
    std::pop_heap(frontier_.begin(), frontier_.end(), std::greater<>());
    frontier_.pop_back();
    return true;
  }
  bool peek(Row& row) const noexcept {
    if (frontier_.empty()) return false;
    row = pool_entry::row(frontier_.front());
    return true;
  }
  std::span<const std::uint64_t> finish() noexcept {
    std::sort_heap(best_.begin(), best_.end());
    return best_;
  }

 private:
  // True when the heap now holds as many as it may.
  static bool push_bounded(std::vector<std::uint64_t>& heap, std::uint64_t entry,
                           std::size_t bound) {
    if (heap.size() == bound) {
      if (entry > heap.front()) return true;
      std::pop_heap(heap.begin(), heap.end());
      heap.back() = entry;
    } else {
      heap.push_back(entry);
    }
    std::push_heap(heap.begin(), heap.end());
    return heap.size() == bound;
  }

  std::vector<std::uint64_t>& best_;
  std::vector<std::uint64_t>& frontier_;
  std::vector<std::uint64_t>& wanted_;
  std::size_t ef_;
  std::size_t k_;
  std::size_t spare_;  // rows still to be expanded beyond the last wanted one
  std::int64_t threshold_ = INT64_MAX;
  std::uint64_t last_wanted_ = UINT64_MAX;
  const RowBitmap* excluded_;
};

}  // namespace srvdb
