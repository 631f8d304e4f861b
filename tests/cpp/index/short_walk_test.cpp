// Walks that go by short codes of components.

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "index/index_cases.h"
#include "index/short_code_cases.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/index/short_code_trial.h"

namespace srvdb::testing {
namespace {

constexpr std::size_t kDim = 200;  // codes of 256 bytes, so short ones of 64
constexpr std::size_t kWide = 20;
constexpr Row kRows = 5000;

// Rows of which kWide directions hold 97 %, by what is left nearest rows are told apart.
std::vector<float> flat_rows(std::size_t n, std::uint32_t seed) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> directions(kWide * kDim);
  for (float& x : directions) x = normal(random);
  random.seed(seed);
  std::vector<float> out(n * kDim);
  for (std::size_t i = 0; i < n; ++i) {
    float* const row = out.data() + i * kDim;
    for (std::size_t d = 0; d < kDim; ++d) row[d] = 0.8F * normal(random);
    for (std::size_t w = 0; w < kWide; ++w) {
      const float along = normal(random);
      for (std::size_t d = 0; d < kDim; ++d) row[d] += along * directions[w * kDim + d];
    }
  }
  return out;
}

std::optional<Reduction> trained(const TestRows& rows, Metric metric) {
  return Reduction::train(addresses(rows), rows.dim(), metric, nullptr);
}

class ShortWalk : public ::testing::TestWithParam<Metric> {
 protected:
  const TestGraph data_{flat_rows(kRows, 1), kDim, GetParam(), 2};
  const TestShortCodes short_{data_.rows, trained(data_.rows, GetParam())};
  const std::vector<float> queries_ = flat_rows(100, 2);
};

TEST_P(ShortWalk, FindsNearlyWhatAWalkByUsualCodesFinds) {
  ASSERT_TRUE(short_.made());
  std::vector<Row> gone;
  for (Row r = 0; r < kRows; r += 3) gone.push_back(r);
  const RowBitmap third = RowBitmap().with_rows(gone);
  for (const RowBitmap* excluded : {static_cast<const RowBitmap*>(nullptr), &third}) {
    const auto recall_of = [&](const ShortCodes& codes) {
      return recall(data_.rows, GetParam(), queries_, 10, excluded, [&](const float* query) {
        const GraphSearchOptions options{
            .k = 10, .ef = 60, .excluded = excluded, .short_codes = codes, .way = SearchWay::kWalk};
        return data_.search(query, options).rows;
      });
    };
    const double usual = recall_of({});
    EXPECT_EQ(short_.looks(), 0u);
    EXPECT_GE(recall_of(short_.of_rows(kRows)), usual - 0.02);
    EXPECT_GT(short_.looks(), 0u);
  }
}

TEST_P(ShortWalk, GoesByUsualCodesWhereShortOnesDoNotCoverTheRows) {
  ASSERT_TRUE(short_.made());
  for (std::size_t q = 0; q < 20; ++q) {
    const float* const query = queries_.data() + q * kDim;
    const auto usual = data_.search(query, {.k = 10, .ef = 30}).rows;
    GraphSearchOptions options{.k = 10, .ef = 30, .short_codes = short_.of_rows(kRows - 1)};
    EXPECT_TRUE(same(data_.search(query, options).rows, usual));
    EXPECT_EQ(short_.looks(), 0u);
    options.limit = kRows - 1;
    data_.search(query, options);
    EXPECT_GT(short_.looks(), 0u);
  }
}

TEST_P(ShortWalk, AnswersInABatchAsOneByOne) {
  ASSERT_TRUE(short_.made());
  const GraphSearchOptions options{.k = 10, .ef = 30, .short_codes = short_.of_rows(kRows)};
  std::vector<GraphResult> results(100);
  graph_search_batch(*data_.graph, data_.rows.view(), data_.codes_view(), data_.quantizer,
                     queries_.data(), 100, options, results.data());
  for (std::size_t q = 0; q < 100; ++q) {
    const auto one = data_.search(queries_.data() + q * kDim, options).rows;
    EXPECT_TRUE(same(results[q].rows, one)) << q;
  }
}

TEST_P(ShortWalk, LeavesThemAloneInAScan) {
  ASSERT_TRUE(short_.made());
  data_.search(queries_.data(),
               {.k = 10, .ef = 30, .short_codes = short_.of_rows(kRows), .way = SearchWay::kScan});
  EXPECT_EQ(short_.looks(), 0u);
}

// Bytes under l2 have exact codes, and no rows are read: scores come from keys of usual codes.
TEST(ShortWalkOfBytes, ScoresAreThoseOfTheRows) {
  const auto bytes = [](std::vector<float> values) {
    for (float& x : values) x = std::clamp(std::round(8 * x + 128), 0.0F, 255.0F);
    return values;
  };
  const TestGraph data(bytes(flat_rows(kRows, 1)), kDim, Metric::kL2, 2);
  const TestShortCodes shorter(data.rows, trained(data.rows, Metric::kL2));
  ASSERT_TRUE(shorter.made());
  const std::vector<float> errors(kRows, 0);
  CodesView codes = data.codes_view();
  codes.errors = errors.data();
  const std::vector<float> queries = bytes(flat_rows(20, 2));
  for (std::size_t q = 0; q < 20; ++q) {
    const float* const query = queries.data() + q * kDim;
    const auto found = graph_search(*data.graph, data.rows.view(), codes, data.quantizer, query,
                                    {.k = 10, .ef = 30, .short_codes = shorter.of_rows(kRows)})
                           .rows;
    ASSERT_EQ(found.size(), 10u);
    for (const ScoredRow& hit : found) {
      double square = 0;
      for (std::size_t d = 0; d < kDim; ++d) {
        const double off = static_cast<double>(query[d] - data.rows.at(hit.row)[d]);
        square += off * off;
      }
      EXPECT_EQ(hit.score, -square);
    }
    EXPECT_TRUE(std::is_sorted(found.begin(), found.end(), better));
  }
}

// Groups along one line, side by side where no component looks: short codes cannot tell them apart.
TEST(ShortCodeTrial, SeesRowsThatShortCodesTakeForNear) {
  constexpr Row kMany = 20'000;
  constexpr std::size_t kSeen = 66;  // of this many dimensions are the components
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> line(kSeen);
  std::vector<float> offsets(20 * kDim);
  for (float& x : line) x = normal(random);
  for (float& x : offsets) x = normal(random);
  std::vector<float> values(kMany * kDim);
  std::vector<float> seen(kMany * kDim);
  for (Row r = 0; r < kMany; ++r) {
    const float along = normal(random);
    for (std::size_t d = 0; d < kDim; ++d) {
      const std::size_t at = r * kDim + d;
      values[at] = d < kSeen ? along * line[d] : offsets[r % 20 * kDim + d];
      seen[at] = d < kSeen ? along * line[d] + 0.01F * normal(random) : 0;
    }
  }
  const TestRows rows(std::move(values), kDim);
  const TestCodes codes(rows, Metric::kL2);
  std::vector<Row> sample;
  std::vector<const float*> at;
  for (Row r = 0; r < kMany; r += 3) {
    sample.push_back(r);
    at.push_back(seen.data() + r * kDim);
  }
  const auto reduction = Reduction::train(at, kDim, Metric::kL2, nullptr);
  ASSERT_TRUE(reduction);
  const auto agreement = [&](std::span<const Row> others) {
    return try_short_codes(*reduction, rows.view(), codes.view(), codes.quantizer(), kMany, others,
                           nullptr);
  };
  EXPECT_LT(agreement(sample), 0.75);
  EXPECT_GT(agreement({}), 0.95);  // they are not among the 200 nearest
}

TEST(ShortCodeTrial, SaysNothingOfRowsThatAreAllAlike) {
  const TestRows rows(std::vector<float>(1000 * kDim, 3), kDim);
  const TestCodes codes(rows, Metric::kL2);
  const TestRows others(flat_rows(1000, 1), kDim);
  std::vector<const float*> at;
  for (Row r = 0; r < 1000; ++r) at.push_back(others.at(r));
  const auto reduction = Reduction::train(at, kDim, Metric::kL2, nullptr);
  ASSERT_TRUE(reduction);
  EXPECT_EQ(
      try_short_codes(*reduction, rows.view(), codes.view(), codes.quantizer(), 1000, {}, nullptr),
      1);
}

INSTANTIATE_TEST_SUITE_P(Metrics, ShortWalk, ::testing::ValuesIn(kMetrics));

}  // namespace
}  // namespace srvdb::testing
