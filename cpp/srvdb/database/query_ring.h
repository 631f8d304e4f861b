// The queries that searches have asked lately: what a calibration measures with, so that a promise
// of recall is kept for the questions that are asked and not only for rows like those stored.
//
// In memory only; at most kMaxQueries and about 1 MiB. Every query enters while there is room, then
// one in sixteen takes the oldest one's place; a query that is there already does not enter again.
// Thread-safe; note() never waits.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace srvdb {

class QueryRing {
 public:
  static constexpr std::size_t kMaxQueries = 256;
  static constexpr std::size_t kMaxBytes = std::size_t{1} << 20;
  static constexpr std::size_t kMinQueries = 16;  // that fit, however wide

  // A query of `dim` floats was asked; one of another dimension than the first is passed over.
  void note(const float* query, std::size_t dim) noexcept;

  std::size_t size() const;
  // How many have ever entered.
  std::uint64_t entered() const noexcept { return entered_.load(std::memory_order_relaxed); }
  // All of them, row-major; empty when their dimension is another one.
  std::vector<float> copy(std::size_t dim) const;
  // Bytes held.
  std::size_t bytes() const;

 private:
  std::atomic<std::uint32_t> asked_{0};
  std::atomic<bool> full_{false};
  std::atomic<std::uint64_t> entered_{0};

  mutable std::mutex mutex_;  // guards what follows
  std::size_t dim_ = 0;
  std::size_t next_ = 0;  // place of the next one once full
  std::vector<float> queries_;
  std::vector<std::uint32_t> marks_;  // checksum of each
};

}  // namespace srvdb
