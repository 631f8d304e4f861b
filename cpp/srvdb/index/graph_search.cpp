#include "srvdb/index/graph_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <span>

#include "srvdb/base/prefetch.h"
#include "srvdb/index/filtered_walk.h"
#include "srvdb/index/flat.h"
#include "srvdb/index/search_plan.h"
#include "srvdb/index/walk.h"

namespace srvdb {
namespace {

// True when query and rows are what their codes stand for, as with bytes under l2: then keys order
// rows as scores do, and approx_score() has the bits of the exact score (all sums are of integers).
bool exact_codes(const CodesView& codes, const CodeQuery& prepared,
                 std::span<const Neighbor> found) {
  if (!prepared.exact() || codes.errors == nullptr) return false;
  for (const Neighbor& row : found) prefetch_line(&codes.errors[row.row * codes.error_step]);
  return std::all_of(found.begin(), found.end(),
                     [&](const Neighbor& row) { return codes.error(row.row) == 0; });
}

constexpr std::size_t kSample = 8;
// Of a scan: far from the query many rows are about equally near.
constexpr std::size_t kScanSample = 32;

// The k best by exact score among a walk's candidates, which come best by code first. At least
// `sample` of them are read; how far their scores lie from what their codes say tells how far
// others may, and reading ends where no other is likely to be among the best. So good codes cost
// little more than k rows, and coarse ones (tight clusters, whose rows share codes) are made up
// for.
std::vector<ScoredRow> rerank(const RowsView& rows, const CodesView& codes,
                              const CodeQuery& prepared, const float* query,
                              const std::vector<Neighbor>& found, std::size_t k,
                              std::size_t sample) {
  constexpr double kDoubt = 2;         // times the farthest off is taken for possible
  constexpr double kLeastDoubt = 1.5;  // standard deviations that count as off in any case
  constexpr std::size_t kSide = simd::kScoredAtOnce;
  const std::size_t n = found.size();
  std::vector<ScoredRow> best;
  best.reserve(std::min(k, n) + 1);
  if (exact_codes(codes, prepared, std::span(found).first(std::min(n, k + k / 2 + 5)))) {
    for (std::size_t i = 0; i < std::min(k, n); ++i) {
      best.push_back({prepared.approx_score(found[i].key), found[i].row});
    }
    return best;
  }
  for (std::size_t i = 0; i < std::min(n, kSide); ++i) {
    prefetch_lines(rows.row(found[i].row), rows.dim * sizeof(float));
  }
  const ExactScorer scorer(prepared.metric(), query, rows.dim, prepared.norm());
  const std::size_t least = std::max(k, sample);
  double margin = n < least ? 0 : kLeastDoubt * prepared.score_deviation(found[least - 1].key);
  const auto in_doubt = [&](std::size_t i) {
    if (i < least || i >= n) return i < n;
    return !(prepared.approx_score(found[i].key) + kDoubt * margin < best.back().score);
  };
  // To be read, as far as codes can say beforehand.
  const double last_score = n < least ? 0 : prepared.approx_score(found[least - 1].key);
  const auto likely = [&](std::size_t i) {
    if (i < least || i >= n) return i < n;
    return prepared.approx_score(found[i].key) + margin >= last_score;
  };
  for (std::size_t i = 0; in_doubt(i);) {
    std::size_t last = i + 1;
    while (last < i + kSide && in_doubt(last)) ++last;
    std::array<const float*, kSide> at{};
    std::array<const float*, kSide> ahead{};
    for (std::size_t r = 0; r < kSide; ++r) {
      at[r] = rows.row(found[std::min(i + r, last - 1)].row);
      ahead[r] = likely(last + r) ? rows.row(found[last + r].row) : at[r];
    }
    for (std::size_t r = i; r < last; ++r) rows.verify(found[r].row);
    std::array<double, kSide> scores{};
    scorer.score_rows(at.data(), ahead.data(), scores.data());
    for (std::size_t r = 0; i < last; ++r, ++i) {
      const ScoredRow row{scores[r], found[i].row};
      margin = std::max(margin, std::abs(row.score - prepared.approx_score(found[i].key)));
      if (best.size() == k && !better(row, best.back())) continue;
      best.insert(std::upper_bound(best.begin(), best.end(), row, better), row);
      if (best.size() > k) best.pop_back();
    }
  }
  return best;
}

// What a query is turned into: for the usual codes, and for short ones of either form.
struct Prepared {
  CodeQuery usual;
  CodeQuery components;
  SignQuery signs;
  ShortCoder::Scratch scratch;
};

// Puts candidates in order by the usual codes instead of those that they were found by.
void reorder(const CodesView& codes, const CodeQuery& prepared, std::vector<Neighbor>& found) {
  static thread_local std::vector<Row> rows;
  static thread_local std::vector<std::uint64_t> entries;
  constexpr std::size_t kAtFirst = 8;  // rows asked for before any is measured
  const std::size_t n = found.size();
  rows.resize(n);
  entries.resize(n + 16);
  for (std::size_t i = 0; i < n; ++i) rows[i] = found[i].row;
  const std::size_t first = std::min(n, kAtFirst);
  for (std::size_t i = 0; i < first; ++i) prefetch_lines(codes.code(rows[i]), codes.stride);
  codes.verify(rows.data(), n);
  const std::size_t measured =
      CodeDistance(prepared).near(codes.base, rows.data(), n, first, n, INT32_MAX, entries.data());
  std::sort(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(measured));
  found.clear();
  for (std::size_t i = 0; i < measured; ++i) {
    found.push_back({pool_entry::key(entries[i]), pool_entry::row(entries[i])});
  }
}

// Not inline: its address would be found again at every use.
__attribute__((noinline)) WalkScratch& thread_scratch() {
  static thread_local WalkScratch scratch;
  return scratch;
}

void add_counts(const WalkCounts& walk, WalkCounts* counts) noexcept {
  if (counts == nullptr) return;
  counts->seen += walk.seen;
  counts->expanded += walk.expanded;
  counts->hopped += walk.hopped;
  counts->left_out += walk.left_out;
}

template <typename AnyWalk>
WalkEnd walk_to_end(AnyWalk walk, const WalkOptions& options, std::vector<Neighbor>& out) {
  walk.enter();
  while (walk.step()) continue;
  add_counts(walk.counts(), options.counts);
  if (walk.end() == WalkEnd::kComplete) walk.take(out);
  return walk.end();
}

constexpr std::size_t kScanKeeps = 4;  // times k: candidates of a scan, which cost it nothing

// What is the same for all queries of a call.
struct Searching {
  const Graph& graph;
  const RowsView& rows;
  const CodesView& codes;
  const ScalarQuantizer& quantizer;
  const GraphSearchOptions& options;
  Row limit = 0;
  std::size_t excluded = 0;
  std::size_t ef = 0;
  const Reduction* components = nullptr;  // that the walk goes by
  const SignQuantizer* signs = nullptr;   // that it asks
  SearchPlan plan;

