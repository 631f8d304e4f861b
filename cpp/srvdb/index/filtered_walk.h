// One walk over a graph among the rows that a bitmap leaves over: only those are scored and kept.
// Internal to the index layer (graph_search.h is what others use). Borrows everything it is given;
// one thread at a time.
//
// Links to excluded rows are followed one step further: where a row links to few eligible ones, the
// links of its excluded neighbours, the nearest first, stand in for the links to them, once for
// each excluded row. So the eligible rows hang together about as the whole graph does, and an
// excluded row costs its links and no distance. The walk starts from eligible rows spread over all
// of them. (Patel et al., ACORN, 2024, has the two steps and leaves excluded rows out of the pool;
// what is taken of them, when, and where the walk ends differ.)
//
// Where eligible rows lie far from the query, as when excluded ones surround it, more of them are
// about equally near and the k best are among more: WalkPool then goes on beyond ef. A query in
// the midst of a whole region that is excluded is given up (kOverBudget), for a scan.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "srvdb/index/graph_reach.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/index/walk.h"
#include "srvdb/index/walk_pool.h"
#include "srvdb/index/walk_scratch.h"

namespace srvdb {

class FilteredWalk {
 public:
  FilteredWalk(const Graph& graph, const CodesView& codes, const CodeDistance& query, Row limit,
               const WalkOptions& options, WalkScratch& scratch)
      : graph_(graph),
        codes_(codes),
        query_(query),
        limit_(limit),
        linked_(graph.mapped() ? graph.linked() : kMaxGraphRows),
        enough_(enough_links(graph.params().bound(), options.far)),
        most_waypoints_(std::size_t{kFarHops} * graph.params().bound()),
        far_(options.far),
        marks_(scratch.marks),
        rows_(scratch.rows),
        waypoints_(scratch.waypoints),
        links_(scratch.links),
        fresh_(scratch.fresh),
        pool_(scratch, options, query),
        pick_(simd::kernels().pool),
        share_(options.share),
        sure_(options.sure),
        budget_(options.budget) {
    marks_.begin(*options.excluded, limit);
    if (options.barred < limit) marks_.bar(options.barred);
    const std::size_t bound = graph.params().bound();
    step_ = std::max<std::size_t>(2 * bound + enough_, kEntries);
    if (fresh_.size() < step_ + 16) fresh_.resize(step_ + 16);
    const std::size_t waypoints = std::max(most_waypoints_ + bound, kSample) + 16;
    if (waypoints_.size() < waypoints) waypoints_.resize(waypoints);
    if (links_.size() < bound) links_.resize(bound);
    reserve();
  }

  // Looks at the entry rows. To be called first, and once.
  void enter() {
    add_entries(kEntries);
    if (count_ < kFewEntries) add_entries(kManyPlaces);  // they lie close together
    ask(0, std::min(kEntriesAhead, count_));
    while (measured_ < count_) measure_next(std::min(kEntriesAhead, count_ - measured_));
    prefetch_next();
  }

  // Expands the best candidate. False when the walk has ended; end() then says how. As in Walk, the
  // row is chosen without knowing what the row before has found, beyond the first few.
  bool step() {
    const std::size_t asked = count_;
    Row row = 0;
    const bool more = pool_.next(row);
    if (!more && measured_ == asked) {
      const bool doubted = apart_ >= 1 && (sure_ || is_in_hole());
      return finish(doubted ? WalkEnd::kOverBudget : WalkEnd::kComplete);
    }
    if (more && !gather(row)) return finish(WalkEnd::kDamaged);
    if (more) ++expanded_;
    if (expanded_ <= kStrict) {
      if (more && !hop()) return finish(WalkEnd::kDamaged);
      ask(measured_, count_);
      measure_next(count_ - measured_);
    } else {
      // What the row links to is asked for meanwhile, and its waypoints' nodes come.
      const std::size_t gathered = measured_ != asked ? count_ : asked;
      measure_next(asked - measured_);
      prefetch_next();
      if (more && !hop()) return finish(WalkEnd::kDamaged);
      ask(gathered, count_);
    }
    prefetch_next();
    return count_ + hopped_ <= budget_ || finish(WalkEnd::kOverBudget);
  }
  WalkEnd end() const noexcept { return end_; }

  // Appends the rows found, best first.
  void take(std::vector<Neighbor>& out) {
    for (const std::uint64_t entry : pool_.finish()) {
      out.push_back({pool_entry::key(entry), pool_entry::row(entry)});
    }
  }
  WalkCounts counts() const noexcept {
    return {.seen = count_, .expanded = expanded_, .hopped = hopped_};
  }

