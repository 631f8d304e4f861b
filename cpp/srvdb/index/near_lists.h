// For every row the nearest rows seen so far, at most so many. Internal to the index layer.
//
// What is kept does not depend on the order of offers: the best distinct ones of all. Equally near
// rows are ordered differently for each row (CandidateOrder in prune.h says why). Rows are the
// multiples of a step. offer() and limit() may be called by any number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "srvdb/base/types.h"

namespace srvdb {

// A near row in one word, which orders as CandidateOrder{self} does: the distance, then the row,
// scattered one to one.
namespace near_entry {

inline std::uint64_t pack(std::int32_t key, Row self, Row row) noexcept {
  std::uint32_t x = row ^ (self * 0x9E3779B1u);
  x = (x ^ x >> 16) * 0x85EBCA6Bu;
  x ^= x >> 13;
  return std::uint64_t{static_cast<std::uint32_t>(key) ^ 0x80000000u} << 32 | x;
}
inline std::int32_t key(std::uint64_t entry) noexcept {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(entry >> 32) ^ 0x80000000u);
}
inline Row row(std::uint64_t entry, Row self) noexcept {
  auto x = static_cast<std::uint32_t>(entry);
  x ^= x >> 13 ^ x >> 26;
  x *= 0xA5CB9243u;  // times 0x85EBCA6B it is 1
  x ^= x >> 16;
  return x ^ (self * 0x9E3779B1u);
}

}  // namespace near_entry

class NearLists {
 public:
  static constexpr std::size_t kMaxBound = 128;

  // Lists of at most `bound` <= kMaxBound rows for rows 0, step, 2 step, … below `rows`.
  NearLists(Row rows, Row step, std::size_t bound)
      : step_(step),
        bound_(bound),
        entries_(std::make_unique_for_overwrite<std::uint64_t[]>((std::size_t{rows} + step - 1) /
                                                                 step * bound)),
        counts_((std::size_t{rows} + step - 1) / step),
        locks_(std::make_unique<std::atomic_flag[]>(kLocks)) {}

  Row step() const noexcept { return step_; }

  // Rows farther away than this will not enter the list; it may be late, then it is too large.
  std::int32_t limit(Row row) const noexcept {
    const std::size_t i = row / step_;
    if (std::atomic_ref(const_cast<std::uint8_t&>(counts_[i])).load(std::memory_order_acquire) <
        bound_) {
      return INT32_MAX;
    }
    return near_entry::key(
        std::atomic_ref(entries_[(i + 1) * bound_ - 1]).load(std::memory_order_relaxed));
  }

  // `offered`: ascending, distinct.
  void offer(Row row, std::span<const std::uint64_t> offered) noexcept {
    const std::size_t i = row / step_;
    std::atomic_flag& lock = locks_[i % kLocks];
    while (lock.test_and_set(std::memory_order_acquire)) {
    }
    merge(i, offered);
    lock.clear(std::memory_order_release);
  }

  // Ascending. Nobody may offer meanwhile.
  std::span<const std::uint64_t> list(Row row) const noexcept {
    const std::size_t i = row / step_;
    return {entries_.get() + i * bound_, counts_[i]};
  }

 private:
  static constexpr std::size_t kLocks = 4096;

  void merge(std::size_t i, std::span<const std::uint64_t> offered) noexcept {
    std::uint64_t* const list = entries_.get() + i * bound_;
    const std::size_t n = counts_[i];
    std::uint64_t merged[kMaxBound];
    std::size_t a = 0;
    std::size_t b = 0;
    std::size_t m = 0;
    while (m < bound_ && (a < n || b < offered.size())) {
      if (b == offered.size() || (a < n && list[a] <= offered[b])) {
        if (b < offered.size() && list[a] == offered[b]) ++b;
        merged[m++] = list[a++];
      } else {
        merged[m++] = offered[b++];
      }
    }
    // limit() may look at an entry meanwhile.
    for (std::size_t at = 0; at < m; ++at) {
      std::atomic_ref(list[at]).store(merged[at], std::memory_order_relaxed);
    }
    std::atomic_ref(counts_[i]).store(static_cast<std::uint8_t>(m), std::memory_order_release);
  }

  Row step_;
  std::size_t bound_;
  std::unique_ptr<std::uint64_t[]> entries_;
  std::vector<std::uint8_t> counts_;
  std::unique_ptr<std::atomic_flag[]> locks_;
};

}  // namespace srvdb