  Searching(const Graph& g, const RowsView& r, const CodesView& c, const ScalarQuantizer& q,
            const GraphSearchOptions& o)
      : graph(g), rows(r), codes(c), quantizer(q), options(o) {
    limit = std::min({options.limit, rows.rows, codes.rows, graph.linked()});
    excluded = options.excluded != nullptr ? options.excluded->count(0, limit) : 0;
    ef = std::max(options.ef, options.k);
    const ShortCodes& shorter = options.short_codes;
    if (shorter.coder != nullptr && shorter.codes.rows >= limit) {
      components = shorter.coder->components();
      signs = shorter.coder->signs();
    }
    plan = plan_search({.rows = limit,
                        .eligible = limit - excluded,
                        .ef = ef,
                        .k = options.k,
                        .bound = graph.params().bound(),
                        .code_bytes = codes.stride});
    if (options.way == SearchWay::kWalk) {
      plan.walk = true;
      plan.budget = SIZE_MAX;
    }
    if (options.way == SearchWay::kScan) plan.walk = false;
  }
  // Of the walk.
  const CodesView& walk_codes() const noexcept {
    return components != nullptr ? options.short_codes.codes : codes;
  }
  const CodeQuery& walk_query(const Prepared& prepared) const noexcept {
    return components != nullptr ? prepared.components : prepared.usual;
  }
  void prepare(const float* query, Prepared& prepared) const {
    quantizer.prepare(query, prepared.usual);
    if (components != nullptr && plan.walk) {
      components->prepare(query, prepared.scratch.components, prepared.components);
    }
  }
  const RowBitmap* bitmap() const noexcept { return excluded != 0 ? options.excluded : nullptr; }
  // Of a walk through excluded rows, or around them.
  WalkOptions walk_options(const float* query, Prepared& prepared, bool through) const noexcept {
    const double dimension = graph.dimension().of(graph.linked());
    const double gone = through ? static_cast<double>(excluded) / std::max<double>(limit, 1) : 0;
    const auto width = static_cast<std::size_t>(  // WalkPool raises it to k
        std::lround(std::max(static_cast<double>(options.ef), 1.0) / (1 - gone)));
    const double per_hit = static_cast<double>(width) / static_cast<double>(options.k);
    return {
        .ef = width,
        .limit = limit,
        .excluded = through ? nullptr : bitmap(),
        .through = through ? bitmap() : nullptr,
        .wanted = options.k,
        .reach = dimension == 0 ? 0 : std::pow(per_hit, 2 / dimension),
        .share = static_cast<double>(limit - excluded) / std::max<double>(limit, 1),
        .sure = options.sure,
        .far = plan.far,
        .budget = plan.budget,
        .barred = options.barred,
        .signs = {.codes = options.short_codes.codes,
                  .quantizer = signs != nullptr && signs->fits(prepared.usual) ? signs : nullptr,
                  .vector = query,
                  .scratch = &prepared.scratch.signs,
                  .query = &prepared.signs},
        .counts = options.counts};
  }
  // Takes excluded rows out of what a walk through them has found. False when too little is left.
  bool leave_out_excluded(WalkEnd end, std::vector<Neighbor>& found) const {
    if (end == WalkEnd::kInVain) return false;
    if (excluded == 0 || end != WalkEnd::kComplete) return true;
    std::size_t left = 0;
    std::size_t left_out = 0;  // until there were enough
    std::erase_if(found, [&](const Neighbor& row) {
      const bool gone = options.excluded->test(row.row);
      left_out += gone && left < options.k ? 1U : 0U;
      left += gone ? 0U : 1U;
      return gone;
    });
    return left_out <= most_left_out(options.ef, options.k) &&
           left >= std::min<std::size_t>(options.k, limit - excluded);
  }
  // The walk around excluded rows.
  WalkEnd walk_around(const float* query, Prepared& prepared, std::vector<Neighbor>& found) const {
    return graph_walk(graph, walk_codes(), CodeDistance(walk_query(prepared)),
                      walk_options(query, prepared, false), found);
  }
  // The answer from what a walk has found (`end`: how), or from a scan when that is not all.
  GraphResult answer(WalkEnd end, const Prepared& prepared, const float* query,
                     std::vector<Neighbor>& found) const {
    GraphResult result;
    result.end = end;
    if (end == WalkEnd::kDamaged) return result;
    const std::size_t all = std::min<std::size_t>(options.k, limit - excluded);
    if (!plan.walk || end != WalkEnd::kComplete || found.size() < all) {
      result.scanned = true;
      code_scan(codes, CodeDistance(prepared.usual),
                {.k = std::max(ef, kScanKeeps * options.k),
                 .last = limit,
                 .excluded = bitmap(),
                 .interrupt = options.interrupt},
                found);
    } else if (components != nullptr) {
      reorder(codes, prepared.usual, found);
    }
    const std::size_t sample = result.scanned ? kScanSample : kSample;
    result.rows = rerank(rows, codes, prepared.usual, query, found, options.k, sample);
    return result;
  }
};

// One of the searches that take turns in a thread.
struct Turn {
  Prepared prepared;
  WalkScratch scratch;
  std::vector<Neighbor> found;
  std::optional<CodeDistance> distance;
  std::optional<Walk> walk;  // empty: no search
  std::size_t query = 0;

