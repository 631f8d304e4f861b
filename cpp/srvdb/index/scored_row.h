// A row with the score that a user sees, a row with the key of its code, and the order of each.
#pragma once

#include <cstdint>

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