 private:
  static constexpr std::size_t kStrict = 5;         // rows expanded in strict order
  static constexpr std::size_t kEntries = 64;       // at most
  static constexpr std::size_t kEntriesAhead = 16;  // on their way from memory
  static constexpr std::size_t kFewEntries = 16;
  static constexpr std::size_t kManyPlaces = 1024;
  static constexpr std::size_t kFarHops = 3;  // waypoints for each of a row's links, at most
  static constexpr std::size_t kSample = 64;  // rows that tell of a hole,
  static constexpr double kHoleShare = 0.2;
  static constexpr std::size_t kManyNearer = 3;  // of them excluded ones near the query, at least
  static constexpr double kApart = 0.15;
  static constexpr double kThin = 2.5;
  static constexpr std::size_t kAhead = 12;  // nodes on their way from memory

  // Eligible links that a row should have: with fewer, excluded neighbours' links are looked at.
  // Where that costs much, fewer have to do.
  static constexpr std::size_t enough_links(std::size_t bound, bool far) noexcept {
    return far ? bound / 2 : bound * 7 / 8;
  }

  // Tells the pool whether the eligible rows may lie apart from where the query is: they do when
  // their share among links is another than among all rows. Also where many rows are excluded:
  // what is left of the graph then leads less straight to the nearest.
  void set_doubt() noexcept {
    if (share_ == 0 || eligible_seen_ == 0) return;
    const double here = static_cast<double>(eligible_seen_) / static_cast<double>(links_seen_);
    apart_ = std::min(1.0, std::abs(std::log(here / share_)) / kApart);
    const double gone = 1 - share_;
    pool_.set_doubt(std::min(1.0, apart_ + gone * kThin), std::min(1.0, apart_ + gone / 7));
  }

  // That the query lies in the midst of excluded rows: of a sample of these, many are nearer than
  // what was found. The eligible rows nearest to it are then linked to by excluded ones, of which
  // the walk has seen few. (Where few rows are eligible, it looks at excluded ones' links anyway.)
  bool is_in_hole() {
    if (share_ < kHoleShare) return false;
    std::size_t n = 0;
    for (std::size_t i = 0; i < std::min<std::size_t>(kSample, limit_); ++i) {
      const Row row = entry_row(limit_, std::min<std::size_t>(kSample, limit_), i);
      if (marks_.excluded(row)) waypoints_[n++] = row;
    }
    if (n == 0) return false;
    for (std::size_t i = 0; i < n; ++i) {
      prefetch_lines(codes_.base + std::size_t{waypoints_[i]} * codes_.stride, codes_.stride);
    }
    for (std::size_t i = 0; codes_.verifier != nullptr && i < n; ++i) codes_.verify(waypoints_[i]);
    const std::size_t nearer =
        query_.near(codes_.base, waypoints_.data(), n, n, n, pool_.wanted_key(), fresh_.data());
    return nearer >= kManyNearer && 3 * nearer >= n;
  }

  bool finish(WalkEnd end) noexcept {
    end_ = end;
    return false;
  }
  void reserve() {
    if (count_ + step_ + 16 > rows_.size()) rows_.resize(2 * (count_ + step_) + 1024);
  }

  // The first eligible row at or behind each of `places` rows, evenly spaced, until there are
  // kEntries of them.
  void add_entries(std::size_t places) noexcept {
    places = std::min<std::size_t>(places, limit_);
    for (std::size_t i = 0; i < places && count_ < kEntries; ++i) {
      const Row row =
          marks_.next_free(entry_row(limit_, places, i), entry_row(limit_, places, i + 1));
      if (row != kNoRow) rows_[count_++] = row;
    }
  }

  // Takes note of the eligible neighbours of a row that have not been seen, and of the excluded
  // ones that stand in for missing ones. False when the node is damaged.
  bool gather(Row row) {
    const std::uint32_t* const node = graph_.node(row);
    if (!graph_.sound(row, node)) return false;
    reserve();
    const std::size_t first = count_;
    n_waypoints_ = 0;
    if (!take_all(node)) return false;
    eligible_ = count_ - first;
    eligible_ += keep_waypoints(0);
    links_seen_ += graph_.degree(node);
    eligible_seen_ += eligible_;
    set_doubt();
    if (eligible_ >= enough_) n_waypoints_ = 0;
    for (std::size_t i = 0; i < std::min(n_waypoints_, kAhead); ++i) graph_.prefetch(waypoints_[i]);
    return true;
  }

