// A row with the score that a user sees, a row with the key of its code, and the order of each.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "srvdb/base/types.h"

namespace srvdb {

struct ScoredRow {
  double score = 0;
  Row row = kNoRow;
  friend bool operator==(const ScoredRow&, const ScoredRow&) = default;
};

// The order of results: better score first, then lower row.
inline bool better(const ScoredRow& a, const ScoredRow& b) noexcept {
  return a.score != b.score ? a.score > b.score : a.row < b.row;
}

// The best k of two lists of different rows, each best first.
inline std::vector<ScoredRow> merge_best(std::vector<ScoredRow> a, std::span<const ScoredRow> b,
                                         std::size_t k) {
  const auto middle = static_cast<std::ptrdiff_t>(a.size());
  a.insert(a.end(), b.begin(), b.end());
  std::inplace_merge(a.begin(), a.begin() + middle, a.end(), better);
  if (a.size() > k) a.resize(k);
  return a;
}

// A candidate: lower key is better; keys are the integers of the code kernels.
struct Neighbor {
  std::int32_t key = 0;
  Row row = kNoRow;
  friend bool operator==(const Neighbor&, const Neighbor&) = default;
};

inline bool nearer(const Neighbor& a, const Neighbor& b) noexcept {
  return a.key != b.key ? a.key < b.key : a.row < b.row;
}

}  // namespace srvdb
