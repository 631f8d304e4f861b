// The graph of the rows that a compaction keeps: as good as one built anew, at a part of the cost.
#include "srvdb/index/graph_compact.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "index/index_cases.h"
#include "simd/kernel_cases.h"
#include "srvdb/base/error.h"
#include "srvdb/index/graph_reach.h"

namespace srvdb::testing {
namespace {

constexpr double kHalfAPoint = 0.005;

RowBitmap random_rows(Row n, double share, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Row> out;
  for (Row r = 0; r < n; ++r) {
    if (std::generate_canonical<double, 32>(random) < share) out.push_back(r);
  }
  return RowBitmap().with_rows(out);
}

// That share of the rows: those nearest to the point, or those farthest from it.
RowBitmap rows_by_distance(const TestRows& rows, double share, const float* point, bool nearest) {
  std::vector<std::pair<double, Row>> order;
  for (Row r = 0; r < rows.size(); ++r) {
    const double score = exact_score(Metric::kL2, point, rows.at(r), rows.dim());
    order.push_back({nearest ? -score : score, r});
  }
  std::sort(order.begin(), order.end());
  std::vector<Row> out;
  for (std::size_t i = 0; i < static_cast<std::size_t>(share * rows.size()); ++i) {
    out.push_back(order[i].second);
  }
  return RowBitmap().with_rows(out);
}

std::vector<float> kept_values(const TestRows& rows, const RowMapping& mapping) {
  std::vector<float> out;
  for (Row r = 0; r < mapping.new_rows(); ++r) {
    const float* at = rows.at(mapping.to_old(r));
    out.insert(out.end(), at, at + rows.dim());
  }
  return out;
}

// The kept rows with the graph that compaction makes.
TestGraph compacted(const TestGraph& old, Metric metric, const RowMapping& mapping,
                    std::size_t threads = 1) {
  TestGraph out(kept_values(old.rows, mapping), old.rows.dim(), metric, 0);
  out.graph =
      compact_graph(*old.graph, old.codes_view(), old.quantizer, mapping, {.threads = threads});
  return out;
}

double graph_recall(const TestGraph& data, Metric metric, const std::vector<float>& queries) {
  return recall(data.rows, metric, queries, 10, nullptr,
                [&](const float* query) { return data.search(query, {.k = 10, .ef = 60}).rows; });
}

std::size_t reachable(const Graph& graph) {
  std::vector<bool> seen(graph.linked());
  std::vector<Row> stack;
  const std::size_t entries = entry_count(graph.linked());
  for (std::size_t i = 0; i < entries; ++i) {
    stack.push_back(entry_row(graph.linked(), entries, i));
    seen[stack.back()] = true;
  }
  std::size_t count = stack.size();
  std::vector<Row> links;
  while (!stack.empty()) {
    graph.links(stack.back(), links);
    stack.pop_back();
    for (const Row id : links) {
      if (seen[id]) continue;
      seen[id] = true;
      ++count;
      stack.push_back(id);
    }
  }
  return count;
}

void expect_valid(const Graph& graph) {
  std::vector<Row> links;
  for (Row r = 0; r < graph.linked(); ++r) {
    graph.links(r, links);
    const std::set<Row> distinct(links.begin(), links.end());
    ASSERT_EQ(distinct.size(), links.size()) << r;
    ASSERT_FALSE(distinct.contains(r));
    ASSERT_TRUE(links.empty() ? graph.linked() == 1 : *distinct.rbegin() < graph.linked()) << r;
  }
  EXPECT_EQ(reachable(graph), graph.linked());
}

TEST(RowMapping, NumbersTheKeptRowsInTheirOrder) {
  for (const double share : {0.0, 0.01, 0.5, 0.999, 1.0}) {
    for (const Row rows : {Row{0}, Row{1}, Row{64}, Row{100'003}}) {
      const RowBitmap dropped = random_rows(rows + 50, share, 1);
      const RowMapping mapping(dropped, rows);
      Row fresh = 0;
      for (Row old = 0; old < rows; ++old) {
        ASSERT_EQ(mapping.kept_below(old), fresh);
        ASSERT_EQ(mapping.kept(old), !dropped.test(old));
        ASSERT_EQ(mapping.to_new(old), dropped.test(old) ? kNoRow : fresh);
        if (dropped.test(old)) continue;
        ASSERT_EQ(mapping.to_old(fresh++), old);
      }
      EXPECT_EQ(mapping.new_rows(), fresh);
      EXPECT_EQ(mapping.kept_below(rows + 7), fresh);
      EXPECT_FALSE(mapping.kept(rows));
    }
  }
}

TEST(GraphCompaction, RecallIsWithinHalfAPointOfAFreshBuild) {
  const std::size_t dim = 24;
  for (const Metric metric : {Metric::kL2, Metric::kIp}) {
    if (kSanitized && metric != Metric::kL2) continue;
    const TestGraph old(clustered(6000, dim, 30, 0.8, 2), dim, metric, 2);
    std::vector<float> queries;
    for (Row r = 11; r < 6000; r += 75) {
      for (std::size_t i = 0; i < dim; ++i) queries.push_back(old.rows.at(r)[i] * 1.02f);
    }
    const float* point = queries.data() + 7 * dim;
    for (const double share : {0.1, 0.6, 0.9}) {
      if (kSanitized && share != 0.6) continue;
      for (const RowBitmap& dropped :
           {random_rows(6000, share, 3), rows_by_distance(old.rows, share, point, true),
            rows_by_distance(old.rows, share, point, false)}) {
        const RowMapping mapping(dropped, 6000);
        const TestGraph kept = compacted(old, metric, mapping, 2);
        ASSERT_EQ(kept.graph->linked(), 6000 - dropped.count());
        expect_valid(*kept.graph);
        const TestGraph fresh(kept_values(old.rows, mapping), dim, metric, 2);
        EXPECT_GE(graph_recall(kept, metric, queries),
                  graph_recall(fresh, metric, queries) - kHalfAPoint)
            << metric_name(metric) << ", " << share;
      }
    }
  }
}

TEST(GraphCompaction, OneInputGivesOneGraphAtAnyNumberOfThreads) {
  const std::size_t dim = 12;
  const TestGraph old(clustered(6000, dim, 10, 0.5, 4), dim, Metric::kL2, 2);
  for (const double share : {0.3, 0.9}) {
    const RowMapping mapping(random_rows(6000, share, 5), 6000);
    const std::string one = compacted(old, Metric::kL2, mapping, 1).image();
    EXPECT_EQ(compacted(old, Metric::kL2, mapping, 2).image(), one);
    EXPECT_EQ(compacted(old, Metric::kL2, mapping, 3).image(), one);
  }
}

TEST(GraphCompaction, WithNothingDroppedTheGraphStaysAsItIs) {
  const TestGraph old(clustered(5000, 8, 1, 1, 6), 8, Metric::kL2, 2);
  EXPECT_EQ(make_reachable(*old.graph), 0u);
  EXPECT_EQ(compacted(old, Metric::kL2, RowMapping({}, 5000)).image(), old.image());
}

TEST(GraphCompaction, DroppingNearlyOrReallyAllRowsWorks) {
  const TestGraph old(clustered(5000, 8, 1, 1, 7), 8, Metric::kCosine, 2);
  for (const Row keep : {Row{0}, Row{1}, Row{2}, Row{40}}) {
    std::vector<Row> dropped;
    for (Row r = 0; r < 5000 - keep; ++r) dropped.push_back(r * 7 % 5000);
    const RowMapping mapping(RowBitmap().with_rows(dropped), 5000);
    const auto graph = compact_graph(*old.graph, old.codes_view(), old.quantizer, mapping, {});
    ASSERT_EQ(graph->linked(), keep);
    if (keep == 0) continue;
    const TestGraph kept = compacted(old, Metric::kCosine, mapping);
    expect_valid(*kept.graph);
    EXPECT_EQ(kept.search(kept.rows.at(0), {.k = 50}).rows.size(), keep);
  }
}

// Every second cluster goes: no link that was kept leads from one cluster to another.
TEST(GraphCompaction, RowsWhoseNeighboursAreAllDroppedAreFound) {
  const std::size_t dim = 10;
  const TestGraph old(clustered(8000, dim, 200, 0.02, 8), dim, Metric::kL2, 2);
  std::vector<Row> dropped;
  for (Row r = 0; r < 8000; ++r) {
    if (r / 40 % 2 == 0 || r % 40 > 2) dropped.push_back(r);
  }
  for (Row r = 4000; r < 8000; ++r) {  // and enough stay to make it a repair
    if (r / 40 % 2 != 0)
      dropped.erase(std::remove(dropped.begin(), dropped.end(), r), dropped.end());
  }
  const RowMapping mapping(RowBitmap().with_rows(dropped), 8000);
  ASSERT_GT(mapping.new_rows(), 2048u);
  const TestGraph kept = compacted(old, Metric::kL2, mapping, 2);
  expect_valid(*kept.graph);
  std::size_t found = 0;
  for (Row r = 0; r < kept.rows.size(); r += 5) {
    found += kept.search(kept.rows.at(r), {.k = 1, .ef = 60}).rows[0].score == 0 ? 1u : 0u;
  }
  EXPECT_GE(found * 100, kept.rows.size() / 5 * 99);
}

TEST(GraphCompaction, ABuilderGoesOnFromThere) {
  const std::size_t dim = 16;
  const auto values = clustered(9000, dim, 1, 1, 9);
  TestGraph old(values, dim, Metric::kL2, 0);
  old.link(6000, 2);
  const RowMapping mapping(random_rows(9000, 0.5, 10), 9000);  // rows beyond the graph as well
  TestGraph kept = compacted(old, Metric::kL2, mapping);
  EXPECT_EQ(kept.graph->linked(), mapping.kept_below(6000));
  kept.link(mapping.new_rows(), 2);
  expect_valid(*kept.graph);
  const TestGraph fresh(kept_values(old.rows, mapping), dim, Metric::kL2, 2);
  const auto queries = make_values(Values::kOrdinary, 100 * dim, 11);
  EXPECT_GE(graph_recall(kept, Metric::kL2, queries),
            graph_recall(fresh, Metric::kL2, queries) - kHalfAPoint);
}

TEST(GraphCompaction, WorksWhileTheOldGraphGrows) {
  const std::size_t dim = 8;
  TestGraph old(clustered(8000, dim, 1, 1, 12), dim, Metric::kL2, 0);
  old.link(4000, 2);
  std::thread builder([&] { old.link(8000, 1); });
  const RowMapping mapping(random_rows(8000, 0.4, 13), 8000);
  for (int i = 0; i < (kSanitized ? 2 : 5); ++i) {
    const auto graph =
        compact_graph(*old.graph, old.codes_view(), old.quantizer, mapping, {.threads = 2});
    expect_valid(*graph);
  }
  builder.join();
}

TEST(GraphCompaction, CanBeInterrupted) {
  const TestGraph old(clustered(6000, 8, 1, 1, 14), 8, Metric::kL2, 2);
  const RowMapping mapping(random_rows(6000, 0.3, 15), 6000);
  Interrupt interrupt;
  interrupt.stop();
  try {
    compact_graph(*old.graph, old.codes_view(), old.quantizer, mapping,
                  {.threads = 2, .interrupt = &interrupt});
    FAIL() << "not interrupted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInterrupted);
  }
}

TEST(GraphCompaction, ADamagedNodeIsAnError) {
  const TestGraph old(clustered(6000, 8, 1, 1, 16), 8, Metric::kL2, 2);
  const std::string image = old.image();
  AlignedBuffer<std::uint8_t> bytes(image.size());
  std::copy(image.begin(), image.end(), bytes.data());
  bytes[kGraphHeaderBytes + 3000 * old.graph->params().node_bytes() + 20] ^= 1;
  const auto damaged = open_graph_image({bytes.data(), image.size()}, "graph");
  const RowMapping mapping(random_rows(6000, 0.3, 17), 6000);
  EXPECT_THROW(compact_graph(*damaged, old.codes_view(), old.quantizer, mapping, {}), Error);
}

}  // namespace
}  // namespace srvdb::testing
