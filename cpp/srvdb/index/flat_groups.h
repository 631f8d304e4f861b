// How a batch of queries goes over rows: queries in groups, one a thread, rows in steps that begin
// small and grow, so that thresholds are good before many rows have been seen. Internal to the
// index layer.
//
// A Group has scan(rows), for verified rows in ascending order; settle(), which
// makes the best of what waits; take(q), the answer to its q-th query; kFirstRows of the first step
// and kGrowth from one to the next.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "srvdb/base/scheduler.h"
#include "srvdb/index/flat.h"
#include "srvdb/index/live_rows.h"

namespace srvdb {

inline constexpr std::size_t kMaxRowsAtOnce = 4096;  // between two looks at the interrupt

// make(first, count) makes a group of the queries [first, first + count); `rows` has verify(first,
// last). Searches rows [options.first, end).
template <typename Group, typename Rows, typename Make>
void search_groups(const Rows& rows, std::size_t n, Row end, const FlatOptions& options,
                   std::size_t threads, const Make& make, std::vector<ScoredRow>* out) {
  const std::size_t size = (n + threads - 1) / threads;
  std::vector<Group> groups;
  groups.reserve(threads);
  for (std::size_t q = 0; q < n; q += size) groups.push_back(make(q, std::min(size, n - q)));
  std::vector<Row> live(kMaxRowsAtOnce);
  LiveRows left(options.excluded, options.first, end);
  for (std::size_t step = Group::kFirstRows;;
       step = std::min(step * Group::kGrowth, kMaxRowsAtOnce)) {
    const std::span<const Row> some(live.data(), left.next(std::span(live).first(step)));
    if (some.empty()) break;
    for (std::size_t i = 0; i < some.size();) {
      const std::size_t run = run_end(some, i);
      rows.verify(some[i], some[i] + static_cast<Row>(run - i));
      i = run;
    }
    const bool growing = step < kMaxRowsAtOnce;
    parallel_for(groups.size(), 1, threads, options.interrupt, [&](std::size_t g, std::size_t) {
      groups[g].scan(some);
      if (growing) groups[g].settle();
    });
  }
  for (std::size_t q = 0; q < n; ++q) out[q] = groups[q / size].take(q % size);
}

}  // namespace srvdb
