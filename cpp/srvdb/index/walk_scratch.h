// Working memory of a graph walk: the set of rows seen and the pool of candidates. Internal to the
// index layer. One for each thread; reused, so that a walk allocates nothing once it has run.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "srvdb/base/aligned.h"
#include "srvdb/base/types.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/index/row_bitmap.h"
#include "srvdb/index/segment_memory.h"
#include "srvdb/simd/dispatch.h"

namespace srvdb {

// Rows seen so far: a bit for each row, and the list of those that are set, by which the set is
// emptied. So a walk costs what it sees; the memory is a bit a row, of which pages that no walk
// has touched take none.
class VisitedSet {
 public:
  // Empties the set, whose rows will be below `limit`.
  void clear(Row limit) {
    for (std::size_t i = 0; i < count_; ++i) words()[rows_[i] / 64] = 0;
    count_ = 0;
    const std::size_t bytes = (std::size_t{limit} / 64 + 1) * sizeof(std::uint64_t);
    if (bytes > memory_.bytes()) memory_ = SegmentMemory(std::max(bytes + bytes / 8, kLeastBytes));
  }
  // Room for that many more rows, and for 16 rows that are read beyond the last.
  void reserve(std::size_t more) {
    if (count_ + more + 16 > rows_.size()) rows_.resize(2 * (count_ + more) + 1024);
  }
  // Adds those of the ids that are not in the set and below `limit`, for which there is room. All
  // must be below `last`: false when one is not. Without a branch for a row that was seen, because
  // either is as likely.
  template <typename Load>
  bool insert(std::uint32_t n, Row limit, Row last, Load&& id_at) noexcept {
    auto* const words = static_cast<std::uint64_t*>(memory_.data());
    Row* const rows = rows_.data();
    std::size_t count = count_;
    for (std::uint32_t i = 0; i < n; ++i) {
      const Row row = id_at(i);
      if (row >= limit) [[unlikely]] {
        if (row >= last) return false;
        continue;
      }
      const std::uint64_t bit = std::uint64_t{1} << (row % 64);
      const std::uint64_t word = words[row / 64];
      rows[count] = row;
      count += (word & bit) == 0 ? 1u : 0u;
      words[row / 64] = word | bit;
    }
    count_ = count;
    return true;
  }
  // The rows, in the order in which they came.
  const Row* rows() const noexcept { return rows_.data(); }
  std::size_t size() const noexcept { return count_; }

 private:
  static constexpr std::size_t kLeastBytes = 65536;

  std::uint64_t* words() noexcept { return static_cast<std::uint64_t*>(memory_.data()); }

  SegmentMemory memory_;
  std::vector<Row> rows_;
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
  AlignedBuffer<std::uint64_t> pool;
  std::vector<std::uint64_t> fresh;     // candidates that a step has found
  std::vector<std::uint64_t> best;      // of a walk with excluded rows
  std::vector<std::uint64_t> frontier;  // likewise
  std::vector<std::uint64_t> wanted;    // likewise
};

// The ef best candidates of a walk, sorted; the mark says "expanded".
class CandidatePool {
 public:
  static constexpr bool kPatient = true;

  CandidatePool(WalkScratch& scratch, const WalkOptions& options)
      : kernels_(simd::kernels().pool), ef_(options.ef) {
    const std::size_t places = round_up(ef_, 8);
    if (scratch.pool.size() < places) scratch.pool.reset(places);
    entries_ = scratch.pool.data();
    std::memset(entries_, 0xFF, places * sizeof(*entries_));
  }

  // Keys above this cannot enter.
  std::int32_t limit() const noexcept {
    const std::uint64_t last = entries_[ef_ - 1];
    return last == simd::kNoCandidate ? INT32_MAX : pool_entry::key(last) - 1;
  }
  void insert(const std::uint64_t* candidates, std::size_t n) noexcept {
    if (n != 0) open_ = std::min(open_, kernels_.insert(entries_, ef_, candidates, n));
  }
  // Best row not yet expanded, which then counts as expanded; false when there is none.
  bool next(Row& row) noexcept {
    open_ = kernels_.open(entries_, ef_, open_);
    if (open_ >= ef_) return false;
    row = pool_entry::row(entries_[open_]);
    entries_[open_] |= 1;
    return true;
  }
  // The row that next() would give now; false when there is none.
  bool peek(Row& row) noexcept {
    open_ = kernels_.open(entries_, ef_, open_);
    if (open_ >= ef_) return false;
    row = pool_entry::row(entries_[open_]);
    return true;
  }
  // The candidates, best first.
  std::span<const std::uint64_t> finish() const noexcept {
    std::size_t size = ef_;
    while (size > 0 && entries_[size - 1] == simd::kNoCandidate) --size;
    return {entries_, size};
  }

 private:
  const simd::PoolKernels kernels_;
  std::uint64_t* entries_ = nullptr;
  std::size_t open_ = 0;  // no entry before it is unexpanded
  std::size_t ef_;
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
  static constexpr bool kPatient = false;  // it stops at an exact count of rows

  FilteredPool(WalkScratch& scratch, const WalkOptions& options)
      : best_(scratch.best),
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

  std::int32_t limit() const noexcept {
    return threshold_ > INT32_MAX ? INT32_MAX : static_cast<std::int32_t>(threshold_ - 1);
  }
  void insert(const std::uint64_t* candidates, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) insert(candidates[i]);
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
  void insert(std::uint64_t entry) {
    if (pool_entry::key(entry) >= threshold_) return;
    frontier_.push_back(entry);
    std::push_heap(frontier_.begin(), frontier_.end(), std::greater<>());
    if (excluded_->test(pool_entry::row(entry))) return;
    if (push_bounded(best_, entry, ef_)) threshold_ = pool_entry::key(best_.front());
    if (k_ != 0 && push_bounded(wanted_, entry, k_)) last_wanted_ = wanted_.front();
  }
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
