// Register tiles: every score, every survivor, ragged edges, and never a lost NaN.
#include <gtest/gtest.h>

#include <limits>

#include "simd/kernel_cases.h"
#include "srvdb/base/aligned.h"
#include "srvdb/distance/margin.h"

namespace srvdb::testing {
namespace {

using simd::Kernels;
using simd::supported_kernels;
using simd::TileHit;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Tile {
  Tile(const Kernels& kernels, std::size_t dim, std::size_t n_queries, std::size_t n_rows,
       const float* row_scales = nullptr, Values kind = Values::kOrdinary)
      : k(kernels), dim(dim), queries(n_queries), rows(n_rows) {
    query_values = make_values(kind, dim * n_queries, 11);
    row_values = make_values(kind, dim * n_rows, 12);
    std::vector<const float*> at;
    for (std::size_t i = 0; i < n_queries; ++i) at.push_back(query_values.data() + i * dim);
    query_panel.reset(dim * k.tile_queries);
    k.pack_queries(at.data(), n_queries, dim, nullptr, query_panel.data());
    at.clear();
    for (std::size_t i = 0; i < n_rows; ++i) at.push_back(row_values.data() + i * dim);
    row_panel.reset(dim * k.tile_rows);
    k.pack_rows(at.data(), n_rows, dim, row_scales, row_panel.data());
  }
  std::vector<TileHit> run(const std::vector<float>& thresholds,
                           const float* bias = nullptr) const {
    std::vector<TileHit> hits(queries * rows);
    hits.resize(k.tile_dot(row_panel.data(), bias, rows, query_panel.data(), thresholds.data(),
                           queries, dim, hits.data()));
    return hits;
  }
  double exact(std::size_t q, std::size_t r) const {
    return reference_dot(query_values.data() + q * dim, row_values.data() + r * dim, dim);
  }
  double margin(std::size_t q, std::size_t r) const {
    return dot_margin(dim, reference_norm(query_values.data() + q * dim, dim),
                      reference_norm(row_values.data() + r * dim, dim));
  }

  const Kernels& k;
  std::size_t dim, queries, rows;
  std::vector<float> query_values, row_values;
  AlignedBuffer<float> query_panel, row_panel;
};

TEST(Tile, ScoresEveryPairOnceWithinTheMargin) {
  for (const Kernels* k : supported_kernels()) {
    for (const std::size_t dim : ragged_dims()) {
      for (const Values kind : kAllValues) {
        SCOPED_TRACE(describe(*k, dim, kind));
        const Tile tile(*k, dim, k->tile_queries, k->tile_rows, nullptr, kind);
        const auto hits = tile.run(std::vector<float>(k->tile_queries, -kInfinity));
        ASSERT_EQ(hits.size(), k->tile_queries * k->tile_rows);
        std::vector<int> seen(hits.size());
        for (const TileHit& hit : hits) {
          ++seen[hit.query * k->tile_rows + hit.row];
          EXPECT_LE(std::abs(static_cast<double>(hit.score) - tile.exact(hit.query, hit.row)),
                    tile.margin(hit.query, hit.row));
        }
        EXPECT_EQ(seen, std::vector<int>(hits.size(), 1));
      }
    }
  }
}

TEST(Tile, KeepsToItsEdgesAndToTheThresholds) {
  for (const Kernels* k : supported_kernels()) {
    for (std::size_t rows = 1; rows <= k->tile_rows; ++rows) {
      const std::size_t queries = rows % k->tile_queries + 1;
      SCOPED_TRACE(std::string(k->name) + " " + std::to_string(rows));
      const Tile tile(*k, 33, queries, rows);
      const auto all = tile.run(std::vector<float>(queries, -kInfinity));
      ASSERT_EQ(all.size(), queries * rows);
      std::vector<float> thresholds(queries);
      std::size_t expected = 0;
      for (std::size_t q = 0; q < queries; ++q) thresholds[q] = static_cast<float>(q) - 2.0f;
      for (const TileHit& hit : all) expected += hit.score >= thresholds[hit.query] ? 1u : 0u;
      EXPECT_EQ(tile.run(thresholds).size(), expected);
      EXPECT_TRUE(tile.run(std::vector<float>(queries, kInfinity)).empty());
    }
  }
}

TEST(Tile, AddsTheBiasOfTheRow) {
  for (const Kernels* k : supported_kernels()) {
    const std::size_t rows = k->tile_rows - 3;
    const Tile tile(*k, 16, 2, rows);
    std::vector<float> bias(rows);
    for (std::size_t r = 0; r < rows; ++r) bias[r] = static_cast<float>(r) * 1000;
    for (const TileHit& hit : tile.run({-kInfinity, -kInfinity}, bias.data())) {
      EXPECT_NEAR(static_cast<double>(hit.score), tile.exact(hit.query, hit.row) + 1000.0 * hit.row,
                  0.01)
          << k->name;
    }
  }
}

TEST(Tile, ScalesRowsAndNeverLosesANaN) {
  for (const Kernels* k : supported_kernels()) {
    for (const std::size_t dim : {std::size_t{5}, std::size_t{64}}) {
      std::vector<float> scales(k->tile_rows, 0.5f);
      scales[1] = kNaN;
      const Tile tile(*k, dim, 2, k->tile_rows, scales.data());
      for (const TileHit& hit : tile.run({-kInfinity, -kInfinity})) {
        if (hit.row == 1) {
          EXPECT_TRUE(std::isnan(hit.score));
        } else {
          EXPECT_NEAR(static_cast<double>(hit.score), tile.exact(hit.query, hit.row) / 2, 1e-4);
        }
      }
      EXPECT_EQ(tile.run({kInfinity, kInfinity}).size(), 2u) << k->name;
    }
  }
}

}  // namespace
}  // namespace srvdb::testing
