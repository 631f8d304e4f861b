#include "srvdb/index/graph_search.h"

#include <algorithm>

#include "srvdb/index/flat.h"
#include "srvdb/index/graph_reach.h"
#include "srvdb/index/search_plan.h"
#include "srvdb/index/walk_scratch.h"

namespace srvdb {
namespace {

void prefetch_lines(const void* at, std::size_t bytes) noexcept {
  for (std::size_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(at) + i);
}

// One walk: borrowed inputs and scratch.
template <typename Pool>
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
        pool_(scratch, options),
        budget_(options.budget),
        counts_(options.counts) {
    visited_.clear(limit);
    step_ = std::max<std::size_t>(graph.params().bound(), kMaxEntries + 1);
    if (fresh_.size() < step_ + 16) fresh_.resize(step_ + 16);
    visited_.reserve(step_);
    if (options.barred < limit) visited_.insert(options.barred);
  }

  // Expands the best candidate until there is none. Beyond the first few, while a row's neighbours
  // are on their way from memory, the row after it is chosen and its neighbours are asked for: so
  // the choice is made without knowing what the row before has found. That costs half a percent
  // more rows (at the beginning, when every row leads to better ones, it would cost more).
  WalkEnd run(std::vector<Neighbor>& out) {
    enter();
    Row row = 0;
    std::size_t expanded = 0;
    std::size_t first = visited_.size();  // rows from here on are still to be measured
    for (;;) {
      const std::size_t asked = visited_.size();
      if (pool_.next(row)) {
        if (!gather(row)) return WalkEnd::kDamaged;
        ++expanded;
      } else if (first == asked) {
        break;
      }
      prefetch_next();
      const std::size_t last = Pool::kPatient && expanded > kStrict ? asked : visited_.size();
      measure(first, last);
      first = last;
      prefetch_next();
      if (visited_.size() > budget_) return WalkEnd::kOverBudget;
    }
    if (counts_ != nullptr) {
      counts_->seen += visited_.size();
      counts_->expanded += expanded;
    }
    for (const std::uint64_t entry : pool_.finish()) {
      out.push_back({pool_entry::key(entry), pool_entry::row(entry)});
    }
    return WalkEnd::kComplete;
  }

 private:
  // Rows expanded in strict order; see run().
  static constexpr std::size_t kStrict = 5;

  // Starts from the best of the entry table: rows evenly spaced over [0, limit).
  void enter() {
    const std::size_t n = entry_count(limit_);
    const std::size_t first = visited_.size();
    for (std::size_t i = 0; i < n; ++i) visited_.insert(entry_row(limit_, n, i));
    measure(first, visited_.size());
  }

