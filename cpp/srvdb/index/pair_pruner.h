// Robust pruning as in prune.h, on the distances between all candidates computed at once: several
// times faster for up to some hundred candidates. Internal to the index layer.
//
// Not thread-safe: one a worker. Codes must not be longer than CodePairs::kMaxStride.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "srvdb/index/code_pairs.h"
#include "srvdb/index/rows.h"

namespace srvdb {

class PairPruner {
 public:
  PairPruner(Metric metric, CodePairs& pairs) : relaxed_(metric != Metric::kIp), pairs_(pairs) {}

  // Chooses at most `bound` of the candidates, which are distinct and without the row itself. The
  // choice is left in chosen(), best first; spare places stay empty.
  void prune(const CodesView& codes, Row self, std::span<const Row> candidates, std::size_t bound);
  std::span<const Row> chosen() const noexcept { return chosen_; }

 private:
  // alpha squared, as a fraction
  static constexpr std::int64_t kAlphaNum = 77;
  static constexpr std::int64_t kAlphaDen = 64;

  bool relaxed_;
  CodePairs& pairs_;
  std::vector<Row> ids_;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> order_;  // distance, position
  std::vector<std::uint32_t> open_;   // positions neither chosen nor passed over, in order
  std::vector<std::int32_t> limits_;  // of each position: led to from a chosen one this near
  std::vector<Row> chosen_;
};

}  // namespace srvdb
