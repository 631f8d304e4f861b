// The graph: recall floors, one graph from one input, searches beside a builder, excluded rows.
#include "srvdb/index/graph.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "index/index_cases.h"
#include "simd/kernel_cases.h"
#include "srvdb/base/error.h"

namespace srvdb::testing {
namespace {

double graph_recall(const TestGraph& data, Metric metric, const std::vector<float>& queries,
                    std::size_t ef, const RowBitmap* excluded = nullptr) {
  return recall(data.rows, metric, queries, 10, excluded, [&](const float* query) {
    return data.search(query, {.k = 10, .ef = ef, .excluded = excluded}).rows;
  });
}

TEST(Graph, RecallFloorsOnEveryMetric) {
  const std::size_t dim = 24;
  for (const Metric metric : kMetrics) {
    const TestGraph data(clustered(6000, dim, 1, 1, 1), dim, metric, 2);
    const auto queries = make_values(Values::kOrdinary, 100 * dim, 2);
    const bool ip = metric == Metric::kIp;  // the harder problem: the distances are no metric
    EXPECT_GE(graph_recall(data, metric, queries, 100), ip ? 0.93 : 0.97) << metric_name(metric);
    EXPECT_GE(graph_recall(data, metric, queries, 300), ip ? 0.97 : 0.99) << metric_name(metric);
  }
}

TEST(Graph, RecallFloorOnWellSeparatedClustersThatArriveOneAfterTheOther) {
  const std::size_t dim = 16;
  for (const std::size_t clusters : {std::size_t{7}, std::size_t{300}}) {
    const auto values = clustered(6000, dim, clusters, 0.1, 3);
    const TestGraph data(values, dim, Metric::kL2);
    std::vector<float> queries;
    for (Row r = 5; r < 6000; r += 60) {
      queries.insert(queries.end(), data.rows.at(r), data.rows.at(r) + dim);
    }
    EXPECT_GE(graph_recall(data, Metric::kL2, queries, 100), 0.95) << clusters << " clusters";
  }
}

TEST(Graph, RecallFloorWithTenThousandIdenticalRows) {
  const std::size_t dim = 8;
  auto values = clustered(12'000, dim, 1, 1, 4);
  for (std::size_t r = 1000; r < 11'000; ++r) {
    std::copy_n(values.begin(), dim, values.begin() + static_cast<std::ptrdiff_t>(r * dim));
  }
  const TestGraph data(values, dim, Metric::kL2, 2);
  const auto queries = make_values(Values::kOrdinary, 60 * dim, 5);
  EXPECT_GE(graph_recall(data, Metric::kL2, queries, 100), 0.95);
  const std::vector<float> same(data.rows.at(0), data.rows.at(1));
  const auto hits = data.search(same.data(), {.k = 100, .ef = 100}).rows;
  ASSERT_EQ(hits.size(), 100u);
  for (const ScoredRow& hit : hits) EXPECT_EQ(hit.score, 0);
}

TEST(Graph, SmallGraphsFindEveryRow) {
  for (const Row n : {Row{1}, Row{2}, Row{3}, Row{17}, Row{33}, Row{100}}) {
    const TestGraph data(clustered(n, 5, 1, 1, n), 5, Metric::kCosine);
    const auto hits = data.search(data.rows.at(0), {.k = 200, .ef = 10}).rows;
    EXPECT_EQ(hits, brute_force(data.rows.view(), Metric::kCosine, data.rows.at(0), {.k = 200}));
  }
  const TestGraph empty(clustered(10, 5, 1, 1, 6), 5, Metric::kIp, 0);
  EXPECT_TRUE(empty.search(empty.rows.at(0), {.k = 3}).rows.empty());
}

TEST(Graph, ABarredRowIsNeitherReturnedNorWalkedThrough) {
  const std::size_t dim = 12;
  const TestGraph data(clustered(4000, dim, 1, 1, 8), dim, Metric::kL2);
  for (Row r = 0; r < 4000; r += 100) {
    const auto all = data.search(data.rows.at(r), {.k = 11, .ef = 100}).rows;
    ASSERT_EQ(all.front().row, r);
    const auto others = data.search(data.rows.at(r), {.k = 10, .ef = 100, .barred = r}).rows;
    for (const ScoredRow& hit : others) EXPECT_NE(hit.row, r);
    EXPECT_EQ(others.size(), 10u);
    EXPECT_EQ(others.front(), all[1]);
  }
}

TEST(Graph, SearchesInTurnsAnswerAsOneByOne) {
  for (const Metric metric : kMetrics) {
    const TestGraph data(clustered(1500, 40, 5, 0.5, 3), 40, metric);
    const std::vector<float> queries = clustered(41, 40, 5, 0.7, 4);
    const RowBitmap excluded = RowBitmap().with_rows(std::vector<Row>{1, 2, 3, 700});
    for (const std::size_t n : {1, 2, 3, 4, 5, 41}) {
      for (const RowBitmap* without : {static_cast<const RowBitmap*>(nullptr), &excluded}) {
        const GraphSearchOptions options{.k = 5, .ef = 30, .excluded = without};
        std::vector<GraphResult> results(n);
        graph_search_batch(*data.graph, data.rows.view(), data.codes_view(), data.quantizer,
                           queries.data(), n, options, results.data());
        for (std::size_t i = 0; i < n; ++i) {
          EXPECT_EQ(results[i].rows, data.search(queries.data() + i * 40, options).rows);
        }
      }
    }
  }
}

// Bytes under l2 are their own codes: their rows need not be read.
TEST(Graph, ScoresFromExactCodesHaveTheBitsOfTheExactKernel) {
  std::mt19937 random(5);
  std::vector<float> values(std::size_t{2000} * 24);
  for (float& x : values) x = static_cast<float>(random() % 256);
  values[24 * 1234 + 3] = 100.25f;  // but this one is not
  const TestRows rows(std::move(values), 24);
  const TestCodes codes(rows, Metric::kL2);
  Graph graph({.metric = Metric::kL2});
  GraphBuilder(graph).link(codes.view(), codes.quantizer(), {.last = 2000, .partial = true});
  for (Row r = 0; r < 2000; r += 7) {
    for (const float shift : {0.0f, 3.0f, 0.5f}) {
      std::vector<float> query(rows.at(r), rows.at(r) + 24);
      query[5] += shift;
      const auto found = graph_search(graph, rows.view(), codes.view(), codes.quantizer(),
                                      query.data(), {.k = 10, .ef = 60});
      ASSERT_EQ(found.rows.size(), 10u);
      EXPECT_TRUE(std::is_sorted(found.rows.begin(), found.rows.end(), better));
      for (const ScoredRow& row : found.rows) {
        EXPECT_EQ(row.score, exact_score(Metric::kL2, query.data(), rows.at(row.row), 24));
      }
    }
  }
}

TEST(Graph, OneInputGivesOneGraphAtAnyNumberOfThreads) {
  const std::size_t dim = 20;
  for (const Metric metric : kMetrics) {
    const auto values = clustered(3000, dim, 5, 0.5, 7);
    const std::string one = TestGraph(values, dim, metric, 1).image();
    EXPECT_EQ(TestGraph(values, dim, metric, 2).image(), one) << metric_name(metric);
    EXPECT_EQ(TestGraph(values, dim, metric, 3).image(), one) << metric_name(metric);
  }
}

TEST(Graph, BatchBoundariesDependOnRowNumbersAlone) {
  const std::size_t dim = 12;
  const auto values = clustered(2500, dim, 1, 1, 8);
  TestGraph steps(values, dim, Metric::kL2, 0);
  GraphBuilder builder(*steps.graph);
  for (Row last = 1; last <= 2500; last += 37) {  // rows trickle in, whole batches are linked
    const Row linked = builder.link(steps.codes_view(), steps.quantizer, {.last = last});
    ASSERT_LE(linked, last);
    ASSERT_GT(next_batch_end(linked), last);
  }
  steps.link(2500, 1);
  EXPECT_EQ(steps.image(), TestGraph(values, dim, Metric::kL2, 1).image());
  for (Row linked = 0; linked < 3'000'000; linked = next_batch_end(linked)) {
    ASSERT_GT(next_batch_end(linked), linked);
  }
}

// A builder keeps what pruning has found out about the links it made: only time may depend on it.
TEST(Graph, LinksDoNotDependOnWhatTheirBuilderRemembers) {
  const std::size_t dim = 12;
  const GraphParams params{.m = 5, .ef_construction = 40};
  for (const Metric metric : kMetrics) {
    for (const std::size_t clusters : {1, 60}) {
      const auto values = clustered(3000, dim, clusters, 0.05, 11);
      TestGraph forgetful(values, dim, metric, 0, params);
      while (forgetful.graph->linked() < 3000) {
        GraphBuilder(*forgetful.graph)
            .link(forgetful.codes_view(), forgetful.quantizer,
                  {.last = 3000, .partial = true, .max_batches = 1});
      }
      EXPECT_EQ(forgetful.image(), TestGraph(values, dim, metric, 1, params).image())
          << metric_name(metric) << ", " << clusters << " clusters";
    }
  }
}

TEST(Graph, ABuilderForgetsWhatItKnewOfOtherCodes) {
  const std::size_t dim = 12;
  const GraphParams params{.m = 5, .ef_construction = 40};
  const auto values = clustered(3000, dim, 60, 0.05, 11);
  TestGraph data(values, dim, Metric::kL2, 0, params);
  TestGraph other(values, dim, Metric::kL2, 0, params);
  GraphBuilder builder(*data.graph);
  builder.link(data.codes_view(), data.quantizer, {.last = 2000, .partial = true});
  other.link(2000, 1);
  // Codes of a wider range: distances that were apart are equal.
  std::vector<float> wide = values;
  for (float& value : wide) value *= 20;
  const auto coarse = TestCodes::train(TestRows(wide, dim), Metric::kL2);
  for (TestGraph* graph : {&data, &other}) {
    for (Row r = 0; r < graph->rows.size(); ++r) {
      coarse.encode(graph->rows.at(r), 0, graph->codes.data() + std::size_t{r} * graph->stride);
    }
  }
  builder.link(data.codes_view(), coarse, {.last = 3000, .partial = true});
  GraphBuilder(*other.graph).link(other.codes_view(), coarse, {.last = 3000, .partial = true});
  EXPECT_EQ(data.image(), other.image());
}

TEST(Graph, EveryLinkIsADistinctLinkedRowAndNoRowLinksToItself) {
  const TestGraph data(clustered(4000, 6, 40, 0.001, 9), 6, Metric::kL2, 2);
  for (Row r = 0; r < 4000; ++r) {
    const std::uint32_t* node = data.graph->node(r);
    std::set<Row> ids;
    for (std::uint32_t i = 0; i < data.graph->degree(node); ++i) {
      ids.insert(Graph::load_word(node + 2 + i));
    }
    EXPECT_EQ(ids.size(), data.graph->degree(node));
    EXPECT_FALSE(ids.contains(r));
    EXPECT_LT(*ids.rbegin(), 4000u);
  }
}

TEST(Graph, AnInterruptLeavesAValidGraphThatCanBeContinued) {
  const std::size_t dim = 16;
  const auto values = clustered(3000, dim, 1, 1, 10);
  TestGraph data(values, dim, Metric::kL2, 0);
  int polls = 0;
  while (data.graph->linked() < 3000) {
    Interrupt interrupt;
    interrupt.set_deadline(Interrupt::Clock::now() + std::chrono::milliseconds(5 + 5 * polls++));
    try {
      data.link(3000, 2, &interrupt);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kInterrupted);
      const auto hits = data.search(data.rows.at(0), {.k = 5}).rows;
      ASSERT_EQ(hits.size(), std::min<std::size_t>(5, data.graph->linked()));
    }
  }
  EXPECT_GT(polls, 1);
  EXPECT_EQ(data.image(), TestGraph(values, dim, Metric::kL2, 1).image());
}

TEST(Graph, ExcludedRowsAreNeverReturnedAndTheOthersAreFound) {
  const std::size_t dim = 16;
  const TestGraph data(clustered(5000, dim, 1, 1, 11), dim, Metric::kCosine, 2);
  const auto queries = make_values(Values::kOrdinary, 60 * dim, 12);
  for (const std::uint32_t percent : {1u, 30u, 70u, 95u}) {
    std::vector<Row> dead;
    for (Row r = 0; r < 5000; ++r) {
      if (r * 2654435761u % 100 < percent) dead.push_back(r);
    }
    const RowBitmap excluded = RowBitmap().with_rows(dead);
    for (std::size_t q = 0; q < 60; ++q) {
      const auto hits =
          data.search(queries.data() + q * dim, {.k = 10, .excluded = &excluded}).rows;
      ASSERT_EQ(hits.size(), 10u);
      for (const ScoredRow& hit : hits) ASSERT_FALSE(excluded.test(hit.row));
    }
    EXPECT_GE(graph_recall(data, Metric::kCosine, queries, 100, &excluded), 0.95) << percent;
  }
}

TEST(Graph, ADeadClusterAroundTheQueryDoesNotHideTheLivingRows) {
  const std::size_t dim = 8;
  const TestGraph data(clustered(6000, dim, 3, 0.01, 13), dim, Metric::kL2, 2);
  std::vector<Row> dead;
  for (Row r = 0; r < 2000; ++r) dead.push_back(r);
  for (Row r = 2003; r < 6000; ++r) dead.push_back(r);
  const RowBitmap excluded = RowBitmap().with_rows(dead);
  const auto hits = data.search(data.rows.at(7), {.k = 10, .ef = 10, .excluded = &excluded}).rows;
  EXPECT_EQ(hits, brute_force(data.rows.view(), Metric::kL2, data.rows.at(7),
                              {.k = 10, .excluded = &excluded}));
}

TEST(Graph, RowsAtOrAboveTheLimitAreIgnored) {
  const TestGraph data(clustered(3000, 10, 1, 1, 14), 10, Metric::kL2, 2);
  for (const Row limit : {Row{1}, Row{40}, Row{1500}}) {
    const auto hits = data.search(data.rows.at(2000), {.k = 10, .limit = limit}).rows;
    ASSERT_EQ(hits.size(), std::min<std::size_t>(10, limit));
    for (const ScoredRow& hit : hits) EXPECT_LT(hit.row, limit);
  }
}

TEST(Graph, SearchesWhileRowsAreLinked) {
  const std::size_t dim = 12;
  const Row n = 4000;
  TestGraph data(clustered(n, dim, 1, 1, 15), dim, Metric::kL2, 0);
  data.link(200, 1);
  std::atomic<bool> done{false};
  std::atomic<std::size_t> searches{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      for (Row r = static_cast<Row>(t); !done; r = (r + 31) % n) {
        const Row before = data.graph->linked();
        const auto hits = data.search(data.rows.at(r), {.k = 10, .ef = 60}).rows;
        ASSERT_EQ(hits.size(), 10u);
        for (const ScoredRow& hit : hits) ASSERT_LT(hit.row, n);
        if (r < before) searches += hits[0].row == r ? 1u : 0u;
      }
    });
  }
  data.link(n, 2);
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_GT(searches, 0u);
  EXPECT_EQ(data.graph->linked(), n);
}

TEST(Graph, RefusesParametersOutOfRange) {
  EXPECT_THROW(Graph({.m = 1}), Error);
  EXPECT_THROW(Graph({.m = 129}), Error);
  EXPECT_THROW(Graph({.m = 16, .ef_construction = 0}), Error);
}

TEST(Graph, WideAndNarrowDegreesWork) {
  for (const std::uint32_t m : {2u, 5u, 64u, 128u}) {
    const TestGraph data(clustered(1500, 8, 1, 1, 16), 8, Metric::kL2, 2, {.m = m});
    EXPECT_GE(graph_recall(data, Metric::kL2, make_values(Values::kOrdinary, 40 * 8, 17), 200),
              m < 4 ? 0.6 : 0.97);
  }
}

}  // namespace
}  // namespace srvdb::testing