  // Takes note of the neighbours of a row that have not been seen, and asks for their codes. False
  // when the node is damaged.
  bool gather(Row row) {
    const std::uint32_t* const node = graph_.node(row);
    if (!graph_.sound(row, node)) return false;
    const std::uint32_t degree = graph_.degree(node);
    visited_.reserve(step_);
    VisitedSet& visited = visited_;
    const Row limit = limit_;
    const std::size_t first = visited.size();
    for (std::uint32_t i = 0; i < degree; ++i) {
      const Row id = Graph::load_word(node + 2 + i);
      if (id >= limit) [[unlikely]] {
        if (id >= linked_) return false;
        continue;
      }
      visited.insert(id);
    }
    const std::uint8_t* const base = codes_.base;
    const std::size_t stride = codes_.stride;
    const std::size_t ahead = std::min(stride, simd::kNearAsked);
    const Row* const rows = visited.rows();
    const std::size_t last = visited.size();
    for (std::size_t i = first; i < last; ++i) {
      prefetch_lines(base + std::size_t{rows[i]} * stride, ahead);
    }
    return true;
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
  Pool pool_;
  const std::size_t budget_;
  WalkCounts* const counts_;
  std::size_t step_ = 0;  // rows that one step sees, at most
};

// Exact scores of the walk's candidates, best by code first, as many as it takes: beyond the first
// k it goes on in steps until a whole step has not changed the k best. So good codes cost about
// 1.5 k rows, and coarse ones (tight clusters, whose rows share codes) are made up for by reading
// more.
std::vector<ScoredRow> rerank(const RowsView& rows, Metric metric, const float* query,
                              const std::vector<Neighbor>& found, std::size_t k) {
  static thread_local std::vector<Row> step;
  const std::size_t size = k / 2 + 5;
  std::vector<ScoredRow> best;
  for (std::size_t at = 0; at < found.size();) {
    const std::size_t end = std::min(found.size(), at + (at == 0 ? k : size));
    step.clear();
    for (std::size_t i = at; i < end; ++i) step.push_back(found[i].row);
    const auto scored = rescore(rows, metric, query, step, k);
    if (at != 0 && best.size() == k && !better(scored.front(), best.back())) break;
    best.insert(best.end(), scored.begin(), scored.end());
    std::sort(best.begin(), best.end(), better);
    if (best.size() > k) best.resize(k);
    at = end;
  }
  return best;
}

// Not inline: its address would be found again at every use.
__attribute__((noinline)) WalkScratch& thread_scratch() {
  static thread_local WalkScratch scratch;
  return scratch;
}

}  // namespace

WalkEnd graph_walk(const Graph& graph, const CodesView& codes, const CodeDistance& query,
                   const WalkOptions& options, std::vector<Neighbor>& out) {
  out.clear();
  const Row limit = std::min({options.limit, graph.linked(), codes.rows});
  if (limit == 0 || options.ef == 0) return WalkEnd::kComplete;
  WalkScratch& scratch = thread_scratch();
  if (options.excluded != nullptr && !options.excluded->empty()) {
    return Walk<FilteredPool>(graph, codes, query, limit, options, scratch).run(out);
  }
  return Walk<CandidatePool>(graph, codes, query, limit, options, scratch).run(out);
}

GraphResult graph_search(const Graph& graph, const RowsView& rows, const CodesView& codes,
                         const ScalarQuantizer& quantizer, const float* query,
                         const GraphSearchOptions& options) {
  static thread_local CodeQuery prepared;
  static thread_local std::vector<Neighbor> found;
  check(options.interrupt);
  GraphResult result;
  if (options.k == 0) return result;
  quantizer.prepare(query, prepared);
  const CodeDistance distance(prepared);
  const Row limit = std::min({options.limit, rows.rows, codes.rows, graph.linked()});
  const std::size_t excluded = options.excluded != nullptr ? options.excluded->count(0, limit) : 0;
  const std::size_t ef = std::max(options.ef, options.k);
  const SearchPlan plan = plan_search({.rows = limit,
                                       .eligible = limit - excluded,
                                       .ef = ef,
                                       .k = options.k,
                                       .code_bytes = codes.stride});
  bool complete = false;
  if (plan.walk) {
    result.end = graph_walk(graph, codes, distance,
                            {.ef = ef,
                             .limit = limit,
                             .excluded = excluded != 0 ? options.excluded : nullptr,
                             .wanted = plan.wanted,
                             .spare = plan.spare,
                             .budget = plan.budget,
                             .barred = options.barred},
                            found);
    if (result.end == WalkEnd::kDamaged) return result;
    complete = result.end == WalkEnd::kComplete &&
               found.size() >= std::min<std::size_t>(options.k, limit - excluded);
  }
  if (!complete) {
    result.scanned = true;
    code_scan(codes, distance,
              {.k = ef,
               .last = limit,
               .excluded = excluded != 0 ? options.excluded : nullptr,
               .interrupt = options.interrupt},
              found);
  }
  result.rows = rerank(rows, graph.params().metric, query, found, options.k);
  return result;
}

}  // namespace srvdb
