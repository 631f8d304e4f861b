// Exact search equals brute force in double precision, bit for bit, whatever the data.
#include "srvdb/index/flat.h"

#include <gtest/gtest.h>

#include <functional>

#include "index/index_cases.h"
#include "simd/kernel_cases.h"
#include "srvdb/base/error.h"

namespace srvdb::testing {
namespace {

void expect_exact(const TestRows& rows, const std::vector<float>& queries,
                  const FlatOptions& options, const std::string& what) {
  for (const Metric metric : kMetrics) {
    const std::size_t n = queries.size() / rows.dim();
    const auto batch = flat_search_batch(rows.view(), metric, queries.data(), n, options);
    ASSERT_EQ(batch.size(), n);
    const TestCodes codes(rows, metric);
    const TestCodes some(rows, metric, rows.size() / 3 * 2 + 1);
    const auto coded_batch =
        flat_search_batch(rows.view(), metric, queries.data(), n, codes.over(options));
    ASSERT_EQ(coded_batch.size(), n);
    for (std::size_t q = 0; q < n; ++q) {
      const float* query = queries.data() + q * rows.dim();
      const auto truth = brute_force(rows.view(), metric, query, options);
      const std::string label = what + ", " + std::string(metric_name(metric)) + ", query " +
                                std::to_string(q) + ", dim " + std::to_string(rows.dim());
      ASSERT_EQ(flat_search(rows.view(), metric, query, options), truth) << label;
      ASSERT_EQ(batch[q], truth) << label << ", in a batch";
      ASSERT_EQ(flat_search(rows.view(), metric, query, codes.over(options)), truth)
          << label << ", by codes";
      ASSERT_EQ(flat_search(rows.view(), metric, query, some.over(options)), truth)
          << label << ", codes of a part";
      ASSERT_EQ(coded_batch[q], truth) << label << ", in a batch by codes";
    }
  }
}

TEST(FlatSearch, EqualsBruteForceAtRaggedDimensions) {
  for (const std::size_t dim : ragged_dims()) {
    const TestRows rows(make_values(Values::kOrdinary, 700 * dim, 1), dim, 333);
    const auto queries = make_values(Values::kOrdinary, 17 * dim, 2);
    expect_exact(rows, queries, {.k = 10}, "ordinary");
  }
}

TEST(FlatSearch, EqualsBruteForceOnHugeTinyAndMixedValues) {
  for (const Values kind : kAllValues) {
    for (const std::size_t dim : {std::size_t{5}, std::size_t{64}}) {
      const TestRows rows(make_values(kind, 600 * dim, 3), dim, 600);
      expect_exact(rows, make_values(kind, 5 * dim, 4), {.k = 7}, "kind of values");
      expect_exact(rows, make_values(Values::kMixed, 5 * dim, 5), {.k = 7}, "mixed queries");
    }
  }
}

TEST(FlatSearch, EqualsBruteForceNearTheLargestFloat) {
  const std::size_t dim = 8;
  auto values = make_values(Values::kOrdinary, 500 * dim, 6);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] *= i % 3 == 0 ? 1e37f : 1e-37f;
  const TestRows rows(values, dim, 100);
  auto queries = make_values(Values::kOrdinary, 6 * dim, 7);
  for (float& x : queries) x *= 1e37f;
  expect_exact(rows, queries, {.k = 20}, "near overflow");
}

TEST(FlatSearch, BreaksTiesByRowWithManyEqualRows) {
  const std::size_t dim = 12;
  const auto one = make_values(Values::kOrdinary, dim, 8);
  std::vector<float> values;
  for (int i = 0; i < 3000; ++i) values.insert(values.end(), one.begin(), one.end());
  const TestRows rows(values, dim, 1500);
  for (const std::size_t k : {std::size_t{1}, std::size_t{10}, std::size_t{400}}) {
    expect_exact(rows, make_values(Values::kOrdinary, 5 * dim, 9), {.k = k}, "equal rows");
  }
}

TEST(FlatSearch, TellsRowsApartThatFloat32CannotTell) {
  // Rows that differ by one unit of the last place of one component.
  const std::size_t dim = 96;
  const auto one = make_values(Values::kOrdinary, dim, 10);
  std::vector<float> values;
  std::mt19937 random(11);
  for (int i = 0; i < 2000; ++i) {
    values.insert(values.end(), one.begin(), one.end());
    float& x = values[values.size() - 1 - random() % dim];
    x = std::nextafter(x, random() % 2 == 0 ? 1e9f : -1e9f);
  }
  const TestRows rows(values, dim, 2000);
  auto queries = make_values(Values::kOrdinary, 4 * dim, 12);
  std::copy(one.begin(), one.end(), queries.begin());
  expect_exact(rows, queries, {.k = 10}, "near ties");
}

TEST(FlatSearch, OneGiantComponentDoesNotHideTheOthers) {
  const std::size_t dim = 32;
  auto values = make_values(Values::kOrdinary, 800 * dim, 13);
  for (std::size_t r = 0; r < 800; ++r) values[r * dim + 3] = 1e7f;
  auto queries = make_values(Values::kOrdinary, 5 * dim, 14);
  for (std::size_t q = 0; q < 5; ++q) queries[q * dim + 3] = 1e7f;
  expect_exact(TestRows(values, dim, 800), queries, {.k = 10}, "giant component");
}

TEST(FlatSearch, HandlesZeroRowsAndZeroQueries) {
  const std::size_t dim = 20;
  auto values = make_values(Values::kOrdinary, 400 * dim, 15);
  std::fill(values.begin(), values.begin() + 150 * 20, 0.0f);
  auto queries = make_values(Values::kOrdinary, 5 * dim, 16);
  std::fill(queries.begin(), queries.begin() + 20, 0.0f);
  expect_exact(TestRows(values, dim, 77), queries, {.k = 30}, "zeros");
}

TEST(FlatSearch, AnySizeOfAnswer) {
  const std::size_t dim = 6;
  const TestRows rows(make_values(Values::kOrdinary, 2500 * dim, 17), dim, 2000);
  const auto queries = make_values(Values::kOrdinary, 4 * dim, 18);
  for (const std::size_t k :
       std::vector<std::size_t>{0, 1, 255, 256, 257, 1000, 2499, 2500, 20'000}) {
    expect_exact(rows, queries, {.k = k}, "k " + std::to_string(k));
  }
}

TEST(FlatSearch, LeavesOutExcludedRowsAndRowsOutsideTheRange) {
  const std::size_t dim = 24;
  const TestRows rows(make_values(Values::kOrdinary, 1000 * dim, 19), dim, 640);
  std::vector<Row> dead;
  for (Row r = 0; r < 1000; r += 3) dead.push_back(r);
  const RowBitmap excluded = RowBitmap().with_rows(dead);
  const auto queries = make_values(Values::kOrdinary, 4 * dim, 20);
  expect_exact(rows, queries, {.k = 12, .excluded = &excluded}, "excluded");
  expect_exact(rows, queries, {.k = 12, .first = 600, .last = 700}, "range over the seam");
  expect_exact(rows, queries, {.k = 12, .first = 990, .last = 5000, .excluded = &excluded}, "end");
  expect_exact(rows, queries, {.k = 12, .first = 1000}, "nothing");
}

TEST(FlatSearch, SameAnswerOnAnyNumberOfThreads) {
  const std::size_t dim = 100;
  const TestRows rows(make_values(Values::kOrdinary, 9000 * dim, 21), dim, 5000);
  const auto queries = make_values(Values::kOrdinary, 30 * dim, 22);
  expect_exact(rows, queries, {.k = 10, .threads = 3}, "threads");
}

TEST(FlatSearch, StopsWhenInterrupted) {
  const std::size_t dim = 16;
  const TestRows rows(make_values(Values::kOrdinary, 500 * dim, 23), dim);
  const auto queries = make_values(Values::kOrdinary, 20 * dim, 24);
  Interrupt interrupt;
  interrupt.stop();
  const FlatOptions options{.k = 5, .interrupt = &interrupt};
  EXPECT_THROW(flat_search(rows.view(), Metric::kIp, queries.data(), options), Error);
  EXPECT_THROW(flat_search_batch(rows.view(), Metric::kIp, queries.data(), 20, options), Error);
}

// Refuses rows from a given one on.
class Refuse : public RowVerifier {
 public:
  explicit Refuse(Row bad) : bad_(bad) {}
  void verify(Row first, Row last) const override {
    if (first <= bad_ && bad_ < last) throw Error(ErrorCode::kCorruption, "damaged row");
  }

 private:
  Row bad_;
};

TEST(FlatSearch, NeverUsesADamagedRow) {
  const std::size_t dim = 16;
  const TestRows rows(make_values(Values::kOrdinary, 900 * dim, 25), dim, 800);
  const auto queries = make_values(Values::kOrdinary, 20 * dim, 26);
  for (const Row bad : {Row{0}, Row{63}, Row{64}, Row{500}, Row{799}}) {
    const Refuse refuse(bad);
    RowsView view = rows.view();
    view.verifier = &refuse;
    EXPECT_THROW(flat_search(view, Metric::kL2, queries.data(), {.k = 5}), Error);
    EXPECT_THROW(flat_search_batch(view, Metric::kL2, queries.data(), 20, {.k = 5}), Error);
    EXPECT_EQ(flat_search(view, Metric::kL2, queries.data(), {.k = 5, .first = 800}).size(), 5u);
  }
}

TEST(CodeSearch, FindsNearlyAllAndScoresExactly) {
  const std::size_t dim = 48;
  for (const Metric metric : kMetrics) {
    const TestGraph data(clustered(4000, dim, 1, 1, 27), dim, metric, 0);
    const auto queries = make_values(Values::kOrdinary, 50 * dim, 28);
    const double found = recall(data.rows, metric, queries, 10, nullptr, [&](const float* query) {
      auto hits = code_search(data.rows.view(), data.codes_view(), data.quantizer, metric, query, 2,
                              {.k = 10, .threads = 2});
      EXPECT_EQ(hits.size(), 10u);
      EXPECT_TRUE(std::is_sorted(hits.begin(), hits.end(), better));
      for (const ScoredRow& hit : hits) {
        EXPECT_EQ(hit.score, exact_score(metric, query, data.rows.at(hit.row), dim));
      }
      return hits;
    });
    EXPECT_GE(found, 0.99) << metric_name(metric);
  }
}

TEST(CodeSearch, LeavesOutExcludedRowsAndGivesWhatThereIs) {
  const std::size_t dim = 10;
  const TestGraph data(clustered(300, dim, 1, 1, 29), dim, Metric::kL2, 0);
  std::vector<Row> dead;
  for (Row r = 0; r < 290; ++r) dead.push_back(r);
  const RowBitmap excluded = RowBitmap().with_rows(dead);
  const auto hits = code_search(data.rows.view(), data.codes_view(), data.quantizer, Metric::kL2,
                                data.rows.at(0), 2, {.k = 50, .excluded = &excluded});
  ASSERT_EQ(hits.size(), 10u);
  for (const ScoredRow& hit : hits) EXPECT_GE(hit.row, 290u);
}

}  // namespace
}  // namespace srvdb::testing