  void begin(const Searching& searching, const float* vector, std::size_t number) {
    query = number;
    searching.prepare(vector, prepared);
    distance.emplace(searching.walk_query(prepared));
    walk.emplace(searching.graph, searching.walk_codes(), *distance, searching.limit,
                 searching.walk_options(vector, prepared, true), scratch);
    walk->enter();
  }
};

}  // namespace

WalkEnd graph_walk(const Graph& graph, const CodesView& codes, const CodeDistance& query,
                   const WalkOptions& options, std::vector<Neighbor>& out) {
  out.clear();
  const Row limit = std::min({options.limit, graph.linked(), codes.rows});
  if (limit == 0 || options.ef == 0) return WalkEnd::kComplete;
  WalkScratch& scratch = thread_scratch();
  if (options.excluded != nullptr && !options.excluded->empty()) {
    return walk_to_end(FilteredWalk(graph, codes, query, limit, options, scratch), options, out);
  }
  return walk_to_end(Walk(graph, codes, query, limit, options, scratch), options, out);
}

GraphResult graph_search(const Graph& graph, const RowsView& rows, const CodesView& codes,
                         const ScalarQuantizer& quantizer, const float* query,
                         const GraphSearchOptions& options) {
  static thread_local Prepared prepared;
  static thread_local std::vector<Neighbor> found;
  check(options.interrupt);
  if (options.k == 0) return {};
  const Searching searching(graph, rows, codes, quantizer, options);
  searching.prepare(query, prepared);
  WalkEnd end = WalkEnd::kComplete;
  bool around = searching.plan.walk && !searching.plan.through;
  if (searching.plan.walk && !around) {
    end = graph_walk(graph, searching.walk_codes(), CodeDistance(searching.walk_query(prepared)),
                     searching.walk_options(query, prepared, true), found);
    around = !searching.leave_out_excluded(end, found);
  }
  if (around) end = searching.walk_around(query, prepared, found);
  return searching.answer(end, prepared, query, found);
}

void graph_search_batch(const Graph& graph, const RowsView& rows, const CodesView& codes,
                        const ScalarQuantizer& quantizer, const float* queries, std::size_t n,
                        const GraphSearchOptions& options, GraphResult* out) {
  static thread_local std::array<Turn, kSearchesAtOnce> turns;
  const Searching searching(graph, rows, codes, quantizer, options);
  if (n == 1 || options.k == 0 || !searching.plan.through || !searching.plan.walk ||
      searching.limit == 0) {
    for (std::size_t i = 0; i < n; ++i) {
      out[i] = graph_search(graph, rows, codes, quantizer, queries + i * rows.dim, options);
    }
    return;
  }
  for (Turn& turn : turns) turn.walk.reset();  // left by an exception
  std::size_t begun = 0;
  for (std::size_t done = 0; done < n;) {
    for (Turn& turn : turns) {
      if (!turn.walk && begun < n) {
        check(options.interrupt);
        turn.begin(searching, queries + begun * rows.dim, begun);
        ++begun;
        continue;
      }
      if (!turn.walk || turn.walk->step()) continue;
      turn.found.clear();
      turn.walk->take(turn.found);
      add_counts(turn.walk->counts(), options.counts);
      const float* const query = queries + turn.query * rows.dim;
      WalkEnd end = turn.walk->end();
      if (!searching.leave_out_excluded(end, turn.found)) {
        end = searching.walk_around(query, turn.prepared, turn.found);
      }
      out[turn.query] = searching.answer(end, turn.prepared, query, turn.found);
      turn.walk.reset();
      ++done;
    }
  }
}

}  // namespace srvdb
