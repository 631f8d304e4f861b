// Walking a graph: the rows nearest to a query by code, and then by exact score.
//
// Best-first search on 8-bit codes (or with short ones, ShortCodes) from the best of a table of
// entry rows. The table is a function of the number of linked rows (rows evenly spaced), so it
// needs no storage and no upkeep. The walk keeps a pool of the best candidates. Of excluded rows
// only the links count (filtered_walk.h), unless there are so few that it goes through them; where
// so few rows are eligible that it costs less to look at them one by one, they are scanned
// (search_plan.h).
//
// Damage never crashes a walk, makes it endless or lets it answer wrongly: it ends with
// WalkEnd::kDamaged, and the caller drops the graph and scans. Thread safety: any number of
// searches, also while a GraphBuilder adds rows. Scratch memory is kept for each thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "srvdb/base/interrupt.h"
#include "srvdb/index/graph.h"
#include "srvdb/index/row_bitmap.h"
#include "srvdb/index/rows.h"
#include "srvdb/index/scored_row.h"
#include "srvdb/quant/scalar_quantizer.h"
#include "srvdb/quant/short_coder.h"

namespace srvdb {

enum class WalkEnd : std::uint8_t {
  kComplete,    // the walk ended by itself
  kOverBudget,  // given up: it saw too many rows; nothing was found
  kInVain,      // given up: too many rows would have to be left out (WalkOptions::through)
  kDamaged,     // a node of the mapped image is damaged: drop the graph
};

// What walks have done; each adds to it.
struct WalkCounts {
  std::size_t seen = 0;      // rows come to, entries among them
  std::size_t expanded = 0;  // rows whose neighbours were looked at
  std::size_t hopped = 0;    // excluded rows whose links were looked at
  std::size_t left_out = 0;  // of those seen, rows that were not measured, because of their signs
};

// Codes of signs of all rows that a walk may come to, and what prepares a query for them: that is
// done when the walk turns out to need it.
struct SignFilter {
  CodesView codes;
  const SignQuantizer* quantizer = nullptr;  // null: there are none
  const float* vector = nullptr;             // the query
  SignQuantizer::Scratch* scratch = nullptr;
  SignQuery* query = nullptr;
};

struct WalkOptions {
  std::size_t ef = 100;                 // width of the search
  Row limit = kNoRow;                   // rows at or above it are ignored (a View's published rows)
  const RowBitmap* excluded = nullptr;  // never returned
  // Without excluded rows: those that the caller will leave out of what is found. Where more
  // of the wanted ones are than most_left_out() says, it may end with kInVain.
  const RowBitmap* through = nullptr;
  std::size_t wanted = 0;  // results that will be used, 0 for all; there may be more than ef
  double reach = 0;        // how far a walk goes on, see walk_pool.h; 0: ef rows
  double share = 0;        // with excluded rows: the part of the others, 0 for not known
  // With excluded rows: where the others seem to lie apart from the query, so that ef says little
  // about what was missed, ends as if it had gone over the budget.
  bool sure = false;
  // With excluded rows, which are nearly all: looks as far as it takes for eligible neighbours.
  bool far = false;
  // Rows to be seen, and excluded rows whose links are looked at, about, before giving up.
  std::size_t budget = static_cast<std::size_t>(-1);
  Row barred = kNoRow;    // as if it were not there: neither returned nor walked through
  SignFilter signs = {};  // without excluded rows: only rows that they let pass are measured
  WalkCounts* counts = nullptr;
};

// Fills `out` with at most ef rows (a few times as many where some are wanted), best first, equal
// keys by lower row, all below min(limit, graph.linked()). `codes` covers those rows. Throws what
// codes.verifier throws.
WalkEnd graph_walk(const Graph& graph, const CodesView& codes, const CodeDistance& query,
                   const WalkOptions& options, std::vector<Neighbor>& out);

// Short codes of rows [0, codes.rows).
struct ShortCodes {
  CodesView codes;
  const ShortCoder* coder = nullptr;  // what they were made by; null: there are none
};

// How a search is done. Other than planned for measuring.
enum class SearchWay : std::uint8_t { kPlanned, kWalk, kScan };

struct GraphSearchOptions {
  std::size_t k = 10;
  // About how many rows are expanded. Raised to k where lower, unless the intrinsic dimension of
  // the rows is known.
  std::size_t ef = 100;
  Row limit = kNoRow;                   // rows at or above it are ignored
  const RowBitmap* excluded = nullptr;  // never returned
  bool sure = false;  // rather scans than trusts a walk of ef around excluded rows (WalkOptions)
  // Treated as if it were not there; for measuring with a row as the query (it may be a hit of a
  // scan, of which the caller takes it out).
  Row barred = kNoRow;
  // Used where they cover all rows below the limit. A walk goes by components, and its candidates
  // are put in order by the usual codes; or it asks signs which rows to measure, where hardly any
  // row is excluded.
  ShortCodes short_codes = {};
  Interrupt* interrupt = nullptr;
  SearchWay way = SearchWay::kPlanned;
  WalkCounts* counts = nullptr;
};

struct GraphResult {
  std::vector<ScoredRow> rows;       // best first, exact scores
  WalkEnd end = WalkEnd::kComplete;  // `rows` is empty when kDamaged
  bool scanned = false;              // by a scan of codes
};

// A walk, or a scan of the codes of eligible rows, as plan_search() says; then exact scores for the
// best candidates. A walk through excluded rows that was in vain is followed by one around them. A
// walk that goes over its budget, or finds fewer than min(k, eligible) rows (a
// row may have no way to it), is followed by the scan; so the answer always numbers min(k, eligible
// linked rows).
GraphResult graph_search(const Graph& graph, const RowsView& rows, const CodesView& codes,
                         const ScalarQuantizer& quantizer, const float* query,
                         const GraphSearchOptions& options);

// The answers of graph_search() to n queries (n × rows.dim, one after the other), to out[0..n), in
// one thread: kSearchesAtOnce walks take turns, so that each computes while the others' rows are on
// their way from memory.
inline constexpr std::size_t kSearchesAtOnce = 2;
void graph_search_batch(const Graph& graph, const RowsView& rows, const CodesView& codes,
                        const ScalarQuantizer& quantizer, const float* queries, std::size_t n,
                        const GraphSearchOptions& options, GraphResult* out);

}  // namespace srvdb
