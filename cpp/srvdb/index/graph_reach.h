// Sees to it that a walk can come to every row of a graph. Internal to the index layer.
#pragma once

#include <cstddef>

#include "srvdb/index/graph.h"

namespace srvdb {

inline constexpr std::size_t kMaxEntries = 128;

// A walk over rows [0, limit) starts from the best of `count` = entry_count(limit) rows, evenly
// spaced: those that are far behind the best are left out (WalkPool::entry_limit()), so a wide walk
// comes to more than a narrow one.
std::size_t entry_count(Row limit) noexcept;
inline Row entry_row(Row limit, std::size_t count, std::size_t i) noexcept {
  return static_cast<Row>(std::uint64_t{limit} * i / count);
}

// Gives every linked row that no way from an entry row leads to a link from a row that one does
// lead to: from one that it links to where there is one. Takes the place of a link that no way
// needs, where there is no room. Returns how many rows got one. Deterministic; the graph is owned
// and nobody else uses it. 5 bytes of memory for each row.
std::size_t make_reachable(Graph& graph);

}  // namespace srvdb
