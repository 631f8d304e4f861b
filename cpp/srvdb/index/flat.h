// Exact search: every row is compared, and the answer is the one that double precision gives.
//
// How it is exact: a float32 pass computes a score for each row together with a proven bound of
// its error (distance/metric.h); rows whose score plus error cannot reach the k-th best score
// minus error are dropped, all others are scored again by the double-precision kernel, whose bits
// are the same on every instruction set. Where rows have 8-bit codes, the first pass goes over
// those instead, with their stored errors as bounds (flat_screen.h). Memory is bounded: the
// candidates held are at most a small multiple of k, or a thousand, whatever the data (when ties
// overflow the buffer, it is rescored and cut, never thrown away).
//
// Scores: higher is better (cosine similarity, inner product, minus the squared distance). Results
// come best first; equal scores by lower row. Fewer eligible rows than k give a shorter list.
// Ownership: nothing is kept. Threads: all functions may run concurrently. Errors:
// Error(kCorruption) from the view's verifier, Error(kInterrupted).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "srvdb/base/interrupt.h"
#include "srvdb/base/types.h"
#include "srvdb/distance/metric.h"
#include "srvdb/index/row_bitmap.h"
#include "srvdb/index/rows.h"
#include "srvdb/index/scored_row.h"
#include "srvdb/quant/scalar_quantizer.h"

namespace srvdb {

struct FlatOptions {
  std::size_t k = 10;                   // any size; 0 gives an empty answer
  Row first = 0;                        // rows [first, min(last, view.rows)) are searched,
  Row last = kNoRow;                    //   the others left out
  const RowBitmap* excluded = nullptr;  // rows never returned; nullptr: none
  std::size_t threads = 1;              // 0: all
  Interrupt* interrupt = nullptr;
  // Codes with their errors, of rows [0, codes.rows): exact searches then read little else of these
  // rows. The answer is the same. With a null quantizer there are none.
  CodesView codes = {};
  const ScalarQuantizer* quantizer = nullptr;
};

// Best k rows for one query (dim floats, finite, any alignment). With threads > 1 the rows are
// shared out.
std::vector<ScoredRow> flat_search(const RowsView& rows, Metric metric, const float* query,
                                   const FlatOptions& options);

// Best k rows for each of n queries (n × dim, row-major): blocks of rows against tiles of queries,
// for more than a handful of queries many times faster than one by one. Same answers as
// flat_search. With threads > 1 the queries are shared out.
std::vector<std::vector<ScoredRow>> flat_search_batch(const RowsView& rows, Metric metric,
                                                      const float* queries, std::size_t n,
                                                      const FlatOptions& options);

// Scan of the 8-bit codes, a quarter of the bytes: the best `refine` × k rows by code are scored
// exactly. Approximate unless the quantiser is exact. `codes` covers at least the searched rows.
std::vector<ScoredRow> code_search(const RowsView& rows, const CodesView& codes,
                                   const ScalarQuantizer& quantizer, Metric metric,
                                   const float* query, double refine, const FlatOptions& options);

// The scan alone: the best k rows by key, best first, equal keys by lower row. `codes` covers the
// searched rows. What it costs goes with the rows that are left over, not with those excluded.
void code_scan(const CodesView& codes, const CodeDistance& distance, const FlatOptions& options,
               std::vector<Neighbor>& out);

// Exact scores of the given rows, best k of them, best first. Rows must be distinct and below
// rows.rows.
std::vector<ScoredRow> rescore(const RowsView& rows, Metric metric, const float* query,
                               std::span<const Row> candidates, std::size_t k);

}  // namespace srvdb
