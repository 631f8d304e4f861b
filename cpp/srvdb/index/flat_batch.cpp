// flat_search_batch: tiles of queries against tiles of rows (flat.h says what it promises).
//
// Rows are taken block by block; a block is packed once for a group of queries and stays in the L2
// cache while all tiles of the group pass over it. The first blocks are small and grow, so that
// the thresholds are good before many rows have been seen.
#include <algorithm>
#include <cmath>
#include <limits>

#include "srvdb/base/aligned.h"
#include "srvdb/base/scheduler.h"
#include "srvdb/distance/margin.h"
#include "srvdb/index/flat.h"
#include "srvdb/index/flat_groups.h"
#include "srvdb/index/flat_scan.h"
#include "srvdb/index/flat_tiles.h"
#include "srvdb/index/top_k.h"
#include "srvdb/simd/dispatch.h"

namespace srvdb {
namespace {

constexpr std::size_t kPanelBytes = std::size_t{1} << 20;    // packed rows held at one time
constexpr std::size_t kResultBytes = std::size_t{64} << 20;  // of candidates, all queries together
constexpr std::size_t kFewQueries = 3;                       // up to these are faster one by one,
constexpr std::size_t kFewCoded = 5;     // with codes and tiles of them up to these,
constexpr std::size_t kFewUntiled = 24;  // with codes and float tiles up to these

// Queries given up by the tiles of codes: up to these one by one, else together over float rows.
constexpr std::size_t kLeftOneByOne = 16;

// Norm bounds are rounded up by at most 1.5 units of float32 beyond the true norm: what that adds
// to a margin, relatively (on a norm) and for half a square.
constexpr double kNormSlack = 0x1p-21;

float round_down(double value) noexcept {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto nearest = static_cast<float>(value);
  return nearest <= value ? nearest : std::nextafter(nearest, -kInfinity);
}

// A range of the queries with everything one worker needs for it.
class QueryGroup {
 public:
  static constexpr std::size_t kFirstRows = 64;
  static constexpr std::size_t kGrowth = 2;

  QueryGroup(const RowsView& rows, Metric metric, const float* queries, std::size_t n,
             std::size_t k)
      : rows_(rows), metric_(metric), kernels_(simd::kernels()), n_(n) {
    const std::size_t tile = kernels_.tile_queries;
    panel_floats_ = round_up(rows.dim * tile, 16);
    panels_.reset((n + tile - 1) / tile * panel_floats_);
    thresholds_.assign(n, 0);
    for (std::size_t q = 0; q < n; ++q) {
      tops_.emplace_back(rows, metric, queries + q * rows.dim, k, nullptr);
    }
    for (std::size_t q = 0; q < n; q += tile) {
      pack(queries, q, std::min(tile, n - q), panels_.data() + q / tile * panel_floats_);
    }
    hits_.resize(tile * kernels_.tile_rows);
    block_rows_ = std::max<std::size_t>(1, kPanelBytes / (rows.dim * 4 * kernels_.tile_rows)) *
                  kernels_.tile_rows;
  }

  // All queries of the group against the rows, which are verified and in ascending order.
  void scan(std::span<const Row> rows) {
    for (std::size_t at = 0; at < rows.size(); at += block_rows_) {
      const auto block = rows.subspan(at, std::min(block_rows_, rows.size() - at));
      pack_block(block);
      update_thresholds();
      for (std::size_t q = 0; q < n_; q += kernels_.tile_queries) {
        const std::size_t n = std::min(kernels_.tile_queries, n_ - q);
        for (std::size_t t = 0; t < block.size(); t += kernels_.tile_rows) tile(q, n, block, t);
      }
    }
  }
  // Scores what waits, so that the next block meets good thresholds.
  void settle() {
    for (ExactTopK& top : tops_) top.settle();
  }
  std::vector<ScoredRow> take(std::size_t q) { return tops_[q].take(); }

 private:
  void pack(const float* queries, std::size_t q, std::size_t n, float* panel) {
    std::vector<const float*> at;
    std::vector<float> scales;
    for (std::size_t i = 0; i < n; ++i) {
      at.push_back(queries + (q + i) * rows_.dim);
      scales.push_back(tile_scale(tops_[q + i].query_norm()));
    }
    kernels_.pack_queries(at.data(), n, rows_.dim,
                          metric_ == Metric::kCosine ? scales.data() : nullptr, panel);
  }

