// The proven margins hold, on data made to break them, and are not so wide as to be useless.
#include "srvdb/distance/margin.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "simd/kernel_cases.h"
#include "srvdb/base/aligned.h"
#include "srvdb/distance/metric.h"

namespace srvdb::testing {
namespace {

using simd::Kernels;
using simd::supported_kernels;
using simd::TileHit;

// Large terms that cancel, so that the result is nothing but rounding error.
std::vector<float> cancelling(std::size_t dim, bool negated) {
  std::vector<float> out(dim);
  for (std::size_t i = 0; i < dim; ++i) {
    const float magnitude = 1000.0f + 0.1f * static_cast<float>(i / 2 * 2);
    out[i] = negated && i % 2 == 1 ? -magnitude : magnitude;
  }
  return out;
}

// The score of one row and one query packed alone.
float tile_score(const Kernels& k, const float* q, const float* x, std::size_t dim,
                 const float* q_scale, const float* x_scale, const float* bias) {
  AlignedBuffer<float> queries(dim * k.tile_queries), rows(dim * k.tile_rows);
  k.pack_queries(&q, 1, dim, q_scale, queries.data());
  k.pack_rows(&x, 1, dim, x_scale, rows.data());
  const float threshold = -std::numeric_limits<float>::infinity();
  TileHit hit{};
  EXPECT_EQ(k.tile_dot(rows.data(), bias, 1, queries.data(), &threshold, 1, dim, &hit), 1u);
  return hit.score;
}

struct Pair {
  std::vector<float> q, x;
};

std::vector<Pair> adversarial_pairs(std::size_t dim) {
  std::vector<Pair> pairs;
  pairs.push_back({cancelling(dim, false), cancelling(dim, true)});
  pairs.push_back({std::vector<float>(dim, 0.1f), std::vector<float>(dim, 0.1f)});
  for (const Values kind : kAllValues) {
    pairs.push_back({make_values(kind, dim, 31), make_values(kind, dim, 32)});
  }
  auto far = make_values(Values::kOrdinary, dim, 33);  // far from the origin, close together
  auto near = far;
  for (std::size_t i = 0; i < dim; ++i) {
    far[i] += 4096;
    near[i] += 4096.5f;
  }
  pairs.push_back({far, near});
  return pairs;
}

TEST(Margin, HoldsForPairsOnAdversarialData) {
  for (const Kernels* k : supported_kernels()) {
    for (const std::size_t dim : ragged_dims()) {
      for (const Pair& pair : adversarial_pairs(dim)) {
        const double nq = reference_norm(pair.q.data(), dim);
        const double nx = reference_norm(pair.x.data(), dim);
        const auto dot = static_cast<double>(k->dot_f32(pair.q.data(), pair.x.data(), dim));
        EXPECT_LE(std::abs(dot - reference_dot(pair.q.data(), pair.x.data(), dim)),
                  dot_margin(dim, nq, nx));
        const auto l2 = static_cast<double>(k->l2sq_f32(pair.q.data(), pair.x.data(), dim));
        EXPECT_LE(std::abs(l2 - reference_l2(pair.q.data(), pair.x.data(), dim)),
                  l2_margin(dim, l2));
      }
    }
  }
}

TEST(Margin, HoldsForTilesUnderL2) {
  for (const Kernels* k : supported_kernels()) {
    for (const std::size_t dim : ragged_dims()) {
      for (const Pair& pair : adversarial_pairs(dim)) {
        const double nq = reference_norm(pair.q.data(), dim);
        const double nx = reference_norm(pair.x.data(), dim);
        const auto bias = static_cast<float>(-nx * nx / 2);
        const auto score = static_cast<double>(
            tile_score(*k, pair.q.data(), pair.x.data(), dim, nullptr, nullptr, &bias));
        const double exact = (nq * nq - reference_l2(pair.q.data(), pair.x.data(), dim)) / 2;
        // The reference itself is rounded to double.
        const double room = 1e-14 * (nq * nq + nx * nx);
        EXPECT_LE(std::abs(score - exact), tile_l2_margin(dim, nq, nx) + room)
            << describe(*k, dim, Values::kOrdinary);
      }
    }
  }
}

TEST(Margin, HoldsForTilesOfUnitRows) {
  for (const Kernels* k : supported_kernels()) {
    for (const std::size_t dim : ragged_dims()) {
      for (const Pair& pair : adversarial_pairs(dim)) {
        const double nq = reference_norm(pair.q.data(), dim);
        const double nx = reference_norm(pair.x.data(), dim);
        const float q_scale = tile_scale(nq);
        const float x_scale = tile_scale(nx);
        const float score =
            tile_score(*k, pair.q.data(), pair.x.data(), dim, &q_scale, &x_scale, nullptr);
        if (std::isnan(q_scale) || std::isnan(x_scale)) {
          EXPECT_TRUE(std::isnan(score));
          continue;
        }
        const double exact = exact_score(Metric::kCosine, pair.q.data(), pair.x.data(), dim);
        EXPECT_LE(std::abs(static_cast<double>(score) - exact), tile_cosine_margin(dim));
      }
    }
  }
}

TEST(Margin, IsInfiniteWhereFloatsCouldOverflow) {
  EXPECT_TRUE(std::isinf(dot_margin(128, 1e20, 1e20)));
  EXPECT_TRUE(std::isinf(l2_margin(128, std::numeric_limits<double>::infinity())));
  EXPECT_TRUE(std::isinf(tile_l2_margin(128, 1, 1e20)));
  EXPECT_TRUE(std::isinf(tile_l2_margin(128, 1e38, 1e10)));
}

TEST(Margin, IsSmallForOrdinaryData) {
  EXPECT_LT(dot_margin(768, 1, 1), 1e-4);
  EXPECT_LT(l2_margin(768, 1), 1e-4);
  EXPECT_LT(tile_cosine_margin(768), 1e-4);
  EXPECT_LT(tile_l2_margin(128, 512, 512), 4);
}

TEST(Margin, GrowsWithTheNormOfTheRow) {
  double last = 0;
  for (const double norm : {0.0, 1e-3, 1.0, 10.0, 1e9, 1e19, 1e30}) {
    const double margin = tile_l2_margin(100, 5, norm);
    EXPECT_GE(margin, last);
    last = margin;
  }
}

}  // namespace
}  // namespace srvdb::testing
