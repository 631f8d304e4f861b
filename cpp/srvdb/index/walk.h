// One walk over a graph, step by step: so several can take turns in one thread, each while what
// another has asked for is on its way from memory. Internal to the index layer (graph_search.h is
// what others use). Borrows everything it is given; one thread at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "srvdb/base/prefetch.h"
#include "srvdb/index/graph_reach.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/index/search_plan.h"
#include "srvdb/index/walk_pool.h"
#include "srvdb/index/walk_scratch.h"

namespace srvdb {

// One walk that goes through all rows (filtered_walk.h has the one around excluded ones): borrowed
// inputs and scratch.
class Walk {
 public:
  Walk(const Graph& graph, const CodesView& codes, const CodeDistance& query, Row limit,
       const WalkOptions& options, WalkScratch& scratch)
      : graph_(graph),
        codes_(codes),
        query_(query),
        limit_(limit),
        linked_(graph.mapped() ? graph.linked() : kMaxGraphRows),
        visited_(scratch.visited),
        fresh_(scratch.fresh),
        pool_(scratch, options, query),
        entries_kept_(std::max(kEntriesKept, options.ef / 2)),
        budget_(options.budget),
        through_(options.through),
        most_left_out_(most_left_out(options.ef, options.wanted)),
        signs_(options.signs),
        passed_(scratch.rows) {
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
    const std::size_t last = visited_.size();
    asked_ = first;
    for (measured_ = first; measured_ < last;) {
      const std::size_t end = std::min(measured_ + kEntriesAhead, last);
      measure(end, std::min(end + kEntriesAhead, last), pool_.entry_limit(entries_kept_));
    }
    prefetch_next();
  }

  // Expands the best candidate. False when the walk has ended; end() then says how.
  //
  // Beyond the first few, while a row's neighbours are on their way from memory, the row after it
  // is chosen and its neighbours are asked for: so the choice is made without knowing what the row
  // before has found. That costs half a percent more rows (at the beginning, when every row leads
  // to better ones, it would cost more).
  bool step() {
    if (filtering_) return filtered_step();
    const std::size_t asked = visited_.size();
    Row row = 0;
    if (pool_.next(row)) {
      if (!gather(row)) return finish(WalkEnd::kDamaged);
      if (++expanded_ == kLooked && is_in_vain()) return finish(WalkEnd::kInVain);
    } else if (measured_ == asked) {
      return finish(WalkEnd::kComplete);
    }
    prefetch_next();
    const std::size_t last = expanded_ > kStrict ? asked : visited_.size();
    measure(last, visited_.size(), pool_.limit());
    prefetch_next();
    if (signs_.quantizer != nullptr) consider_filtering();
    return visited_.size() <= budget_ || finish(WalkEnd::kOverBudget);
  }
  WalkEnd end() const noexcept { return end_; }

  // Appends the rows found, best first.
  void take(std::vector<Neighbor>& out) {
    for (const std::uint64_t entry : pool_.finish()) {
      out.push_back({pool_entry::key(entry), pool_entry::row(entry)});
    }
  }
  WalkCounts counts() const noexcept {
    return {.seen = visited_.size(), .expanded = expanded_, .left_out = left_out_};
  }

 private:
  // Rows expanded in strict order.
  static constexpr std::size_t kStrict = 5;
  // Likewise before signs are asked: at the beginning nearly all rows would pass. They are not
  // asked about fewer than kFew rows of a step.
  static constexpr std::size_t kUnfiltered = 8;
  static constexpr std::size_t kFew = 7;
  // After so many it is clear whether too many rows will have to be left out: sooner than at the
  // end, when looking for others would cost as much again.
  static constexpr std::size_t kLooked = 10;
  static constexpr std::size_t kEntriesAhead = 16;  // entry rows on their way from memory
  static constexpr std::size_t kEntriesKept = 16;   // of them, at least: all but few are far away
  static constexpr std::size_t kAtFirst = 8;        // rows asked for before any is measured

  bool finish(WalkEnd end) noexcept {
    end_ = end;
    return false;
  }

  bool is_in_vain() const noexcept {
    return through_ != nullptr && pool_.count_wanted(*through_) > most_left_out_;
  }

  // Takes note of the neighbours of a row that have not been seen. False when the node is damaged.
  bool gather(Row row) {
    const std::uint32_t* const node = graph_.node(row);
    if (!graph_.sound(row, node)) return false;
    const std::uint32_t degree = graph_.degree(node);
    visited_.reserve(step_);
    return visited_.insert(degree, limit_, linked_,
                           [node](std::uint32_t i) { return Graph::load_word(node + 2 + i); });
  }

  // ---- with signs