  void pack_block(std::span<const Row> rows) {
    const std::size_t tile = kernels_.tile_rows;
    row_floats_ = round_up(rows_.dim * tile, 16);
    const std::size_t panels = (rows.size() + tile - 1) / tile;
    if (block_.size() < panels * row_floats_) block_.reset(panels * row_floats_);
    extra_.assign(panels * tile, 0);
    largest_norm_ = 0;
    std::vector<const float*> at(tile);
    for (std::size_t p = 0; p < panels; ++p) {
      const std::size_t n = std::min(tile, rows.size() - p * tile);
      float* const extra = extra_.data() + p * tile;
      for (std::size_t i = 0; i < n; ++i) {
        const Row r = rows[p * tile + i];
        const float norm = rows_.norm_bound(r);
        at[i] = rows_.row(r);
        largest_norm_ = std::max(largest_norm_, norm);
        if (metric_ == Metric::kCosine) extra[i] = tile_scale(norm);
        if (metric_ == Metric::kL2) extra[i] = static_cast<float>(-0.5 * norm * double{norm});
      }
      kernels_.pack_rows(at.data(), n, rows_.dim, metric_ == Metric::kCosine ? extra : nullptr,
                         block_.data() + p * row_floats_);
    }
  }

  // What the tile's score must reach; rows of the block below it cannot be in the answer.
  void update_thresholds() {
    const double norm = largest_norm_;
    for (std::size_t q = 0; q < n_; ++q) {
      const double wanted = tops_[q].threshold();
      const double query_norm = tops_[q].query_norm() * (1 + 1e-9);
      double limit = 0;
      if (metric_ == Metric::kCosine) {
        limit = wanted - (tile_cosine_margin(rows_.dim) + kNormSlack);
      } else if (metric_ == Metric::kIp) {
        limit = wanted - dot_margin(rows_.dim, query_norm, norm) * (1 + 1e-6);
      } else {
        const double margin =
            tile_l2_margin(rows_.dim, query_norm, norm) + kNormSlack * norm * norm;
        const double square = query_norm * query_norm;
        limit = (square + wanted) / 2 - margin - 1e-8 * square;
      }
      thresholds_[q] = round_down(limit);
    }
  }

  // Queries [q, q + n) against the tile of the block that begins with its row `first`.
  void tile(std::size_t q, std::size_t n, std::span<const Row> block, std::size_t first) {
    const std::size_t panel = first / kernels_.tile_rows;
    const std::size_t rows = std::min(kernels_.tile_rows, block.size() - first);
    const float* bias =
        metric_ == Metric::kL2 ? extra_.data() + panel * kernels_.tile_rows : nullptr;
    const std::size_t hits =
        kernels_.tile_dot(block_.data() + panel * row_floats_, bias, rows,
                          panels_.data() + q / kernels_.tile_queries * panel_floats_,
                          thresholds_.data() + q, n, rows_.dim, hits_.data());
    for (std::size_t i = 0; i < hits; ++i) {
      tops_[q + hits_[i].query].offer(block[first + hits_[i].row]);
    }
  }