  // Looks at the links of waypoints until there are enough eligible ones. Where few rows are
  // eligible, excluded neighbours of waypoints become waypoints as well. False when a node is
  // damaged.
  bool hop() {
    const std::size_t enough = count_ + enough_ - std::min(eligible_, enough_);
    for (std::size_t i = 0; i < n_waypoints_ && count_ < enough; ++i) {
      if (i + kAhead < n_waypoints_) graph_.prefetch(waypoints_[i + kAhead]);
      const Row row = waypoints_[i];
      if (far_ && marks_.hopped(row)) continue;  // it was a waypoint twice
      const std::uint32_t* const node = graph_.node(row);
      if (!graph_.sound(row, node)) return false;
      marks_.set_hopped(row);
      ++hopped_;
      const std::size_t before = n_waypoints_;
      if (far_ && before < most_waypoints_) {
        if (!take_all(node)) return false;
        keep_waypoints(before);
      } else if (!take_free(node)) {
        return false;
      }
    }
    n_waypoints_ = 0;
    return true;
  }

  // Of waypoints_ from the first-th on, keeps those that can be waypoints. Returns how many are
  // eligible.
  std::size_t keep_waypoints(std::size_t first) noexcept {
    Row* const rows = waypoints_.data();
    std::size_t kept = first;
    std::size_t eligible = 0;
    for (std::size_t i = first; i < n_waypoints_; ++i) {
      const Row id = rows[i];
      const auto excluded = static_cast<std::size_t>(marks_.excluded(id));
      const auto hopped = static_cast<std::size_t>(marks_.hopped(id));
      rows[kept] = id;  // without a branch, because all are as likely
      kept += excluded & ~hopped;
      eligible += 1 - excluded;
    }
    n_waypoints_ = kept;
    return eligible;
  }

  // A node's links: copied where they may be changing.
  const std::uint32_t* links_of(const std::uint32_t* node, std::uint32_t degree) noexcept {
    if (graph_.mapped()) return node + 2;
    for (std::uint32_t i = 0; i < degree; ++i) links_[i] = Graph::load_word(node + 2 + i);
    return links_.data();
  }

  // Appends the rows that a node links to and that are free to rows_, and marks them; the rest goes
  // to waypoints_. False when a link leads beyond all rows.
  bool take_all(const std::uint32_t* node) {
    const std::uint32_t degree = graph_.degree(node);
    Row largest = 0;
    count_ +=
        pick_.part(marks_.taken(), links_of(node, degree), degree, limit_, rows_.data() + count_,
                   waypoints_.data() + n_waypoints_, &n_waypoints_, &largest);
    return largest < linked_;
  }

  // The same without the rest.
  bool take_free(const std::uint32_t* node) {
    const std::uint32_t degree = graph_.degree(node);
    Row largest = 0;
    count_ += pick_.take(marks_.taken(), links_of(node, degree), degree, limit_,
                         rows_.data() + count_, &largest);
    return largest < linked_;
  }

  void prefetch_next() noexcept {
    Row next = 0;
    if (pool_.peek(next)) graph_.prefetch(next);
  }
  // Asks for the codes of the rows seen as the first-th to the last-th.
  void ask(std::size_t first, std::size_t last) const noexcept {
    for (std::size_t i = first; i < last; ++i) {
      prefetch_lines(codes_.base + std::size_t{rows_[i]} * codes_.stride, codes_.stride);
    }
  }
  // Offers the next n rows seen to the pool; asks for the codes of those after them.
  void measure_next(std::size_t n) {
    const Row* const ids = rows_.data() + measured_;
    measured_ += n;
    if (codes_.verifier != nullptr) {
      for (std::size_t i = 0; i < n; ++i) codes_.verify(ids[i]);
    }
    if (n == 0) return;
    const std::size_t ahead = count_ - measured_;
    pool_.insert(fresh_.data(),
                 query_.near(codes_.base, ids, n, n, n + ahead, pool_.limit(), fresh_.data()));
  }

  const Graph& graph_;
  const CodesView& codes_;
  const CodeDistance& query_;
  const Row limit_;
  const Row linked_;
  const std::size_t enough_;
  const std::size_t most_waypoints_;
  const bool far_;
  RowMarks& marks_;
  std::vector<Row>& rows_;  // eligible ones seen, in the order in which they came: count_
  std::vector<Row>& waypoints_;
  std::vector<Row>& links_;  // of a node, copied
  std::vector<std::uint64_t>& fresh_;
  WalkPool pool_;
  const simd::PoolKernels pick_;
  const double share_;
  const bool sure_;
  const std::size_t budget_;
  std::size_t step_ = 0;         // rows that one step sees, at most
  std::size_t eligible_ = 0;     // neighbours of the row being expanded
  std::size_t n_waypoints_ = 0;  // likewise
  std::size_t count_ = 0;
  std::size_t links_seen_ = 0;     // of expanded rows
  std::size_t eligible_seen_ = 0;  // likewise
  double apart_ = 0;               // 1: the eligible rows lie apart from the query
  std::size_t measured_ = 0;       // rows seen from here on have been asked for and not measured
  std::size_t expanded_ = 0;
  std::size_t hopped_ = 0;
  WalkEnd end_ = WalkEnd::kComplete;
};

}  // namespace srvdb
