// Walks that ask signs which rows to measure.

#include <gtest/gtest.h>

#include <random>

#include "index/index_cases.h"
#include "index/short_code_cases.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/index/short_code_trial.h"

namespace srvdb::testing {
namespace {

constexpr std::size_t kDim = 512;
constexpr Row kRows = 6000;

// Rows in groups about a ring, each in six directions that it shares with the groups beside it:
// many in all, few about a row.
std::vector<float> grouped_rows(std::size_t n, std::uint32_t seed) {
  constexpr std::size_t kDirections = 240;
  constexpr std::size_t kOwn = 6;
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> directions(kDirections * kDim);
  for (float& x : directions) x = normal(random);
  random.seed(seed);
  std::vector<float> out(n * kDim);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t first = 2 * (random() % (kDirections / 2));
    for (std::size_t w = 0; w < kOwn; ++w) {
      const float* const direction = directions.data() + (first + w) % kDirections * kDim;
      const float along = normal(random);
      for (std::size_t d = 0; d < kDim; ++d) out[i * kDim + d] += along * direction[d];
    }
  }
  return out;
}

SignQuantizer trained(const TestRows& rows, Metric metric) {
  return SignQuantizer::train(addresses(rows), rows.dim(), metric);
}

class SignWalk : public ::testing::TestWithParam<Metric> {
 protected:
  const TestGraph data_{grouped_rows(kRows, 1), kDim, GetParam(), 2};
  const TestShortCodes signs_{data_.rows, trained(data_.rows, GetParam())};
  const std::vector<float> queries_ = grouped_rows(100, 2);
};

TEST_P(SignWalk, LeavesManyRowsOutAndFindsNearlyTheSame) {
  WalkCounts counts;
  const auto recall_of = [&](const ShortCodes& codes) {
    counts = {};
    return recall(data_.rows, GetParam(), queries_, 10, nullptr, [&](const float* query) {
      return data_
          .search(
              query,
              {.k = 10, .ef = 60, .short_codes = codes, .way = SearchWay::kWalk, .counts = &counts})
          .rows;
    });
  };
  const double usual = recall_of({});
  EXPECT_EQ(counts.left_out, 0u);
  EXPECT_EQ(signs_.looks(), 0u);
  EXPECT_GE(recall_of(signs_.of_rows(kRows)), usual - 0.02);
  EXPECT_GT(counts.left_out, counts.seen / 10);
  EXPECT_LE(counts.left_out, signs_.looks());
}

TEST_P(SignWalk, AsksThemWhereAFewRowsAreExcludedAndReturnsNoneOfThese) {
  std::vector<Row> rows;
  for (Row r = 0; r < kRows; r += 20) rows.push_back(r);
  const RowBitmap gone = RowBitmap().with_rows(rows);
  const auto recall_of = [&](const ShortCodes& codes) {
    return recall(data_.rows, GetParam(), queries_, 10, &gone, [&](const float* query) {
      const auto found =
          data_.search(query, {.k = 10, .ef = 60, .excluded = &gone, .short_codes = codes}).rows;
      EXPECT_EQ(found.size(), 10u);
      for (const ScoredRow& hit : found) EXPECT_FALSE(gone.test(hit.row));
      return found;
    });
  };
  const double usual = recall_of({});
  EXPECT_EQ(signs_.looks(), 0u);
  EXPECT_GE(recall_of(signs_.of_rows(kRows)), usual - 0.02);
  EXPECT_GT(signs_.looks(), 0u);
}

TEST_P(SignWalk, AsksNoneWhereTheyDoNotCoverTheRowsOrManyAreExcludedOrAllAreScanned) {
  std::vector<Row> many;
  for (Row r = 0; r < kRows; r += 5) many.push_back(r);
  const RowBitmap gone = RowBitmap().with_rows(many);
  for (std::size_t q = 0; q < 20; ++q) {
    const float* const query = queries_.data() + q * kDim;
    for (const GraphSearchOptions& options :
         {GraphSearchOptions{.k = 10, .ef = 60, .short_codes = signs_.of_rows(kRows - 1)},
          GraphSearchOptions{
              .k = 10, .ef = 60, .excluded = &gone, .short_codes = signs_.of_rows(kRows)},
          GraphSearchOptions{
              .k = 10, .short_codes = signs_.of_rows(kRows), .way = SearchWay::kScan}}) {
      GraphSearchOptions without = options;
      without.short_codes = {};
      EXPECT_TRUE(same(data_.search(query, options).rows, data_.search(query, without).rows));
      EXPECT_EQ(signs_.looks(), 0u);
    }
  }
}

TEST_P(SignWalk, AnswersInABatchAsOneByOne) {
  const GraphSearchOptions options{.k = 10, .ef = 60, .short_codes = signs_.of_rows(kRows)};
  std::vector<GraphResult> results(100);
  graph_search_batch(*data_.graph, data_.rows.view(), data_.codes_view(), data_.quantizer,
                     queries_.data(), 100, options, results.data());
  for (std::size_t q = 0; q < 100; ++q) {
    const auto one = data_.search(queries_.data() + q * kDim, options).rows;
    EXPECT_TRUE(same(results[q].rows, one)) << q;
  }
  EXPECT_GT(signs_.looks(), 0u);
}

TEST_P(SignWalk, FindsARowByItselfAsOftenAsWithout) {
  std::size_t without = 0;
  std::size_t with = 0;
  for (Row r = 0; r < kRows; r += 40) {
    GraphSearchOptions options{.k = 1, .ef = 40};
    without += data_.search(data_.rows.at(r), options).rows.at(0).row == r ? 1u : 0u;
    options.short_codes = signs_.of_rows(kRows);
    with += data_.search(data_.rows.at(r), options).rows.at(0).row == r ? 1u : 0u;
  }
  EXPECT_GE(with + 2, without);
}

TEST_P(SignWalk, StopsAtItsBudgetAndLeavesABarredRowOut) {
  const float* const query = data_.rows.at(7);
  GraphSearchOptions options{.k = 10, .ef = 60, .barred = 7, .short_codes = signs_.of_rows(kRows)};
  for (const ScoredRow& hit : data_.search(query, options).rows) EXPECT_NE(hit.row, 7u);
  SignQuantizer::Scratch scratch;
  SignQuery prepared;
  const ShortCodes codes = signs_.of_rows(kRows);
  CodeQuery usual;
  data_.quantizer.prepare(query, usual);
  WalkCounts counts;
  std::vector<Neighbor> found;
  const WalkEnd end = graph_walk(*data_.graph, data_.codes_view(), CodeDistance(usual),
                                 {.ef = 60,
                                  .wanted = 10,
                                  .budget = 400,
                                  .signs = {.codes = codes.codes,
                                            .quantizer = codes.coder->signs(),
                                            .vector = query,
                                            .scratch = &scratch,
                                            .query = &prepared},
                                  .counts = &counts},
                                 found);
  EXPECT_EQ(end, WalkEnd::kOverBudget);
  EXPECT_LT(counts.seen, 450u);
  EXPECT_GT(counts.left_out, 0u);
}

// Usual codes hold such a query only cut off: what they say cannot be compared with signs.
TEST(SignWalkUnderL2, AsksNoneWhereTheQueryLiesFarOutsideOfWhatCodesHold) {
  const TestGraph data(grouped_rows(kRows, 1), kDim, Metric::kL2, 2);
  const TestShortCodes signs(data.rows, trained(data.rows, Metric::kL2));
  for (std::size_t q = 0; q < 10; ++q) {
    std::vector<float> query(data.rows.at(static_cast<Row>(q)),
                             data.rows.at(static_cast<Row>(q)) + kDim);
    for (float& x : query) x *= 1e4F;
    GraphSearchOptions options{.k = 10, .ef = 60};
    const auto without = data.search(query.data(), options).rows;
    options.short_codes = signs.of_rows(kRows);
    EXPECT_TRUE(same(data.search(query.data(), options).rows, without)) << q;
  }
  EXPECT_EQ(signs.looks(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Metrics, SignWalk, ::testing::ValuesIn(kMetrics));

// ---- the trial ---------------------------------------------------------------------------------

TEST(SignTrial, NearRowsPassAndFarOnesDoNotWhereRowsHaveFewDirectionsAboutThem) {
  for (const Metric metric : kMetrics) {
    const TestRows rows(grouped_rows(kRows, 1), kDim);
    const TestCodes codes(rows, metric);
    const SignAgreement found = try_signs(trained(rows, metric), rows.view(), codes.view(),
                                          codes.quantizer(), kRows, nullptr);
    EXPECT_GE(found.near_pass, 0.95) << metric_name(metric);
    EXPECT_LE(found.far_pass, 0.35) << metric_name(metric);
  }
}

// Groups far apart, of rows as many as a walk keeps several times over, which differ by little.
TEST(SignTrial, NearRowsDoNotPassInClustersThatSignsCannotSeeInto) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> centres(10 * kDim);
  for (float& x : centres) x = normal(random);
  std::vector<float> values(kRows * kDim);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = centres[i / kDim % 10 * kDim + i % kDim] + 0.02F * normal(random);
  }
  const TestRows rows(std::move(values), kDim);
  const TestCodes codes(rows, Metric::kL2);
  const SignAgreement found = try_signs(trained(rows, Metric::kL2), rows.view(), codes.view(),
                                        codes.quantizer(), kRows, nullptr);
  EXPECT_LT(found.near_pass, 0.8);
}

TEST(SignTrial, SaysNothingOfFewRowsOrEqualOnes) {
  const TestRows few(grouped_rows(150, 1), kDim);
  const TestRows equal(std::vector<float>(1000 * kDim, 3), kDim);
  for (const TestRows* rows : {&few, &equal}) {
    const TestCodes codes(*rows, Metric::kL2);
    const SignAgreement found = try_signs(trained(*rows, Metric::kL2), rows->view(), codes.view(),
                                          codes.quantizer(), rows->size(), nullptr);
    EXPECT_EQ(found.near_pass, 1);
    EXPECT_EQ(found.far_pass, 1);
  }
}

}  // namespace
}  // namespace srvdb::testing