  const RowsView& rows_;
  Metric metric_;
  const simd::Kernels& kernels_;
  std::size_t n_;
  std::size_t panel_floats_ = 0;  // of one tile of queries
  std::size_t row_floats_ = 0;    // of one tile of rows
  std::size_t block_rows_ = 0;
  float largest_norm_ = 0;         // of the packed block
  AlignedBuffer<float> panels_;    // queries
  AlignedBuffer<float> block_;     // rows
  std::vector<float> extra_;       // a scale (cosine) or a bias (l2) for each row of the block
  std::vector<float> thresholds_;  // one a query
  std::vector<ExactTopK> tops_;    // one a query
  std::vector<simd::TileHit> hits_;
};

using Answers = std::vector<std::vector<ScoredRow>>;

// What a batch asks for, once all is settled: rows [options.first, options.last) exist, 1 <= k <=
// their number, threads >= 1.
struct Batch {
  const RowsView& rows;
  Metric metric;
  const float* queries;
  std::size_t n;
  FlatOptions options;
};

// Calls search(first query, count, threads) for so many queries at a time as may be held.
template <typename Search>
void in_portions(const Batch& batch, const Search& search) {
  const std::size_t k = batch.options.k;
  const std::size_t query_bytes =
      (k + 256) * (4 * sizeof(ScoredRow) + sizeof(Row)) + ScreenedTopK::most_waiting_bytes(k);
  const std::size_t at_once = std::max<std::size_t>(kResultBytes / query_bytes, 16);
  for (std::size_t q = 0; q < batch.n; q += at_once) {
    const std::size_t count = std::min(at_once, batch.n - q);
    search(q, count, std::clamp<std::size_t>(batch.options.threads, 1, count));
  }
}

Answers search_floats(const Batch& batch) {
  Answers out(batch.n);
  const RowsView& rows = batch.rows;
  in_portions(batch, [&](std::size_t first, std::size_t count, std::size_t threads) {
    const float* const queries = batch.queries + first * rows.dim;
    const auto make = [&](std::size_t q, std::size_t size) {
      return QueryGroup(rows, batch.metric, queries + q * rows.dim, size, batch.options.k);
    };
    search_groups<QueryGroup>(rows, count, batch.options.last, batch.options, threads, make,
                              out.data() + first);
  });
  return out;
}

// By codes, which all of the rows have. Queries about which these say too little are done by
// floats.
Answers search_codes(const Batch& batch, const simd::CodeTiles& tiles) {
  Answers out(batch.n);
  const RowsView& rows = batch.rows;
  std::vector<std::size_t> left;
  in_portions(batch, [&](std::size_t first, std::size_t count, std::size_t threads) {
    const float* const queries = batch.queries + first * rows.dim;
    const auto make = [&](std::size_t q, std::size_t size) {
      return CodeGroup(rows, batch.metric, queries + q * rows.dim, size, batch.options.k,
                       batch.options, tiles);
    };
    search_groups<CodeGroup>(batch.options.codes, count, batch.options.last, batch.options, threads,
                             make, out.data() + first);
    for (std::size_t q = first; q < first + count; ++q) {
      if (out[q].empty()) left.push_back(q);  // or no row was eligible, which is soon found out
    }
  });
  if (left.size() <= kLeftOneByOne) {
    for (const std::size_t q : left) {
      out[q] = flat_search(rows, batch.metric, batch.queries + q * rows.dim, batch.options);
    }
    return out;
  }
  std::vector<float> queries;
  for (const std::size_t q : left) {
    const float* const query = batch.queries + q * rows.dim;
    queries.insert(queries.end(), query, query + rows.dim);
  }
  Answers found = search_floats({rows, batch.metric, queries.data(), left.size(), batch.options});
  for (std::size_t i = 0; i < left.size(); ++i) out[left[i]] = std::move(found[i]);
  return out;
}

}  // namespace

std::vector<std::vector<ScoredRow>> flat_search_batch(const RowsView& rows, Metric metric,
                                                      const float* queries, std::size_t n,
                                                      const FlatOptions& options) {
  std::vector<std::vector<ScoredRow>> out(n);
  const Row end = std::min(options.last, rows.rows);
  if (options.k == 0 || options.first >= end) return out;
  const Row coded = coded_end(options, end);
  const bool codes = coded > options.first;
  const simd::CodeTiles* tiles = nullptr;
  if (codes && n > kFewCoded && options.codes.stride <= simd::kMaxCodeTileStride) {
    tiles = simd::code_tiles();
  }
  const std::size_t few = !codes ? kFewQueries : tiles == nullptr ? kFewUntiled : kFewCoded;
  if (n <= few) {
    for (std::size_t q = 0; q < n; ++q) {
      out[q] = flat_search(rows, metric, queries + q * rows.dim, options);
    }
    return out;
  }
  Batch batch{rows, metric, queries, n, options};
  batch.options.k = std::min<std::size_t>(options.k, end - options.first);
  batch.options.threads = options.threads == 0 ? default_threads() : options.threads;
  batch.options.last = end;
  if (tiles == nullptr) return search_floats(batch);
  batch.options.last = coded;
  out = search_codes(batch, *tiles);
  if (coded == end) return out;
  batch.options.first = coded;
  batch.options.last = end;
  const Answers rest = search_floats(batch);
  for (std::size_t q = 0; q < n; ++q)
    out[q] = merge_best(std::move(out[q]), rest[q], batch.options.k);
  return out;
}

}  // namespace srvdb
