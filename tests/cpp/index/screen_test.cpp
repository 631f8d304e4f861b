// Exact search by codes equals brute force in double precision, bit for bit, whatever the codes are
// worth.
#include <gtest/gtest.h>

#include "index/index_cases.h"
#include "simd/kernel_cases.h"
#include "srvdb/base/error.h"

namespace srvdb::testing {
namespace {

void expect_exact(const TestRows& rows, const std::vector<float>& queries,
                  const FlatOptions& options, const std::string& what) {
  const std::size_t n = queries.size() / rows.dim();
  for (const Metric metric : kMetrics) {
    const TestCodes codes(rows, metric);
    const FlatOptions coded = codes.over(options);
    const auto batch = flat_search_batch(rows.view(), metric, queries.data(), n, coded);
    for (std::size_t q = 0; q < n; ++q) {
      const float* query = queries.data() + q * rows.dim();
      const auto truth = brute_force(rows.view(), metric, query, options);
      const std::string label = what + ", " + std::string(metric_name(metric)) + ", query " +
                                std::to_string(q) + ", dim " + std::to_string(rows.dim());
      ASSERT_EQ(flat_search(rows.view(), metric, query, coded), truth) << label;
      ASSERT_EQ(batch[q], truth) << label << ", in a batch";
    }
  }
}

// Queries near rows, and others.
std::vector<float> queries_for(const TestRows& rows, std::size_t n, std::uint32_t seed) {
  auto queries = make_values(Values::kOrdinary, n * rows.dim(), seed);
  std::mt19937 random(seed);
  for (std::size_t q = 0; q < n / 2; ++q) {
    const float* row = rows.at(static_cast<Row>(random() % rows.size()));
    for (std::size_t i = 0; i < rows.dim(); ++i) {
      float& x = queries[q * rows.dim() + i];
      x = row[i] * (1 + 0.01f * x);
    }
  }
  return queries;
}

TEST(Screen, EqualsBruteForceAtOddDimensions) {
  for (const std::size_t dim : {1, 3, 15, 31, 63, 65, 127, 129, 257, 511, 767, 1025, 1999}) {
    const Row n = dim > 300 ? 900 : 2500;
    const TestRows rows(clustered(n, dim, 10, 0.5, 1), dim);
    expect_exact(rows, queries_for(rows, 20, 2), {.k = 10}, "clusters");
  }
}

TEST(Screen, TellsRowsApartThatCodesCannotTell) {
  // Clusters far narrower than a step of the codes: every row of the query's cluster may be next.
  for (const double spread : {1e-2, 1e-4, 1e-6}) {
    const TestRows rows(clustered(4000, 24, 7, spread, 3), 24);
    expect_exact(rows, queries_for(rows, 12, 4), {.k = 10}, "narrow clusters");
  }
}

// Rows of which every eighth is in one cluster that codes cannot see into: so few that no block is
// left to floats. With `copies` the cluster is one row.
std::vector<float> with_a_hidden_cluster(Row n, std::size_t dim, bool copies, std::uint32_t seed) {
  auto values = clustered(n, dim, 1, 1, seed);
  const auto narrow = clustered(n / 8, dim, 1, copies ? 0 : 1e-5, seed + 1);
  for (Row i = 0; i < n / 8; ++i) {
    std::copy_n(narrow.data() + i * dim, dim, values.data() + std::size_t{8} * i * dim);
  }
  return values;
}

// Queries near rows of the cluster, whose first is row 0.
std::vector<float> queries_near_the_cluster(const std::vector<float>& values, std::size_t dim,
                                            std::size_t n, std::uint32_t seed) {
  auto queries = make_values(Values::kOrdinary, n * dim, seed);
  for (std::size_t i = 0; i < queries.size(); ++i) {
    queries[i] = values[i % dim] * (1 + 1e-4f * queries[i]);
  }
  return queries;
}

TEST(Screen, RowsThatWaitAreNotLostWhenMoreWaitThanThereIsRoomFor) {
  const std::size_t dim = 16;
  for (const bool copies : {false, true}) {
    const auto values = with_a_hidden_cluster(20'000, dim, copies, 40);
    const TestRows rows(values, dim);
    const auto queries = queries_near_the_cluster(values, dim, 2, 42);
    for (const std::size_t k : {1, 10, 63, 64, 100, 700}) {
      expect_exact(rows, queries, {.k = k}, "k = " + std::to_string(k));
    }
  }
}

TEST(Screen, RowsThatWaitAndRowsLeftToFloatsMakeOneAnswer) {
  // A hidden cluster, then loose blocks without end, then the nearest rows of all.
  const std::size_t dim = 16;
  auto values = with_a_hidden_cluster(6000, dim, false, 43);
  const auto queries = queries_near_the_cluster(values, dim, 3, 45);
  const auto narrow = clustered(40 * 256, dim, 1, 1e-5, 44);
  values.insert(values.end(), narrow.begin(), narrow.end());
  const auto others = clustered(3000, dim, 1, 1, 46);
  values.insert(values.end(), others.begin(), others.end());
  for (std::size_t i = 0; i < 4; ++i) {
    values.insert(values.end(), queries.begin(), queries.end());
  }
  const TestRows rows(values, dim);
  std::vector<Row> out;
  for (Row row = 0; row < rows.size(); row += 3) out.push_back(row);
  const RowBitmap excluded = RowBitmap().with_rows(out);
  for (const std::size_t threads : {1, 3}) {
    expect_exact(rows, queries, {.k = 10, .threads = threads}, "all rows");
    expect_exact(rows, queries, {.k = 10, .excluded = &excluded, .threads = threads}, "not all");
  }
}

TEST(Screen, GivesUpCodesThatSayNothingAboutAQuery) {
  // Half of the rows in one narrow cluster: more candidates than are worth scoring one by one.
  auto values = clustered(12'000, 16, 1, 1, 30);
  const auto narrow = clustered(6000, 16, 1, 1e-5, 31);
  std::copy(narrow.begin(), narrow.end(), values.begin());
  const TestRows rows(values, 16, 11'900);
  auto queries = queries_for(TestRows(narrow, 16), 60, 32);
  expect_exact(rows, queries, {.k = 10}, "many queries");
  queries.resize(10 * 16);
  const auto others = make_values(Values::kOrdinary, 20 * 16, 33);
  queries.insert(queries.end(), others.begin(), others.end());
  expect_exact(rows, queries, {.k = 10, .threads = 2}, "some of the queries");
}

TEST(Screen, BreaksTiesByRowWithManyEqualRows) {
  const std::size_t dim = 40;
  auto values = clustered(3000, dim, 1, 1, 5);
  for (std::size_t r = 0; r < 3000; ++r) {  // 50 different rows
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(r % 50 * dim), dim,
                values.begin() + static_cast<std::ptrdiff_t>(r * dim));
  }
  const TestRows rows(values, dim);
  for (const std::size_t k : {std::size_t{1}, std::size_t{10}, std::size_t{70}}) {
    expect_exact(rows, queries_for(rows, 12, 6), {.k = k}, "equal rows");
  }
}

TEST(Screen, RowsFarOutsideTheCodedRangeAreNotLost) {
  // The quantiser is trained on the first 4,096 rows; later ones are ten thousand times as long.
  const std::size_t dim = 20;
  auto values = clustered(6000, dim, 1, 1, 7);
  for (std::size_t i = 5000 * dim; i < values.size(); ++i) values[i] *= 1e4f;
  const TestRows rows(values, dim);
  auto queries = queries_for(rows, 12, 8);
  const auto far = queries_for(TestRows({values.begin() + 5000 * 20, values.end()}, dim), 12, 9);
  queries.insert(queries.end(), far.begin(), far.end());
  expect_exact(rows, queries, {.k = 10}, "outside the range");
}

TEST(Screen, QueriesFarOutsideTheCodedRangeAreAnswered) {
  const TestRows rows(clustered(3000, 33, 5, 0.4, 10), 33);
  for (const float factor : {1e-30f, 1e-3f, 30.0f, 1e6f, 1e30f}) {
    auto queries = queries_for(rows, 10, 11);
    for (float& x : queries) x *= factor;
    expect_exact(rows, queries, {.k = 10}, "scaled queries");
  }
}

TEST(Screen, OneGiantDimensionDoesNotHideTheOthers) {
  const std::size_t dim = 48;
  auto values = clustered(3000, dim, 1, 1, 12);
  for (std::size_t r = 0; r < 3000; ++r) values[r * dim + 5] *= 1e6f;
  const TestRows rows(values, dim);
  expect_exact(rows, queries_for(rows, 12, 13), {.k = 10}, "one giant dimension");
}

TEST(Screen, HugeTinyAndMixedValues) {
  for (const Values kind : kAllValues) {
    for (const std::size_t dim : {std::size_t{7}, std::size_t{130}}) {
      auto values = make_values(kind, 1500 * dim, 14);
      std::fill_n(values.begin(), 20 * dim, 0.0f);
      const TestRows rows(values, dim);
      auto queries = make_values(kind, 6 * dim, 15);
      const auto ordinary = queries_for(rows, 6, 16);
      queries.insert(queries.end(), ordinary.begin(), ordinary.end());
      queries.insert(queries.end(), dim, 0.0f);
      expect_exact(rows, queries, {.k = 25}, "kind " + std::to_string(static_cast<int>(kind)));
    }
  }
}

TEST(Screen, BytesAreExactUnderL2) {
  std::mt19937 random(17);
  const std::size_t dim = 64;
  std::vector<float> values(4000 * dim);
  for (float& x : values) x = static_cast<float>(random() % 256);
  const TestRows rows(values, dim);
  const TestCodes codes(rows, Metric::kL2);
  for (Row r = 0; r < 4000; ++r) ASSERT_EQ(codes.view().error(r), 0.0f);
  std::vector<float> queries(12 * dim);
  for (float& x : queries) x = static_cast<float>(random() % 256);
  expect_exact(rows, queries, {.k = 10}, "bytes");
}

TEST(Screen, QueriesBetweenCodesAreNotMisled) {
  // Rows without error, and a query half-way between codes in all but its last component: rounded,
  // it comes to lie on the many rows that are a little farther, away from the few that are nearest.
  std::mt19937 random(34);
  for (const std::size_t dim : {std::size_t{4}, std::size_t{64}}) {
    std::vector<float> middle(dim);
    for (float& x : middle) x = static_cast<float>(random() % 100 * 2 + 20);  // even
    std::vector<float> values;
    for (Row r = 0; r < 9000; ++r) {
      const bool nearest = r >= 8900;
      for (std::size_t i = 0; i < dim; ++i) {
        if (r < 100 || (r >= 600 && !nearest)) {
          values.push_back(static_cast<float>(random() % 256));
        } else if (i + 1 < dim) {
          values.push_back(middle[i] + (nearest ? 1.0f : 0.0f));
        } else {
          values.push_back(middle[i] + (nearest ? 0.0f : 1.0f));
        }
      }
    }
    std::vector<float> queries;
    for (std::size_t q = 0; q < 12; ++q) {
      for (std::size_t i = 0; i < dim; ++i) queries.push_back(middle[i] + 0.5f);
      queries.back() -= 0.01f * static_cast<float>(q + 1);
    }
    expect_exact(TestRows(values, dim), queries, {.k = 10}, "between codes");
  }
}

TEST(Screen, LeavesOutExcludedRowsAtEveryShare) {
  const std::size_t dim = 30;
  const TestRows rows(clustered(5000, dim, 3, 0.5, 18), dim, 4321);
  const auto queries = queries_for(rows, 12, 19);
  std::mt19937 random(20);
  for (const unsigned share : {10u, 45u, 60u, 95u, 100u}) {
    std::vector<Row> gone;
    for (Row r = 0; r < 5000; ++r) {
      if (random() % 100 < share) gone.push_back(r);
    }
    const RowBitmap excluded = RowBitmap().with_rows(gone);
    const FlatOptions options{.k = 10, .first = 13, .last = 4999, .excluded = &excluded};
    expect_exact(rows, queries, options, std::to_string(share) + " % excluded");
  }
}

TEST(Screen, SameAnswerOnAnyNumberOfThreadsAndForAnyRange) {
  const std::size_t dim = 100;
  const TestRows rows(clustered(30'000, dim, 9, 0.7, 21), dim, 29'000);
  const auto queries = queries_for(rows, 8, 22);
  expect_exact(rows, queries, {.k = 10, .threads = 3}, "threads");
  expect_exact(rows, queries, {.k = 400, .first = 255, .last = 8193, .threads = 2}, "range");
}

class CountingVerifier : public RowVerifier {
 public:
  void verify(Row first, Row last) const override { rows += last - first; }
  mutable std::atomic<std::size_t> rows{0};
};

TEST(Screen, ReadsOnlyTheFewRowsThatCanBeInTheAnswer) {
  const std::size_t dim = 64;
  const TestRows rows(clustered(20'000, dim, 1, 1, 23), dim);
  const auto queries = queries_for(rows, 40, 24);
  for (const Metric metric : kMetrics) {
    const TestCodes codes(rows, metric);
    const CountingVerifier counter;
    RowsView view = rows.view();
    view.verifier = &counter;
    const FlatOptions options = codes.over({.k = 10});
    for (std::size_t q = 0; q < 40; ++q) {
      flat_search(view, metric, queries.data() + q * dim, options);
    }
    EXPECT_LT(counter.rows.exchange(0), 40u * 400u) << metric_name(metric);
  }
}

TEST(Screen, ThrowsWhatTheVerifierOfTheCodesThrows) {
  class Refuse : public RowVerifier {
   public:
    void verify(Row, Row) const override { throw Error(ErrorCode::kCorruption, "damaged code"); }
  };
  const TestRows rows(clustered(2000, 16, 1, 1, 25), 16);
  const TestCodes codes(rows, Metric::kL2);
  const Refuse refuse;
  const std::vector<std::atomic<std::uint64_t>> checked(2000 / 64 + 1);
  FlatOptions options = codes.over({.k = 10});
  options.codes.verifier = &refuse;
  options.codes.checked = checked.data();
  EXPECT_THROW(flat_search(rows.view(), Metric::kL2, rows.at(0), options), Error);
}

}  // namespace
}  // namespace srvdb::testing
