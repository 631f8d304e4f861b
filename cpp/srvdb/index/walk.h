// One walk over a graph, step by step: so several can take turns in one thread, each while what
// another has asked for is on its way from memory. Internal to the index layer (graph_search.h is
// what others use). Borrows everything it is given; one thread at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "srvdb/index/graph_reach.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/index/walk_scratch.h"

namespace srvdb {

inline void prefetch_lines(const void* at, std::size_t bytes) noexcept {
  for (std::size_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(at) + i);
}

// One walk with no row excluded (filtered_walk.h has the other): borrowed inputs and scratch.
class Walk {
 public:
  Walk(const Graph& graph, const CodesView& codes, const CodeDistance& query, Row limit,
       const WalkOptions& options, WalkScratch& scratch)
      : graph_(graph),
        codes_(codes),
        query_(query),
        limit_(limit),
        linked_(graph.mapped() ? graph.linked() : kMaxGraphRows),
        node_bytes_(graph.params().node_bytes()),
        visited_(scratch.visited),
        fresh_(scratch.fresh),
        pool_(scratch, options.ef),
        budget_(options.budget) {
    visited_.clear(limit);
    step_ = std::max<std::size_t>(graph.params().bound(), kMaxEntries + 1);
    if (fresh_.size() < step_ + 16) fresh_.resize(step_ + 16);
    visited_.reserve(step_);
    if (options.barred < limit) {
      visited_.insert(1, limit, limit, [&](std::uint32_t) { return options.barred; });
    }
  }

  // Looks at the entry rows. To be called first, and once.
  void enter() {
    const std::size_t n = entry_count(limit_);
    const std::size_t first = visited_.size();
    visited_.insert(static_cast<std::uint32_t>(n), limit_, limit_,
                    [&](std::uint32_t i) { return entry_row(limit_, n, i); });
    measured_ = visited_.size();
    measure(first, measured_);
    prefetch_next();
  }

  // Expands the best candidate. False when the walk has ended; end() then says how.
  //
  // Beyond the first few, while a row's neighbours are on their way from memory, the row after it
  // is chosen and its neighbours are asked for: so the choice is made without knowing what the row
  // before has found. That costs half a percent more rows (at the beginning, when every row leads
  // to better ones, it would cost more).
  bool step() {
    const std::size_t asked = visited_.size();
    Row row = 0;
    if (pool_.next(row)) {
      if (!gather(row)) return finish(WalkEnd::kDamaged);
      ++expanded_;
    } else if (measured_ == asked) {
      return finish(WalkEnd::kComplete);
    }
    prefetch_next();
    const std::size_t last = expanded_ > kStrict ? asked : visited_.size();
    measure(measured_, last);
    measured_ = last;
    prefetch_next();
    return visited_.size() <= budget_ || finish(WalkEnd::kOverBudget);
  }
  WalkEnd end() const noexcept { return end_; }

  // Appends the rows found, best first.
  void take(std::vector<Neighbor>& out) {
    for (const std::uint64_t entry : pool_.finish()) {
      out.push_back({pool_entry::key(entry), pool_entry::row(entry)});
    }
  }
  WalkCounts counts() const noexcept { return {.seen = visited_.size(), .expanded = expanded_}; }

 private:
  // Rows expanded in strict order.
  static constexpr std::size_t kStrict = 5;

  bool finish(WalkEnd end) noexcept {
    end_ = end;
    return false;
  }

  // Takes note of the neighbours of a row that have not been seen, and asks for their codes. False
  // when the node is damaged.
  bool gather(Row row) {
    const std::uint32_t* const node = graph_.node(row);
    if (!graph_.sound(row, node)) return false;
    const std::uint32_t degree = graph_.degree(node);
    visited_.reserve(step_);
    const std::size_t first = visited_.size();
    if (!visited_.insert(degree, limit_, linked_,
                         [node](std::uint32_t i) { return Graph::load_word(node + 2 + i); })) {
      return false;
    }
    ask(first);
    return true;
  }

  // Asks for the codes of the rows seen as the first-th and later.
  void ask(std::size_t first) const noexcept {
    const std::uint8_t* const base = codes_.base;
    const std::size_t stride = codes_.stride;
    const Row* const rows = visited_.rows();
    const std::size_t last = visited_.size();
    if (stride == 128) {
      for (std::size_t i = first; i < last; ++i) {
        __builtin_prefetch(base + std::size_t{rows[i]} * 128);
        __builtin_prefetch(base + std::size_t{rows[i]} * 128 + 64);
      }
      return;
    }
    const std::size_t ahead = std::min(stride, simd::kNearAsked);
    for (std::size_t i = first; i < last; ++i) {
      prefetch_lines(base + std::size_t{rows[i]} * stride, ahead);
    }
  }

  void prefetch_next() noexcept {
    Row next = 0;
    if (pool_.peek(next)) prefetch_lines(graph_.node(next), node_bytes_);
  }

  // Offers the rows that were seen as the first-th to the last-th to the pool.
  void measure(std::size_t first, std::size_t last) {
    const Row* const ids = visited_.rows() + first;
    const std::size_t n = last - first;
    if (codes_.verifier != nullptr) {
      for (std::size_t i = 0; i < n; ++i) codes_.verify(ids[i]);
    }
    if (n == 0) return;
    pool_.insert(fresh_.data(), query_.near(codes_.base, ids, n, pool_.limit(), fresh_.data()));
  }

  const Graph& graph_;
  const CodesView& codes_;
  const CodeDistance& query_;
  const Row limit_;
  const Row linked_;
  const std::size_t node_bytes_;
  VisitedSet& visited_;
  std::vector<std::uint64_t>& fresh_;
  CandidatePool pool_;
  const std::size_t budget_;
  std::size_t step_ = 0;      // rows that one step sees, at most
  std::size_t measured_ = 0;  // rows seen from here on have been asked for and not measured
  std::size_t expanded_ = 0;
  WalkEnd end_ = WalkEnd::kComplete;
};

}  // namespace srvdb
