// Short codes: made where few directions hold what tells rows apart, and true to distances there.
#include "srvdb/quant/reduction.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <random>

#include "srvdb/base/error.h"
#include "srvdb/quant/principal_components.h"
#include "support/code_of.h"

namespace srvdb {
namespace {

constexpr Metric kMetrics[] = {Metric::kCosine, Metric::kIp, Metric::kL2};
constexpr std::size_t kDim = 200;  // codes of 256 bytes, the least that may have short ones

// Rows about `centre` (in every component) in `wide` random directions, with a little noise in all.
struct Rows {
  Rows(std::size_t n, std::size_t dim, std::size_t wide, float noise, float centre = 0,
       std::uint32_t seed = 1)
      : values(n * dim) {
    std::mt19937 random(7);  // the directions are the same whatever the seed
    std::normal_distribution<float> normal;
    std::vector<float> directions(wide * dim);
    for (float& x : directions) x = normal(random) / std::sqrt(static_cast<float>(dim));
    random.seed(seed);
    for (std::size_t i = 0; i < n; ++i) {
      float* const row = values.data() + i * dim;
      for (std::size_t d = 0; d < dim; ++d) row[d] = centre + noise * normal(random);
      for (std::size_t w = 0; w < wide; ++w) {
        const float along = normal(random);
        for (std::size_t d = 0; d < dim; ++d) row[d] += along * directions[w * dim + d];
      }
      at.push_back(row);
    }
  }
  std::vector<float> values;
  std::vector<const float*> at;
};

std::optional<Reduction> reduction_of(const Rows& rows, Metric metric, std::size_t dim = kDim) {
  return Reduction::train(rows.at, dim, metric, nullptr);
}

std::vector<std::uint8_t> code_of_row(const Reduction& reduction, const float* row) {
  Reduction::Scratch scratch;
  std::vector<std::uint8_t> code(reduction.stride());
  Reduction::Held held;
  reduction.encode(row, scratch, code.data(), held);
  return code;
}

TEST(PrincipalComponents, AreOrthonormalAndHoldWhatTheRowsDifferBy) {
  const Rows rows(2000, kDim, 10, 0.001F, 5);
  const auto found = principal_components(rows.at, kDim, Metric::kL2, 20, nullptr);
  ASSERT_EQ(found.shares.size(), 20u);
  EXPECT_LT(found.shares[4], 0.8);
  EXPECT_GT(found.shares[9], 0.999);
  EXPECT_TRUE(std::is_sorted(found.shares.begin(), found.shares.end()));
  for (std::size_t i = 0; i < 20; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      const float* const a = found.directions.data() + i * kDim;
      EXPECT_NEAR(exact_score(Metric::kIp, a, found.directions.data() + j * kDim, kDim),
                  i == j ? 1 : 0, 1e-4);
    }
  }
  for (const float x : found.mean) EXPECT_NEAR(static_cast<double>(x), 5, 0.1);
}

TEST(PrincipalComponents, ShareNothingWhereRowsDoNotDifferOrAreBeyondFloats) {
  const Rows equal(100, kDim, 0, 0, 3);
  Rows huge(100, kDim, 2, 1);
  for (float& x : huge.values) x *= 1e30F;
  for (const Rows* rows : {&equal, static_cast<const Rows*>(&huge)}) {
    const auto found = principal_components(rows->at, kDim, Metric::kL2, 8, nullptr);
    EXPECT_EQ(found.shares, std::vector<double>(8, 0));
    EXPECT_EQ(reduction_of(*rows, Metric::kL2), std::nullopt);
  }
}

TEST(Reduction, IsPossibleFromTheLengthAtWhichAQuarterOfTheCodeIsALine) {
  EXPECT_FALSE(Reduction::possible(1));
  EXPECT_FALSE(Reduction::possible(192));
  EXPECT_TRUE(Reduction::possible(193));  // its codes take 256 bytes
  EXPECT_TRUE(Reduction::possible(Reduction::kMostDimensions));
  EXPECT_FALSE(Reduction::possible(Reduction::kMostDimensions + 1));
}

TEST(Reduction, IsMadeWhereFewDirectionsHoldNearlyAllAndOnlyThere) {
  for (const Metric metric : kMetrics) {
    const auto narrow = reduction_of(Rows(1500, kDim, 40, 0.01F), metric);
    ASSERT_TRUE(narrow);
    EXPECT_EQ(narrow->components(), 64u);
    EXPECT_EQ(narrow->stride(), 64u);
    EXPECT_GE(narrow->share(), Reduction::kLeastShare);
    EXPECT_EQ(reduction_of(Rows(1500, kDim, 150, 0.01F), metric), std::nullopt);
  }
  EXPECT_EQ(Reduction::train({}, kDim, Metric::kL2, nullptr), std::nullopt);
}

// Between rows and queries of the same kind, the keys of short codes stand for nearly the true
// distances: they are off by less than a tenth of how much distances differ.
TEST(Reduction, KeysOfShortCodesTellDistances) {
  for (const Metric metric : kMetrics) {
    const Rows rows(1500, kDim, 40, 0.005F, 0.2F);
    const Rows queries(20, kDim, 40, 0.005F, 0.2F, 2);
    const auto reduction = reduction_of(rows, metric);
    ASSERT_TRUE(reduction);
    const auto mean = principal_components(rows.at, kDim, metric, 1, nullptr).mean;
    Reduction::Scratch scratch;
    CodeQuery prepared;
    for (const float* query : queries.at) {
      reduction->prepare(query, scratch, prepared);
      const CodeDistance distance(prepared);
      double sum = 0, squares = 0, off = 0;
      const double of_mean = exact_score(Metric::kIp, mean.data(), query, kDim);
      for (std::size_t i = 0; i < 200; ++i) {
        const double truth = exact_score(metric, rows.at[i], query, kDim);
        double said =
            prepared.approx_score(distance.key(code_of_row(*reduction, rows.at[i]).data()));
        if (metric == Metric::kIp) said += of_mean;
        if (metric == Metric::kCosine) said = 1 + said / 2;  // -|a - b|² of directions
        sum += truth;
        squares += truth * truth;
        off += (said - truth) * (said - truth);
      }
      const double deviation = std::sqrt(squares / 200 - sum / 200 * sum / 200);
      EXPECT_LT(std::sqrt(off / 200), 0.1 * deviation) << metric_name(metric);
    }
  }
}

// For one query, what all rows have in common adds the same to each product.
TEST(Reduction, WhatAllRowsHaveInCommonIsNoReasonForShortCodes) {
  for (const Metric metric : kMetrics) {
    EXPECT_EQ(reduction_of(Rows(1500, kDim, 0, 1, 20), metric), std::nullopt);
  }
}

TEST(Reduction, SaysWhatTheComponentsHoldOfRows) {
  for (const Metric metric : kMetrics) {
    const Rows rows(1500, kDim, 40, 0.01F, 0.1F);
    const auto reduction = reduction_of(rows, metric);
    ASSERT_TRUE(reduction);
    Reduction::Scratch scratch;
    std::vector<std::uint8_t> code(reduction->stride());
    Reduction::Held same;
    for (const float* row : rows.at) reduction->encode(row, scratch, code.data(), same);
    EXPECT_NEAR(same.share(), reduction->share(), 0.01);
    Reduction::Held others;
    const Rows noise(500, kDim, 0, 1);
    for (const float* row : noise.at) reduction->encode(row, scratch, code.data(), others);
    EXPECT_LT(others.share(), 0.6);
    EXPECT_EQ(Reduction::Held().share(), 1);
  }
}

TEST(Reduction, UnderCosineLengthsDoNotMatterAndAZeroRowHasACode) {
  const Rows rows(1500, kDim, 40, 0.01F);
  const auto reduction = reduction_of(rows, Metric::kCosine);
  ASSERT_TRUE(reduction);
  std::vector<float> longer(rows.at[3], rows.at[3] + kDim);
  for (float& x : longer) x *= 1024;
  EXPECT_EQ(code_of_row(*reduction, longer.data()), code_of_row(*reduction, rows.at[3]));
  const std::vector<float> zero(kDim, 0);
  EXPECT_EQ(code_of_row(*reduction, zero.data()).size(), 64u);
}

TEST(Reduction, TakesTheLargestFloats) {
  for (const Metric metric : kMetrics) {
    const auto reduction = reduction_of(Rows(1500, kDim, 40, 0.01F), metric);
    ASSERT_TRUE(reduction);
    const std::vector<float> row(kDim, std::numeric_limits<float>::max());
    Reduction::Scratch scratch;
    CodeQuery prepared;
    reduction->prepare(row.data(), scratch, prepared);
    CodeDistance(prepared).key(code_of_row(*reduction, row.data()).data());
  }
}

TEST(Reduction, ComesBackFromItsBytesAndOnlyFromThose) {
  for (const Metric metric : kMetrics) {
    const Rows rows(1500, kDim, 40, 0.01F);
    const auto reduction = reduction_of(rows, metric);
    ASSERT_TRUE(reduction);
    const std::string bytes = reduction->to_bytes();
    EXPECT_LE(bytes.size(), Reduction::kMostBytes);
    EXPECT_EQ(reduction_of(rows, metric)->to_bytes(), bytes);  // made again
    const Reduction back = Reduction::from_bytes(as_byte_span(bytes), kDim, metric);
    EXPECT_EQ(back.to_bytes(), bytes);
    EXPECT_EQ(back.share(), reduction->share());
    EXPECT_EQ(code_of_row(back, rows.at[5]), code_of_row(*reduction, rows.at[5]));
    const auto refused = [&](const std::string& other, std::size_t dim, Metric of) {
      return code_of([&] { Reduction::from_bytes(as_byte_span(other), dim, of); }) ==
             ErrorCode::kCorruption;
    };
    for (std::size_t at = 0; at < bytes.size(); at += at < 200 ? 1 : 97) {
      std::string flipped = bytes;
      flipped[at] = static_cast<char>(flipped[at] ^ 1);
      EXPECT_TRUE(refused(flipped, kDim, metric)) << at;
    }
    for (const std::size_t n : {std::size_t{0}, std::size_t{10}, bytes.size() - 1}) {
      EXPECT_TRUE(refused(bytes.substr(0, n), kDim, metric)) << n;
    }
    EXPECT_TRUE(refused(bytes + "x", kDim, metric));
    EXPECT_TRUE(refused(bytes, kDim + 1, metric));
    EXPECT_TRUE(refused(bytes, kDim, metric == Metric::kL2 ? Metric::kIp : Metric::kL2));
  }
}

TEST(Reduction, TrainingStopsWhenItIsTold) {
  const Rows rows(1500, kDim, 40, 0.01F);
  Interrupt interrupt;
  interrupt.stop();
  EXPECT_EQ(code_of([&] { Reduction::train(rows.at, kDim, Metric::kL2, &interrupt); }),
            ErrorCode::kInterrupted);
}

}  // namespace
}  // namespace srvdb
