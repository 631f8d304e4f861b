// Graphs built in bulk: as good as linked ones, one graph from one input, no islands.
#include "srvdb/index/bulk_build.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>

#include "index/index_cases.h"
#include "simd/kernel_cases.h"
#include "srvdb/base/error.h"
#include "srvdb/index/code_pairs.h"
#include "srvdb/index/near_lists.h"
#include "srvdb/index/prune.h"

namespace srvdb::testing {
namespace {

TestGraph bulk(std::vector<float> values, std::size_t dim, Metric metric, std::size_t threads = 1,
               GraphParams params = {}) {
  TestGraph data(std::move(values), dim, metric, 0, params);
  data.graph =
      bulk_build(data.graph->params(), data.codes_view(), data.rows.size(), {.threads = threads});
  return data;
}

double recall_of(const TestGraph& data, Metric metric, const std::vector<float>& queries,
                 std::size_t ef) {
  return recall(data.rows, metric, queries, 10, nullptr,
                [&](const float* query) { return data.search(query, {.k = 10, .ef = ef}).rows; });
}

// Share of some rows that are the best answer when they are asked for themselves.
double found_themselves(const TestGraph& data, Row step) {
  std::size_t found = 0;
  std::size_t asked = 0;
  for (Row r = 0; r < data.rows.size(); r += step, ++asked) {
    const auto hits = data.search(data.rows.at(r), {.k = 1, .ef = 50}).rows;
    found += !hits.empty() && hits[0].score >= -1e-6 ? 1u : 0u;
  }
  return static_cast<double>(found) / static_cast<double>(asked);
}

// There are fewer links, so a walk of the same width looks at fewer rows.
TEST(BulkBuild, RecallIsThatOfLinkingRowAfterRowWhereWalksLookAtAsManyRows) {
  const std::size_t dim = 24;
  const Row n = kSanitized ? 5000 : 12'000;
  for (const Metric metric : {Metric::kL2, Metric::kCosine}) {
    for (const std::size_t clusters : {std::size_t{1}, std::size_t{40}}) {
      const auto values = clustered(n, dim, clusters, clusters == 1 ? 1 : 0.4, 1);
      const auto queries = make_values(Values::kOrdinary, 200 * dim, 2);
      const TestGraph linked(values, dim, metric, 2);
      const TestGraph built = bulk(values, dim, metric, 2);
      for (const std::size_t ef : {std::size_t{20}, std::size_t{60}, std::size_t{200}}) {
        EXPECT_GE(recall_of(built, metric, queries, ef * 3 / 2),
                  recall_of(linked, metric, queries, ef) - 0.02)
            << metric_name(metric) << ", " << clusters << " clusters, ef " << ef;
      }
    }
  }
}

TEST(BulkBuild, OneInputGivesOneGraphAtAnyNumberOfThreads) {
  const auto values = clustered(6000, 20, 5, 0.5, 7);
  for (const Metric metric : {Metric::kL2, Metric::kCosine}) {
    const std::string one = bulk(values, 20, metric, 1).image();
    EXPECT_EQ(bulk(values, 20, metric, 2).image(), one) << metric_name(metric);
    EXPECT_EQ(bulk(values, 20, metric, 3).image(), one) << metric_name(metric);
  }
}

TEST(BulkBuild, TenThousandIdenticalRowsAreAllFound) {
  const std::size_t dim = 8;
  auto values = clustered(12'000, dim, 1, 1, 4);
  for (std::size_t r = 1000; r < 11'000; ++r) {
    std::copy_n(values.begin(), dim, values.begin() + static_cast<std::ptrdiff_t>(r * dim));
  }
  const TestGraph data = bulk(values, dim, Metric::kL2, 2);
  const auto queries = make_values(Values::kOrdinary, 60 * dim, 5);
  EXPECT_GE(recall_of(data, Metric::kL2, queries, 100), 0.95);
  const std::vector<float> same(data.rows.at(0), data.rows.at(1));
  const auto hits = data.search(same.data(), {.k = 100, .ef = 100}).rows;
  ASSERT_EQ(hits.size(), 100u);
  for (const ScoredRow& hit : hits) EXPECT_EQ(hit.score, 0);
}

TEST(BulkBuild, ThereAreNoIslands) {
  const std::size_t dim = 16;
  for (const std::size_t clusters : {7, 100, 700}) {
    const TestGraph data = bulk(clustered(14'000, dim, clusters, 0.05, 3), dim, Metric::kL2, 2);
    EXPECT_GE(found_themselves(data, 13), 0.99) << clusters << " clusters";
  }
}

TEST(BulkBuild, EveryLinkIsADistinctRowAndNoRowLinksToItself) {
  for (const std::uint32_t m : {2u, 16u, 128u}) {
    const TestGraph data = bulk(clustered(5000, 6, 40, 0.001, 9), 6, Metric::kL2, 2, {.m = m});
    ASSERT_EQ(data.graph->linked(), 5000u);
    std::vector<Row> links;
    for (Row r = 0; r < 5000; ++r) {
      data.graph->links(r, links);
      const std::set<Row> ids(links.begin(), links.end());
      ASSERT_EQ(ids.size(), links.size());
      ASSERT_FALSE(ids.contains(r));
      ASSERT_LT(*ids.rbegin(), 5000u);
    }
  }
}

TEST(BulkBuild, RowsCanBeLinkedToItOneAfterTheOther) {
  const std::size_t dim = 16;
  const auto values = clustered(9000, dim, 1, 1, 10);
  const auto queries = make_values(Values::kOrdinary, 100 * dim, 11);
  TestGraph data(values, dim, Metric::kL2, 0);
  data.graph = bulk_build(data.graph->params(), data.codes_view(), 5000, {});
  EXPECT_EQ(data.graph->linked(), 5000u);
  data.link(9000, 2);
  EXPECT_GE(recall_of(data, Metric::kL2, queries, 100), 0.98);
}

TEST(BulkBuild, AnInterruptEndsIt) {
  const TestGraph data(clustered(20'000, 16, 1, 1, 12), 16, Metric::kL2, 0);
  Interrupt interrupt;
  interrupt.set_deadline(Interrupt::Clock::now() + std::chrono::milliseconds(30));
  const auto start = Interrupt::Clock::now();
  EXPECT_THROW(bulk_build(data.graph->params(), data.codes_view(), 20'000,
                          {.threads = 2, .interrupt = &interrupt}),
               Error);
  EXPECT_LT(Interrupt::Clock::now() - start, std::chrono::seconds(kSanitized ? 30 : 3));
}

class DamagedCode final : public RowVerifier {
 public:
  void verify(Row first, Row last) const override {
    if (first <= 4321 && 4321 < last) throw Error(ErrorCode::kCorruption, "row 4321");
  }
};

TEST(BulkBuild, DamagedCodesAreReported) {
  const TestGraph data(clustered(6000, 16, 1, 1, 13), 16, Metric::kL2, 0);
  const DamagedCode verifier;
  CodesView codes = data.codes_view();
  const std::vector<std::atomic<std::uint64_t>> checked(6000 / 64 + 1);
  codes.verifier = &verifier;
  codes.checked = checked.data();
  EXPECT_THROW(bulk_build(data.graph->params(), codes, 6000, {.threads = 2}), Error);
  EXPECT_EQ(bulk_build(data.graph->params(), codes, 4321, {})->linked(), 4321u);
}

TEST(BulkBuild, PaysWhereMostRowsAreNotLinked) {
  const GraphParams l2{.metric = Metric::kL2};
  EXPECT_FALSE(bulk_pays(l2, 128, 0, 1000));
  EXPECT_TRUE(bulk_pays(l2, 128, 0, 5000));
  EXPECT_TRUE(bulk_pays(l2, 128, 5000, 10'000));
  EXPECT_FALSE(bulk_pays(l2, 128, 5001, 10'000));
  EXPECT_FALSE(bulk_pays(l2, 65'536, 0, 5000));
  EXPECT_FALSE(bulk_pays({.metric = Metric::kIp}, 128, 0, 5000));
}

TEST(CodePairs, MeasureTheDistancesThatPruningUses) {
  for (const Metric metric : kMetrics) {
    for (const std::size_t dim : {std::size_t{5}, std::size_t{64}, std::size_t{130}}) {
      const TestGraph data(clustered(300, dim, 1, 1, 14), dim, metric, 0);
      CodeTerms terms(metric);
      terms.make(data.codes_view(), 300, 1, nullptr);
      CodePairs pairs(terms);
      CodeProbe probe(metric, dim);
      std::vector<Row> columns;
      for (Row r = 299; r > 100; r -= 2) columns.push_back(r);
      const std::vector<Row> rows = {7, 0, 299, 150, 3, 9, 8, 1};
      pairs.columns(data.codes_view(), columns);
      pairs.rows(data.codes_view(), rows);
      pairs.measure();
      for (std::size_t i = 0; i < rows.size(); ++i) {
        std::vector<std::int32_t> expected(columns.size());
        probe.set(data.codes_view().code(rows[i]));
        probe.many(data.codes.data(), columns.data(), columns.size(), expected.data());
        // Under ip all distances differ by the same number.
        const std::int32_t shift = pairs.key(i, 0) - expected[0];
        EXPECT_TRUE(metric == Metric::kIp || shift == 0);
        EXPECT_EQ(shift, metric == Metric::kIp ? static_cast<std::int32_t>(16384 * dim) : 0);
        for (std::size_t j = 0; j < columns.size(); ++j) {
          ASSERT_EQ(pairs.key(i, j), expected[j] + shift) << metric_name(metric);
        }
      }
    }
  }
}

TEST(NearLists, KeepTheBestDistinctRowsInWhateverOrderTheyCome) {
  std::mt19937 random(1);
  std::vector<std::uint64_t> all;
  for (Row r = 0; r < 500; ++r) {
    const std::uint64_t entry =
        near_entry::pack(static_cast<std::int32_t>(random() % 50) - 25, 8, r * 7919);
    ASSERT_EQ(near_entry::row(entry, 8), r * 7919);
    ASSERT_LE(std::abs(near_entry::key(entry)), 25);
    all.push_back(entry);
  }
  NearLists lists(100, 8, 40);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::uint64_t> offered;
    for (int i = 0; i < 20; ++i) offered.push_back(all[random() % all.size()]);
    std::sort(offered.begin(), offered.end());
    offered.erase(std::unique(offered.begin(), offered.end()), offered.end());
    lists.offer(8, offered);
  }
  std::sort(all.begin(), all.end());
  all.resize(40);
  EXPECT_TRUE(std::ranges::equal(lists.list(8), all));
  EXPECT_EQ(lists.limit(8), near_entry::key(all.back()));
  EXPECT_EQ(lists.limit(16), INT32_MAX);
}

}  // namespace
}  // namespace srvdb::testing
