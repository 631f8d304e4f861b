// A row with the score that a user sees, and the order of results.
#pragma once

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

}  // namespace srvdb
