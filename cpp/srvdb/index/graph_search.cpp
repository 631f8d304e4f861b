#include "srvdb/index/graph_search.h"

#include <algorithm>

#include "srvdb/index/flat.h"
#include "srvdb/index/graph_reach.h"
#include "srvdb/index/search_plan.h"
#include "srvdb/index/walk_scratch.h"

namespace srvdb {
namespace {

constexpr std::size_t kVisitedPerEf = 16;  // rows seen by a walk for each place of its pool, about

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
        scratch_(scratch),
        pool_(scratch, options),
        budget_(options.budget) {
    scratch_.visited.clear(options.ef * kVisitedPerEf + 512);
    if (options.barred != kNoRow) scratch_.visited.insert(options.barred);
    const std::size_t batch = std::max<std::size_t>(graph.params().bound(), kMaxEntries);
    if (scratch_.ids.size() < batch) scratch_.ids.resize(batch);
    if (scratch_.keys.size() < batch) scratch_.keys.resize(batch);
  }

  WalkEnd run(std::vector<Neighbor>& out) {
    enter();
    Row row = 0;
    while (pool_.next(row)) {
      if (!expand(row)) return WalkEnd::kDamaged;
      if (scratch_.visited.size() > budget_) return WalkEnd::kOverBudget;
    }
    for (const std::uint64_t entry : pool_.finish()) {
      out.push_back({pool_entry::key(entry), pool_entry::row(entry)});
    }
    return WalkEnd::kComplete;
  }

 private:
  static constexpr std::size_t kSeeds = 8;
  static constexpr std::size_t kFirstBytes = 256;  // of a code, asked for as soon as it is known

  // Starts from the best of the entry table: rows evenly spaced over [0, limit).
  void enter() {
    const std::size_t n = entry_count(limit_);
    Row* const ids = scratch_.ids.data();
    for (std::size_t i = 0; i < n; ++i) ids[i] = entry_row(limit_, n, i);
    measure(n);
    std::int32_t* const keys = scratch_.keys.data();
    for (std::size_t i = 0; i < n; ++i) {
      if (i < kSeeds || keys[i] < seed_keys_[seeds_ - 1]) seed(i);
    }
    for (std::size_t s = 0; s < seeds_; ++s) {
      if (!scratch_.visited.insert(seed_rows_[s])) continue;  // the barred one
      pool_.insert(seed_keys_[s], seed_rows_[s]);
    }
  }
  void seed(std::size_t i) noexcept {
    const std::int32_t key = scratch_.keys[i];
    std::size_t at = seeds_ < kSeeds ? seeds_++ : kSeeds - 1;
    for (; at > 0 && seed_keys_[at - 1] > key; --at) {
      seed_keys_[at] = seed_keys_[at - 1];
      seed_rows_[at] = seed_rows_[at - 1];
    }
    seed_keys_[at] = key;
    seed_rows_[at] = scratch_.ids[i];
  }

  // Looks at every neighbour of a row. False when the node is damaged.
  bool expand(Row row) {
    const std::uint32_t* const node = graph_.node(row);
    if (!graph_.sound(row, node)) return false;
    const std::uint32_t degree = graph_.degree(node);
    Row* const ids = scratch_.ids.data();
    VisitedSet& visited = scratch_.visited;
    const std::uint8_t* const base = codes_.base;
    const std::size_t stride = codes_.stride;
    const std::size_t ahead = std::min(stride, kFirstBytes);
    const Row limit = limit_;
    std::size_t n = 0;
    for (std::uint32_t i = 0; i < degree; ++i) {
      const Row id = Graph::load_word(node + 2 + i);
      if (id >= limit) {
        if (id >= linked_) return false;
        continue;
      }
      if (!visited.insert(id)) continue;
      prefetch_lines(base + std::size_t{id} * stride, ahead);
      ids[n++] = id;
    }
    Row next = 0;
    if (pool_.peek(next)) prefetch_lines(graph_.node(next), node_bytes_);
    measure(n);
    const std::int32_t* const keys = scratch_.keys.data();
    for (std::size_t i = 0; i < n; ++i) {
      if (keys[i] >= pool_.threshold()) continue;
      // A new best candidate is the next to be expanded, unless one more beats it.
      if (pool_.insert(keys[i], ids[i])) prefetch_lines(graph_.node(ids[i]), node_bytes_);
    }
    return true;
  }

  // Keys of ids[0..n).
  void measure(std::size_t n) {
    const Row* const ids = scratch_.ids.data();
    if (codes_.verifier != nullptr) {
      for (std::size_t i = 0; i < n; ++i) codes_.verify(ids[i]);
    }
    if (n != 0) query_.keys_many(codes_.base, ids, n, scratch_.keys.data());
  }

  const Graph& graph_;
  const CodesView& codes_;
  const CodeDistance& query_;
  const Row limit_;
  const Row linked_;
  const std::size_t node_bytes_;
  WalkScratch& scratch_;
  Pool pool_;
  const std::size_t budget_;
  std::size_t seeds_ = 0;
  std::int32_t seed_keys_[kSeeds] = {};
  Row seed_rows_[kSeeds] = {};
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

WalkScratch& thread_scratch() {
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
