// Where a walk ends: about ef rows on average, fewer for easy queries, at most twice as many; and
// the intrinsic dimension that this goes by.
#include "srvdb/index/walk_pool.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "index/index_cases.h"
#include "srvdb/index/bulk_build.h"
#include "srvdb/index/graph_reach.h"

namespace srvdb::testing {
namespace {

// Rows in a flat of `flat` dimensions in a space of `dim`.
std::vector<float> in_a_flat(Row n, std::size_t flat, std::size_t dim, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> axes(flat * dim);
  for (float& x : axes) x = normal(random);
  std::vector<float> out(std::size_t{n} * dim);
  for (Row r = 0; r < n; ++r) {
    for (std::size_t a = 0; a < flat; ++a) {
      const float at = uniform(random);
      for (std::size_t i = 0; i < dim; ++i) out[r * dim + i] += at * axes[a * dim + i];
    }
  }
  return out;
}

TEST(IntrinsicDimension, OfARowIsWhatItsNearRowsGrowBy) {
  for (const double dimension : {1.0, 4.0, 12.0, 40.0}) {
    const auto square = [&](std::size_t i) { return std::pow(double(i + 1), 2 / dimension); };
    for (const std::size_t n : {16, 24, 200}) {
      EXPECT_NEAR(IntrinsicDimension::of_row(n, square), dimension, 1e-4 * dimension);
    }
  }
}

TEST(IntrinsicDimension, IsNotToldByFewOrEqualRowsAndStaysInItsRange) {
  EXPECT_EQ(IntrinsicDimension::of_row(15, [](std::size_t i) { return i + 1; }), 0);
  EXPECT_EQ(IntrinsicDimension::of_row(24, [](std::size_t i) { return i / 8; }), 0);  // equal rows
  EXPECT_EQ(IntrinsicDimension::of_row(24, [](std::size_t) { return 5; }), 100);      // in a shell
  EXPECT_EQ(IntrinsicDimension::of_row(24, [](std::size_t i) { return std::exp(i); }), 0.5);
}

TEST(IntrinsicDimension, OfASetIsTheMeanOfItsRowsThatTell) {
  IntrinsicDimension mean;
  EXPECT_EQ(mean.mean(), 0);
  mean = mean.with(std::vector<float>{2, 0, 4});
  EXPECT_EQ(mean.mean(), 3);
  EXPECT_EQ(mean.rows(), 2u);
  mean = mean.with(std::vector<float>{0, 0});
  EXPECT_EQ(mean.rows(), 2u);
  mean = mean.with(std::vector<float>{6, 8});
  EXPECT_EQ(mean.mean(), 5);
  mean = mean.with(std::vector<float>(3 << 20, 1.0F));
  EXPECT_EQ(mean.rows(), 1u << 20);
}

TEST(IntrinsicDimension, OfASetIsNotKnownFromFewOfItsRows) {
  const auto known = IntrinsicDimension().with(std::vector<float>(100, 7.0F));
  EXPECT_EQ(known.of(100), 7);
  EXPECT_EQ(known.of(800), 7);
  EXPECT_EQ(known.of(1000), 0);
  EXPECT_EQ(IntrinsicDimension().of(0), 0);
}

TEST(IntrinsicDimension, IsAboutThatOfTheRowsHoweverTheyAreLinked) {
  for (const std::size_t flat : {3, 8}) {
    const TestGraph data(in_a_flat(6000, flat, 32, 1), 32, Metric::kL2);
    const auto bulk = bulk_build(data.graph->params(), data.codes_view(), 6000, {.threads = 2});
    for (const Graph* graph : {data.graph.get(), bulk.get()}) {
      const double dimension = graph->dimension().mean();
      EXPECT_GT(dimension, 0.7 * double(flat));
      EXPECT_LT(dimension, 1.3 * double(flat));
      EXPECT_GT(graph->dimension().rows(), 5500u);
    }
  }
}

TEST(IntrinsicDimension, IsNotKnownUnderInnerProducts) {
  const TestGraph data(in_a_flat(2000, 4, 16, 2), 16, Metric::kIp);
  EXPECT_EQ(data.graph->dimension().rows(), 0u);
}

// Mean number of rows expanded by searches for rows of `queries`.
double expanded(const TestGraph& data, const std::vector<float>& queries, std::size_t ef,
                std::size_t k = 10) {
  WalkCounts counts;
  const std::size_t dim = data.rows.dim();
  const std::size_t n = queries.size() / dim;
  for (std::size_t q = 0; q < n; ++q) {
    const auto found = data.search(queries.data() + q * dim, {.k = k, .ef = ef, .counts = &counts});
    EXPECT_EQ(found.rows.size(), k);
  }
  return static_cast<double>(counts.expanded) / static_cast<double>(n);
}

TEST(WalkPool, AboutEfRowsAreExpandedOnAverage) {
  const auto values = in_a_flat(8200, 8, 32, 3);
  const TestGraph data({values.begin(), values.begin() + 8000 * 32}, 32, Metric::kL2);
  const std::vector<float> queries(values.begin() + 8000 * 32, values.end());
  for (const std::size_t ef : {20, 50, 150}) {
    const double mean = expanded(data, queries, ef);
    EXPECT_GT(mean, 0.7 * double(ef));
    EXPECT_LT(mean, 1.5 * double(ef));
  }
}

TEST(WalkPool, ASearchWhoseRowsAreAllAboutAsNearExpandsTwiceEf) {
  const auto values = in_a_flat(6000, 4, 32, 4);
  const TestGraph data(values, 32, Metric::kL2);
  const std::vector<float> far(32, 1000);  // everything is about as far away
  EXPECT_NEAR(expanded(data, far, 100), 200, 12);
  data.graph->set_dimension({});
  EXPECT_NEAR(expanded(data, far, 100), 100, 12);
}

TEST(WalkPool, ASearchMayBeNarrowerThanItsAnswerIsLong) {
  const auto values = in_a_flat(6000, 8, 32, 5);
  const TestGraph data(values, 32, Metric::kL2);
  const std::vector<float> queries(values.begin(), values.begin() + 200 * 32);
  EXPECT_LT(expanded(data, queries, 10, 40), 25);
  EXPECT_GE(expanded(data, queries, 40, 40), 38);
  data.graph->set_dimension({});  // then ef is raised to k
  EXPECT_GE(expanded(data, queries, 10, 40), 40);
}

TEST(WalkPool, ASearchFarTooNarrowForItsAnswerStillWalksUntilItHasIt) {
  const auto values = in_a_flat(6000, 8, 32, 8);
  const TestGraph data(values, 32, Metric::kL2);
  const GraphResult result = data.search(data.rows.at(0), {.k = 1500, .ef = 1});
  EXPECT_EQ(result.rows.size(), 1500u);
  EXPECT_FALSE(result.scanned);
}

class WalkPoolOf : public ::testing::TestWithParam<Metric> {};
INSTANTIATE_TEST_SUITE_P(Metrics, WalkPoolOf, ::testing::Values(Metric::kCosine, Metric::kL2));

// Copies of rows with so little noise that codes of one scale are the same for all of a kind, in
// turns.
std::vector<float> copies(Row kinds, Row of_each) {
  constexpr std::size_t kDim = 64;
  const auto centres = clustered(kinds, kDim, 1, 1, 6);
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 0.002F);
  std::vector<float> values;
  for (Row r = 0; r < kinds * of_each; ++r) {
    for (std::size_t i = 0; i < kDim; ++i) {
      values.push_back(centres[(r % kinds) * kDim + i] + normal(random));
    }
  }
  return values;
}

// Of 10 for each query, which are the rows 0, step, 2 step, ...
std::size_t found_of(const TestGraph& data, Metric metric, Row queries, Row step) {
  std::size_t right = 0;
  for (Row q = 0; q < queries; ++q) {
    const float* const query = data.rows.at(q * step);
    const auto want = brute_force(data.rows.view(), metric, query, {.k = 10});
    for (const ScoredRow& row : data.search(query, {.k = 10, .ef = 20}).rows) {
      right += row.score >= want.back().score ? 1u : 0u;
    }
  }
  return right;
}

TEST_P(WalkPoolOf, RowsThatCodesCannotTellApartAreKeptForExactScores) {
  const TestGraph data(copies(80, 50), 64, GetParam());
  EXPECT_GE(found_of(data, GetParam(), 200, 1), 200 * 10 * 0.95);
}

// Each entry row is of the first kind, as rows between them are as many as there are kinds.
TEST_P(WalkPoolOf, EntryRowsThatCodesCannotTellApartAreKeptToo) {
  const TestGraph data(copies(64, 64), 64, GetParam());
  ASSERT_EQ(entry_row(4096, entry_count(4096), 1), 64u);
  EXPECT_GE(found_of(data, GetParam(), 64, 64), 64 * 10 * 0.95);
}

}  // namespace
}  // namespace srvdb::testing
