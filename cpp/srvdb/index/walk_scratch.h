// Working memory of a graph walk: the set of rows seen and the pool of candidates. Internal to the
// index layer. One for each thread; reused, so that a walk allocates nothing once it has run.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "srvdb/base/aligned.h"
#include "srvdb/base/large_memory.h"
#include "srvdb/base/types.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/index/row_bitmap.h"
#include "srvdb/index/segment_memory.h"
#include "srvdb/simd/dispatch.h"

namespace srvdb {

// Rows seen so far: a bit for each row, and the list of those that are set, by which the set is
// emptied. So a walk costs what it sees; the memory is a bit a row; where that is much, pages
// that no walk has touched take none.
class VisitedSet {
 public:
  // Empties the set, whose rows will be below `limit`.
  void clear(Row limit) {
    for (std::size_t i = 0; i < count_; ++i) words()[rows_[i] / 64] = 0;
    count_ = 0;
    const std::size_t bytes = (std::size_t{limit} / 64 + 1) * sizeof(std::uint64_t);
    if (bytes > memory_.bytes()) {
      memory_ = SegmentMemory(std::max(bytes + bytes / 8, kLeastBytes));
      prefault(memory_.data(), bytes);
    }
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

// What a walk knows of rows while some are excluded. A bit a row, copied from the bitmap of
// excluded rows for each walk: 12 KB for 100,000 rows.
class RowMarks {
 public:
  // No row below `limit` is taken but the excluded ones. `excluded` is to outlive the walk.
  void begin(const RowBitmap& excluded, Row limit) {
    const std::size_t words = std::size_t{limit} / 64 + 1;
    if (taken_.size() < words) taken_.resize(words);
    if (hopped_.size() < words) hopped_.resize(words);
    excluded.copy_words(0, {taken_.data(), words});
    for (const Row row : hops_) hopped_[row / 64] = 0;
    hops_.clear();
    excluded_.clear();
    for (std::size_t i = 0; i * RowBitmap::kChunkRows <= limit; ++i) {
      const std::uint64_t* const chunk = excluded.chunk_words(i);
      excluded_.push_back(chunk != nullptr ? chunk : kNone.data());
    }
  }
  // The row is taken and not excluded.
  void bar(Row row) noexcept { taken_[row / 64] |= bit(row); }
  // The first row of [first, last) that is not taken, which then is; kNoRow when all are.
  Row next_free(Row first, Row last) noexcept {
    std::uint64_t skipped = bit(first) - 1;
    for (std::size_t word = first / 64; word * 64 < last; ++word) {
      const std::uint64_t free = ~(taken_[word] | skipped);
      skipped = 0;
      if (free == 0) continue;
      const auto row =
          static_cast<Row>(64 * word + static_cast<std::size_t>(std::countr_zero(free)));
      if (row >= last) return kNoRow;
      taken_[word] |= bit(row);
      return row;
    }
    return kNoRow;
  }
  bool excluded(Row row) const noexcept {
    const Row at = row % static_cast<Row>(RowBitmap::kChunkRows);
    return (excluded_[row >> RowBitmap::kChunkBits][at / 64] >> (at % 64) & 1) != 0;
  }
  bool hopped(Row row) const noexcept { return (hopped_[row / 64] >> (row % 64) & 1) != 0; }
  void set_hopped(Row row) {
    hopped_[row / 64] |= bit(row);
    hops_.push_back(row);
  }
  // Bit r % 64 of word r / 64: row r is excluded, barred or seen.
  std::uint64_t* taken() noexcept { return taken_.data(); }

 private:
  static std::uint64_t bit(Row row) noexcept { return std::uint64_t{1} << (row % 64); }

  std::vector<std::uint64_t> taken_;
  std::vector<std::uint64_t> hopped_;
  std::vector<Row> hops_;
  static constexpr std::array<std::uint64_t, RowBitmap::kChunkRows / 64> kNone{};
  std::vector<const std::uint64_t*> excluded_;  // words of each chunk of rows
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
  std::vector<std::uint64_t> fresh;  // candidates that a step has found
  RowMarks marks;                    // of a walk with excluded rows
  std::vector<Row> rows;             // likewise: those seen; else: that passed
  std::vector<Row> waypoints;        // likewise: excluded neighbours of a row
  std::vector<Row> links;            // likewise: of a node
};

// The ef best candidates of a walk, sorted; the mark says "expanded".
class CandidatePool {
 public:
  CandidatePool(WalkScratch& scratch, std::size_t ef) : kernels_(simd::kernels().pool), ef_(ef) {
    const std::size_t places = round_up(ef_, 8);
    if (scratch.pool.size() < places) scratch.pool.reset(places);
    entries_ = scratch.pool.data();
    std::memset(entries_, 0xFF, places * sizeof(*entries_));
  }

  // Keys above this cannot enter.
  std::int32_t limit() const noexcept { return key_below(ef_ - 1); }
  std::size_t places() const noexcept { return ef_; }
  // simd::kNoCandidate where the place is free.
  std::uint64_t at(std::size_t place) const noexcept { return entries_[place]; }
  // The key before that of the candidate there; INT32_MAX where the place is free.
  std::int32_t key_below(std::size_t place) const noexcept {
    const std::uint64_t entry = entries_[place];
    return entry == simd::kNoCandidate ? INT32_MAX : pool_entry::key(entry) - 1;
  }
  // Where the best row not yet expanded is; places() or more: there is none.
  std::size_t open_place() noexcept { return open_ = kernels_.open(entries_, ef_, open_); }
  void insert(const std::uint64_t* candidates, std::size_t n) noexcept {
    if (n == 0) return;
    size_ = std::min(ef_, size_ + n);
    open_ = std::min(open_, kernels_.insert(entries_, size_, candidates, n));
  }
  // Drops candidates whose keys are above `limit`, from the last, as far as `least` are left.
  void drop(std::size_t least, std::int32_t limit) noexcept {
    while (size_ > least && pool_entry::key(entries_[size_ - 1]) > limit) {
      entries_[--size_] = simd::kNoCandidate;
    }
  }
  // The row there then counts as expanded.
  void expand(std::size_t place) noexcept { entries_[place] |= 1; }
  // The candidates, best first.
  std::span<const std::uint64_t> finish() const noexcept { return {entries_, size_}; }

 private:
  const simd::PoolKernels kernels_;
  std::uint64_t* entries_ = nullptr;
  std::size_t open_ = 0;  // no entry before it is unexpanded
  std::size_t size_ = 0;
  std::size_t ef_;
};

}  // namespace srvdb
