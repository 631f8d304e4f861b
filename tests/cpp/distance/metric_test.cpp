// Scores that users see: the definition of each metric, its edges, the same bits everywhere.
#include "srvdb/distance/metric.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "simd/kernel_cases.h"
#include "srvdb/base/error.h"

namespace srvdb::testing {
namespace {

constexpr Metric kMetrics[] = {Metric::kCosine, Metric::kIp, Metric::kL2};

TEST(Metric, NamesRoundTripAndUnknownOnesAreRefused) {
  for (const Metric metric : kMetrics) {
    EXPECT_EQ(parse_metric(metric_name(metric)), metric);
    EXPECT_EQ(metric_from_byte(static_cast<std::uint8_t>(metric)), metric);
  }
  EXPECT_EQ(metric_from_byte(3), std::nullopt);
  try {
    parse_metric("euclid");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidInput);
    EXPECT_NE(std::string(error.what()).find("euclid"), std::string::npos);
  }
}

TEST(Metric, ScoresFollowTheirDefinition) {
  const float q[] = {3, 4};
  const float x[] = {4, 3};
  EXPECT_DOUBLE_EQ(exact_score(Metric::kCosine, q, x, 2), 24.0 / 25.0);
  EXPECT_DOUBLE_EQ(exact_score(Metric::kIp, q, x, 2), 24);
  EXPECT_DOUBLE_EQ(exact_score(Metric::kL2, q, x, 2), -2);
  EXPECT_DOUBLE_EQ(score_to_distance(Metric::kCosine, 0.25), 0.75);
  EXPECT_DOUBLE_EQ(score_to_distance(Metric::kIp, 24), -24);
  EXPECT_DOUBLE_EQ(score_to_distance(Metric::kL2, -2), 2);
}

TEST(Metric, AVectorIsAtDistanceZeroFromItself) {
  const auto x = make_values(Values::kMixed, 100, 1);
  EXPECT_EQ(exact_score(Metric::kL2, x.data(), x.data(), 100), 0);
  EXPECT_FALSE(std::signbit(exact_score(Metric::kL2, x.data(), x.data(), 100)));
  EXPECT_FALSE(std::signbit(score_to_distance(Metric::kL2, 0.0)));
}

TEST(Metric, CosineStaysWithinOneAndIsZeroForZeroVectors) {
  const std::vector<float> zero(33, 0);
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    const auto x = make_values(Values::kMixed, 33, seed);
    auto y = x;
    for (float& c : y) c *= 3;
    const double score = exact_score(Metric::kCosine, x.data(), y.data(), 33);
    EXPECT_LE(score, 1.0);
    EXPECT_NEAR(score, 1.0, 1e-6);
    EXPECT_EQ(exact_score(Metric::kCosine, x.data(), zero.data(), 33), 0);
    EXPECT_EQ(exact_score(Metric::kCosine, zero.data(), x.data(), 33), 0);
  }
}

TEST(Metric, CosineOfTheSmallestAndLargestVectorsIsRight) {
  const std::vector<float> tiny(64, std::numeric_limits<float>::denorm_min());
  const std::vector<float> huge(64, std::numeric_limits<float>::max());
  EXPECT_DOUBLE_EQ(exact_score(Metric::kCosine, tiny.data(), huge.data(), 64), 1.0);
}

TEST(Metric, ScoresHaveTheSameBitsOnEveryInstructionSet) {
  for (const std::size_t dim : ragged_dims()) {
    for (const Values kind : kAllValues) {
      const auto q = make_values(kind, dim, 2);
      const auto x = make_values(kind, dim, 3);
      for (const Metric metric : kMetrics) {
        const ExactScorer first(metric, q.data(), dim, *simd::supported_kernels().front());
        const auto expected = std::bit_cast<std::uint64_t>(first.score(x.data()));
        for (const simd::Kernels* k : simd::supported_kernels()) {
          const ExactScorer scorer(metric, q.data(), dim, *k);
          EXPECT_EQ(std::bit_cast<std::uint64_t>(scorer.score(x.data())), expected)
              << describe(*k, dim, kind) << " " << metric_name(metric);
        }
      }
    }
  }
}

TEST(RoundUpToFloat, NeverRoundsDown) {
  for (const double value : {0.0, 1e-60, 0.1, 1.0, 1.0 + 1e-12, 16777217.0, 3.5e38}) {
    EXPECT_GE(static_cast<double>(round_up_to_float(value)), value);
  }
  EXPECT_EQ(round_up_to_float(1.0), 1.0f);
}

}  // namespace
}  // namespace srvdb::testing