  // Begins it once there is a limit to compare with, where steps find many rows: in a cluster they
  // soon find few, and signs would cost more than they save.
  void consider_filtering() {
    if (expanded_ == kUnfiltered / 2) seen_before_ = visited_.size();
    if (expanded_ < kUnfiltered || pool_.limit() == INT32_MAX ||
        visited_.size() - seen_before_ < (expanded_ - kUnfiltered / 2) * kFew) {
      return;
    }
    measure(asked_, asked_, pool_.limit());
    const std::size_t most = step_ + kFew;  // rows that pass before they are measured
    if (passed_.size() < most) passed_.resize(most);
    if (fresh_.size() < most + 16) fresh_.resize(most + 16);
    signs_.quantizer->prepare(signs_.vector, *signs_.scratch, *signs_.query);
    compared_ = visited_.size();
    n_passed_ = 0;
    filtering_ = true;
  }

  // As step(); a row's neighbours take three steps. In that of the row their signs are asked for
  // from memory; in the next they are compared, and the codes of those that pass are asked for;
  // then these are measured. To choose without knowing what the two rows before have found costs
  // less than a percent more rows.
  bool filtered_step() {
    const std::size_t first = visited_.size();
    Row row = 0;
    if (pool_.next(row)) {
      if (!gather(row)) return finish(WalkEnd::kDamaged);
      if (++expanded_ == kLooked && is_in_vain()) return finish(WalkEnd::kInVain);
    } else if (n_passed_ == 0 && compared_ == first) {
      return finish(WalkEnd::kComplete);
    }
    prefetch_next();
    const Row* const rows = visited_.rows();
    const bool few = visited_.size() < first + kFew;
    const CodesView& asked = few ? codes_ : signs_.codes;
    for (std::size_t i = first; i < visited_.size(); ++i) prefetch_code(asked, rows[i]);
    if (n_passed_ != 0) {
      codes_.verify(passed_.data(), n_passed_);
      pool_.insert(fresh_.data(), query_.near(codes_.base, passed_.data(), n_passed_, n_passed_,
                                              n_passed_, pool_.limit(), fresh_.data()));
      n_passed_ = 0;
    }
    if (compared_ != first) compare(rows + compared_, first - compared_);
    compared_ = first;
    if (few) {
      std::copy(rows + first, rows + visited_.size(), passed_.data() + n_passed_);
      n_passed_ += visited_.size() - first;
      compared_ = visited_.size();
    }
    prefetch_next();
    return visited_.size() <= budget_ || finish(WalkEnd::kOverBudget);
  }

  // Takes note of those of the rows that their signs let pass, and asks for their codes.
  void compare(const Row* rows, std::size_t n) {
    const CodesView& codes = signs_.codes;
    codes.verify(rows, n);
    const double score = query_.approx_score(pool_.limit());
    n_passed_ = signs_.query->select(score, codes.base, codes.stride, rows, n, passed_.data());
    for (std::size_t i = 0; i < n_passed_; ++i) prefetch_code(codes_, passed_[i]);
    left_out_ += n - n_passed_;
  }

  static void prefetch_code(const CodesView& codes, Row row) noexcept {
    prefetch_lines(codes.base + std::size_t{row} * codes.stride, codes.stride);
  }

  // ----

  void prefetch_next() noexcept {
    Row next = 0;
    if (pool_.peek(next)) graph_.prefetch(next);
  }

  // Offers the rows up to the last-th that was seen with keys of at most `limit` to the pool, and
  // asks for the codes of those up to the end-th on the way.
  void measure(std::size_t last, std::size_t end, std::int32_t limit) {
    const Row* const ids = visited_.rows() + measured_;
    const std::size_t n = last - measured_;
    const std::size_t first = n != 0 ? std::min(last, measured_ + kAtFirst) : end;
    for (; asked_ < first; ++asked_) prefetch_code(codes_, visited_.rows()[asked_]);
    codes_.verify(ids, n);
    if (n != 0) {
      pool_.insert(fresh_.data(), query_.near(codes_.base, ids, n, asked_ - measured_,
                                              end - measured_, limit, fresh_.data()));
    }
    measured_ = last;
    asked_ = end;
  }

  const Graph& graph_;
  const CodesView& codes_;
  const CodeDistance& query_;
  const Row limit_;
  const Row linked_;
  VisitedSet& visited_;
  std::vector<std::uint64_t>& fresh_;
  WalkPool pool_;
  const std::size_t entries_kept_;
  const std::size_t budget_;
  const RowBitmap* const through_;
  const std::size_t most_left_out_;
  std::size_t step_ = 0;      // rows that one step sees, at most
  std::size_t measured_ = 0;  // rows seen from here on have not been measured
  std::size_t asked_ = 0;     // nor asked for from here on
  std::size_t expanded_ = 0;
  WalkEnd end_ = WalkEnd::kComplete;
  const SignFilter signs_;
  std::vector<Row>& passed_;  // rows that passed and have not been measured, the first
  std::size_t n_passed_ = 0;  //   so many
  std::size_t compared_ = 0;  // rows seen from here on have not been compared
  std::size_t left_out_ = 0;
  std::size_t seen_before_ = 0;  // in the first steps
  bool filtering_ = false;
};

}  // namespace srvdb
