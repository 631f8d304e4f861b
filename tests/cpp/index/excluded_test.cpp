// Searches while many rows are excluded: as complete and as good as without, and a scan of the few
// that are left does not touch the others.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "index/index_cases.h"
#include "simd/kernel_cases.h"
#include "srvdb/index/live_rows.h"
#include "srvdb/index/search_plan.h"

namespace srvdb::testing {
namespace {

constexpr double kHalfAPoint = 0.005;

enum class Lie { kAnywhere, kAroundAQuery, kFarFromAQuery };
constexpr Lie kLies[] = {Lie::kAnywhere, Lie::kAroundAQuery, Lie::kFarFromAQuery};

// That share of the rows: any, the nearest to the point, or the farthest from it.
RowBitmap some_rows(const TestRows& rows, double share, Lie lie, const float* point) {
  std::vector<std::pair<double, Row>> order;
  std::mt19937 random(5);
  for (Row r = 0; r < rows.size(); ++r) {
    const double near = exact_score(Metric::kL2, point, rows.at(r), rows.dim());
    const double by = lie == Lie::kAroundAQuery ? -near : near;
    order.push_back({lie == Lie::kAnywhere ? static_cast<double>(random()) : by, r});
  }
  std::sort(order.begin(), order.end());
  std::vector<Row> out;
  const auto n = static_cast<std::size_t>(share * rows.size());
  for (std::size_t i = 0; i < n; ++i) out.push_back(order[i].second);
  return RowBitmap().with_rows(out);
}

std::vector<Row> all_of(LiveRows live, std::size_t at_once) {
  std::vector<Row> out;
  std::vector<Row> some(at_once);
  while (const std::size_t n = live.next(some)) {
    out.insert(out.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(n));
  }
  return out;
}

TEST(LiveRows, AreTheRowsThatTheBitmapLeavesOver) {
  std::mt19937 random(1);
  for (const unsigned percent : {0u, 3u, 50u, 97u, 100u}) {
    std::vector<Row> members;
    for (Row r = 0; r < 200'000; ++r) {
      if (random() % 100 < percent) members.push_back(r);
    }
    const RowBitmap excluded = RowBitmap().with_rows(members);
    for (const auto& [first, last] : std::vector<std::pair<Row, Row>>{
             {0, 200'000}, {63, 64}, {64, 64}, {100, 65'537}, {131'000, 200'001}, {5, 3}}) {
      std::vector<Row> expected;
      for (Row r = first; r < last; ++r) {
        if (!excluded.test(r)) expected.push_back(r);
      }
      EXPECT_EQ(all_of(LiveRows(&excluded, first, last), 1), expected);
      EXPECT_EQ(all_of(LiveRows(&excluded, first, last), 100), expected);
    }
  }
  EXPECT_EQ(all_of(LiveRows(nullptr, 3, 70), 7).size(), 67u);
}

TEST(ExcludedRows, ExactSearchEqualsBruteForceAtEveryShare) {
  const std::size_t dim = 19;
  const TestRows rows(make_values(Values::kOrdinary, 5000 * dim, 2), dim, 2222);
  const auto queries = make_values(Values::kOrdinary, 6 * dim, 3);
  for (const double share : {0.1, 0.4, 0.6, 0.9, 0.99, 0.999, 1.0}) {
    for (const Lie lie : kLies) {
      const RowBitmap excluded = some_rows(rows, share, lie, queries.data());
      const FlatOptions options{.k = 10, .first = 7, .last = 4990, .excluded = &excluded};
      for (const Metric metric : kMetrics) {
        const auto batch = flat_search_batch(rows.view(), metric, queries.data(), 6, options);
        for (std::size_t q = 0; q < 6; ++q) {
          const float* query = queries.data() + q * dim;
          const auto truth = brute_force(rows.view(), metric, query, options);
          ASSERT_EQ(flat_search(rows.view(), metric, query, options), truth) << share;
          ASSERT_EQ(batch[q], truth) << share << ", in a batch";
        }
      }
    }
  }
}

TEST(ExcludedRows, AScanOfCodesFindsTheBestOfTheOthersAtEveryShare) {
  const std::size_t dim = 19;
  const TestGraph data(make_values(Values::kOrdinary, 5000 * dim, 4), dim, Metric::kL2, 0);
  const auto query = make_values(Values::kOrdinary, dim, 5);
  CodeQuery prepared;
  data.quantizer.prepare(query.data(), prepared);
  const CodeDistance distance(prepared);
  for (const double share : {0.0, 0.1, 0.4, 0.6, 0.9, 0.999, 1.0}) {
    const RowBitmap excluded = some_rows(data.rows, share, Lie::kAnywhere, query.data());
    std::vector<Neighbor> expected;
    for (Row r = 3; r < 4999; ++r) {
      if (!excluded.test(r)) expected.push_back({distance.key(data.codes_view().code(r)), r});
    }
    std::sort(expected.begin(), expected.end(), nearer);
    expected.resize(std::min<std::size_t>(expected.size(), 50));
    std::vector<Neighbor> found;
    for (const std::size_t threads : {std::size_t{1}, std::size_t{2}}) {
      code_scan(data.codes_view(), distance,
                {.k = 50, .first = 3, .last = 4999, .excluded = &excluded, .threads = threads},
                found);
      EXPECT_EQ(found, expected) << share;
    }
  }
}

class CountingVerifier : public RowVerifier {
 public:
  void verify(Row first, Row last) const override { rows += last - first; }
  mutable std::atomic<std::size_t> rows{0};
};

TEST(ExcludedRows, AScanTouchesOnlyTheFewThatAreLeft) {
  const std::size_t dim = 8;
  const TestGraph data(make_values(Values::kOrdinary, 20'000 * dim, 6), dim, Metric::kIp, 0);
  const auto queries = make_values(Values::kOrdinary, 5 * dim, 7);
  const RowBitmap excluded = some_rows(data.rows, 0.99, Lie::kAnywhere, queries.data());
  const CountingVerifier counter;
  RowsView rows = data.rows.view();
  rows.verifier = &counter;
  const FlatOptions options{.k = 10, .excluded = &excluded};
  flat_search(rows, Metric::kIp, queries.data(), options);
  EXPECT_EQ(counter.rows.exchange(0), 200u);
  flat_search_batch(rows, Metric::kIp, queries.data(), 5, options);
  EXPECT_EQ(counter.rows.exchange(0), 200u);

  CodesView codes = data.codes_view();
  codes.verifier = &counter;
  const std::vector<std::atomic<std::uint64_t>> checked(20'000 / 64 + 1);
  codes.checked = checked.data();
  CodeQuery prepared;
  data.quantizer.prepare(queries.data(), prepared);
  std::vector<Neighbor> found;
  code_scan(codes, CodeDistance(prepared), options, found);
  EXPECT_EQ(counter.rows.exchange(0), 200u);
}

TEST(ExcludedRows, KeepRecallWithinHalfAPointAndAnswersComplete) {
  const std::size_t dim = 24;
  for (const Metric metric : {Metric::kL2, Metric::kCosine}) {
    if (kSanitized && metric != Metric::kL2) continue;
    const TestGraph data(clustered(8000, dim, 40, 0.7, 8), dim, metric, 2);
    std::vector<float> queries;
    for (Row r = 17; r < 8000; r += 130) {
      for (std::size_t i = 0; i < dim; ++i) queries.push_back(data.rows.at(r)[i] * 1.01f);
    }
    const auto recall_of = [&](std::size_t ef, const RowBitmap* excluded, std::size_t& scans) {
      const std::size_t live = 8000 - (excluded != nullptr ? excluded->count() : 0);
      return recall(data.rows, metric, queries, 10, excluded, [&](const float* query) {
        const auto found = data.search(query, {.k = 10, .ef = ef, .excluded = excluded});
        EXPECT_EQ(found.rows.size(), std::min<std::size_t>(10, live));
        for (const ScoredRow& hit : found.rows) {
          EXPECT_FALSE(excluded != nullptr && excluded->test(hit.row));
        }
        scans += found.scanned ? 1 : 0;
        return found.rows;
      });
    };
    std::size_t scans = 0;
    for (const std::size_t ef : {std::size_t{40}, std::size_t{100}}) {
      const double without = recall_of(ef, nullptr, scans);
      EXPECT_EQ(scans, 0u);
      for (const Lie lie : kLies) {
        for (const double share : {0.1, 0.3, 0.5, 0.9, 0.999, 0.9995}) {
          if (kSanitized && share != 0.5 && share != 0.999) continue;
          const RowBitmap excluded = some_rows(data.rows, share, lie, queries.data());
          const double with = recall_of(ef, &excluded, scans);
          EXPECT_GE(with, without - kHalfAPoint) << share << ", " << static_cast<int>(lie);
        }
      }
      EXPECT_GT(scans, 0u);
      scans = 0;
    }
  }
}

// With a graph that knows how far to go, without one that does, for inner products; k above ef,
// too.
TEST(ExcludedRows, KeepRecallWithinHalfAPointWhereAWalkGoesThroughThem) {
  const std::size_t dim = 24;
  for (const Metric metric : kMetrics) {
    if (kSanitized && metric != Metric::kL2) continue;
    const TestGraph data(clustered(8000, dim, 40, 0.7, 8), dim, metric, 2);
    std::vector<float> queries;
    for (Row r = 17; r < 8000; r += 90) {
      for (std::size_t i = 0; i < dim; ++i) queries.push_back(data.rows.at(r)[i] * 1.01f);
    }
    for (const auto& [k, ef] : {std::pair{10, 16}, {10, 60}, {40, 40}, {40, 20}}) {
      const auto recall_of = [&](const RowBitmap* excluded) {
        return recall(data.rows, metric, queries, static_cast<std::size_t>(k), excluded,
                      [&](const float* query) {
                        const auto found = data.search(query, {.k = static_cast<std::size_t>(k),
                                                               .ef = static_cast<std::size_t>(ef),
                                                               .excluded = excluded,
                                                               .way = SearchWay::kWalk});
                        EXPECT_EQ(found.rows.size(), static_cast<std::size_t>(k));
                        for (const ScoredRow& hit : found.rows) {
                          EXPECT_FALSE(excluded != nullptr && excluded->test(hit.row));
                        }
                        return found.rows;
                      });
      };
      const double without = recall_of(nullptr);
      for (const Lie lie : kLies) {
        for (const double share : {0.002, 0.03, 0.083}) {
          const RowBitmap excluded = some_rows(data.rows, share, lie, queries.data());
          EXPECT_GE(recall_of(&excluded), without - kHalfAPoint)
              << metric_name(metric) << ", " << share << ", " << static_cast<int>(lie) << ", k "
              << k << ", ef " << ef;
        }
      }
    }
  }
}

// A few rows: a walk goes through them, unless they are what lies nearest, or right behind that.
TEST(ExcludedRows, AFewAreGoneThroughAndAroundWhereTheyLieAboutTheQuery) {
  const std::size_t dim = 24;
  const TestGraph data(clustered(8000, dim, 40, 0.7, 8), dim, Metric::kL2, 2);
  for (const std::size_t k : {std::size_t{1}, std::size_t{10}, std::size_t{40}}) {
    for (Row r = 17; r < 8000; r += 500) {
      const float* const query = data.rows.at(r);
      const auto near = brute_force(data.rows.view(), Metric::kL2, query, {.k = 4 * k});
      const auto ranked = [&](std::size_t first, std::size_t last) {
        std::vector<Row> out;
        for (std::size_t i = first; i < last; ++i) out.push_back(near[i].row);
        std::sort(out.begin(), out.end());
        return out;
      };
      // As many as may be among the nearest; all of the nearest; and those behind half of them.
      const std::size_t few = std::max<std::size_t>(k / 2, 1);
      const std::pair<std::vector<Row>, bool> cases[] = {
          {ranked(k > 1 ? 0 : 1, few + (k > 1 ? 0 : 1)), false},
          {ranked(0, k), true},
          {ranked(k / 2, 3 * k), true}};
      const auto steps_of = [&](const RowBitmap* excluded, GraphResult* found) {
        WalkCounts counts;
        *found = data.search(
            query,
            {.k = k, .ef = 200, .excluded = excluded, .way = SearchWay::kWalk, .counts = &counts});
        return counts.expanded;
      };
      GraphResult found;
      const std::size_t without = steps_of(nullptr, &found);
      for (const auto& [gone, around] : cases) {
        const RowBitmap excluded = RowBitmap().with_rows(gone);
        const std::size_t steps = steps_of(&excluded, &found);
        EXPECT_EQ(steps > without + 5, around) << k << ", row " << r;
        EXPECT_FALSE(found.scanned);
        const auto truth =
            brute_force(data.rows.view(), Metric::kL2, query, {.k = k, .excluded = &excluded});
        EXPECT_TRUE(std::equal(truth.begin(), truth.end(), found.rows.begin(), found.rows.end(),
                               [](const auto& a, const auto& b) { return a.row == b.row; }))
            << k << ", row " << r << (around ? ", around" : ", through");
      }
    }
  }
}

TEST(ExcludedRows, ABatchAnswersAsOneByOneWhereAFewAre) {
  const std::size_t dim = 24;
  const TestGraph data(clustered(8000, dim, 40, 0.7, 8), dim, Metric::kL2, 2);
  const auto near = brute_force(data.rows.view(), Metric::kL2, data.rows.at(40), {.k = 30});
  std::vector<Row> gone;
  for (const ScoredRow& row : near) gone.push_back(row.row);
  for (Row r = 0; r < 8000; r += 50) gone.push_back(r);
  std::sort(gone.begin(), gone.end());
  gone.erase(std::unique(gone.begin(), gone.end()), gone.end());
  const RowBitmap excluded = RowBitmap().with_rows(gone);
  const GraphSearchOptions options{.k = 10, .ef = 40, .excluded = &excluded};
  std::vector<GraphResult> results(100);
  graph_search_batch(*data.graph, data.rows.view(), data.codes_view(), data.quantizer,
                     data.rows.at(0), 100, options, results.data());
  for (Row r = 0; r < 100; ++r) {
    const auto one = data.search(data.rows.at(r), options).rows;
    EXPECT_EQ(one.size(), 10u);
    EXPECT_TRUE(std::equal(one.begin(), one.end(), results[r].rows.begin(), results[r].rows.end(),
                           [](const auto& a, const auto& b) { return a.row == b.row; }))
        << r;
    for (const ScoredRow& hit : one) EXPECT_FALSE(excluded.test(hit.row));
  }
}

// The walk by itself, where a plan would scan: it finds as much as among eligible rows alone.
TEST(ExcludedRows, AWalkAmongThemKeepsRecall) {
  const std::size_t dim = 32;
  const TestGraph data(clustered(8000, dim, 1, 1, 10), dim, Metric::kL2, 2);
  const auto queries = make_values(Values::kOrdinary, 60 * dim, 11);
  const auto recall_of = [&](const RowBitmap* excluded, bool far) {
    return recall(data.rows, Metric::kL2, queries, 10, excluded, [&](const float* query) {
      CodeQuery prepared;
      data.quantizer.prepare(query, prepared);
      std::vector<Neighbor> found;
      const WalkOptions options{.ef = 60, .excluded = excluded, .wanted = 10, .far = far};
      graph_walk(*data.graph, data.codes_view(), CodeDistance(prepared), options, found);
      std::vector<Row> rows(found.size());
      std::transform(found.begin(), found.end(), rows.begin(),
                     [](const Neighbor& entry) { return entry.row; });
      return rescore(data.rows.view(), Metric::kL2, query, rows, 10);
    });
  };
  const double without = recall_of(nullptr, false);
  EXPECT_LT(without, 0.98);  // else there is nothing to lose
  for (const Lie lie : kLies) {
    for (const double share : {0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99}) {
      const RowBitmap excluded = some_rows(data.rows, share, lie, queries.data());
      EXPECT_GE(recall_of(&excluded, share > 0.95), without - kHalfAPoint)
          << share << static_cast<int>(lie);
    }
  }
}

TEST(ExcludedRows, AWalkMeasuresNone) {
  const std::size_t dim = 16;
  const TestGraph data(clustered(4000, dim, 1, 1, 12), dim, Metric::kL2, 2);
  const auto query = make_values(Values::kOrdinary, dim, 13);
  CodeQuery prepared;
  data.quantizer.prepare(query.data(), prepared);
  std::vector<Neighbor> found;
  for (const double share : {0.0005, 0.2, 0.8, 0.97, 0.9999, 1.0}) {
    const RowBitmap excluded = some_rows(data.rows, share, Lie::kAnywhere, query.data());
    for (const bool far : {false, true}) {
      WalkCounts counts;
      const WalkOptions options{
          .ef = 40, .excluded = &excluded, .wanted = 10, .far = far, .counts = &counts};
      EXPECT_EQ(graph_walk(*data.graph, data.codes_view(), CodeDistance(prepared), options, found),
                WalkEnd::kComplete);
      EXPECT_LE(counts.seen, 4000 - excluded.count());
      EXPECT_LE(counts.hopped, excluded.count());
      EXPECT_LE(found.size(), counts.seen);
      EXPECT_TRUE(std::is_sorted(found.begin(), found.end(), nearer));
      for (const Neighbor& hit : found) EXPECT_FALSE(excluded.test(hit.row));
    }
  }
}

// Each row has a twin beside it that is excluded, as after replacing every row by nearly the same.
TEST(ExcludedRows, TwinsOfTheOthersCostNoRecall) {
  const std::size_t dim = 24;
  std::vector<float> values = clustered(4000, dim, 1, 1, 14);
  const std::vector<float> first = values;
  values.insert(values.end(), first.begin(), first.end());
  for (std::size_t i = first.size(); i < values.size(); ++i) values[i] *= 1.001f;
  const TestGraph data(std::move(values), dim, Metric::kL2, 2);
  const TestGraph alone(first, dim, Metric::kL2, 2);
  const auto queries = make_values(Values::kOrdinary, 60 * dim, 15);
  std::vector<Row> gone(4000);
  for (Row r = 0; r < 4000; ++r) gone[r] = 4000 + r;
  const RowBitmap excluded = RowBitmap().with_rows(gone);
  const auto recall_of = [&](const TestGraph& of, const RowBitmap* without) {
    return recall(of.rows, Metric::kL2, queries, 10, without, [&](const float* query) {
      return of.search(query, {.k = 10, .ef = 40, .excluded = without, .way = SearchWay::kWalk})
          .rows;
    });
  };
  EXPECT_GE(recall_of(data, &excluded), recall_of(alone, nullptr) - kHalfAPoint);
}

TEST(ExcludedRows, RowsThatLieTogetherAreEntered) {
  const std::size_t dim = 24;
  const TestGraph data(clustered(8000, dim, 40, 0.7, 16), dim, Metric::kCosine, 2);
  std::vector<float> queries;
  for (Row r = 5; r < 8000; r += 400) {
    queries.insert(queries.end(), data.rows.at(r), data.rows.at(r) + dim);
  }
  std::vector<Row> gone;  // rows come cluster after cluster: two and a half of them are left
  for (Row r = 0; r < 8000; ++r) {
    if (r < 4111 || r >= 4611) gone.push_back(r);
  }
  const RowBitmap excluded = RowBitmap().with_rows(gone);
  const double found =
      recall(data.rows, Metric::kCosine, queries, 10, &excluded, [&](const float* query) {
        return data
            .search(query, {.k = 10, .ef = 40, .excluded = &excluded, .way = SearchWay::kWalk})
            .rows;
      });
  EXPECT_GE(found, 0.98);
}

// The region that queries come from is excluded as a whole, and the rows nearest to it are linked
// to by excluded ones above all.
TEST(ExcludedRows, AQueryInTheMidstOfThemKeepsRecall) {
  const std::size_t dim = 16;
  std::vector<float> values = make_values(Values::kOrdinary, 10'000 * dim, 17);
  for (std::size_t i = 0; i < 3000 * dim; ++i) values[i] += 3;
  const TestGraph data(values, dim, Metric::kCosine, 2);
  const std::vector<float> queries(values.begin(), values.begin() + 60 * dim);
  std::vector<Row> gone(3000);
  for (Row r = 0; r < 3000; ++r) gone[r] = r;
  const RowBitmap excluded = RowBitmap().with_rows(gone);
  const auto recall_of = [&](const RowBitmap* without, std::size_t* scans) {
    return recall(data.rows, Metric::kCosine, queries, 10, without, [&](const float* query) {
      const GraphResult result = data.search(query, {.k = 10, .ef = 50, .excluded = without});
      if (scans != nullptr) *scans += result.scanned ? 1 : 0;
      return result.rows;
    });
  };
  std::size_t scans = 0;
  EXPECT_GE(recall_of(&excluded, &scans), recall_of(nullptr, nullptr) - kHalfAPoint);
  EXPECT_GT(scans, 0u);
  // Rows like the queries, with others excluded: nothing to scan for.
  std::vector<Row> others(3500);
  for (Row r = 0; r < 3500; ++r) others[r] = 3000 + r;
  const RowBitmap away = RowBitmap().with_rows(others);
  scans = 0;
  EXPECT_GE(recall_of(&away, &scans), recall_of(nullptr, nullptr) - kHalfAPoint);
  EXPECT_EQ(scans, 0u);
}

// As many excluded rows as are looked at, in a graph of few links.
TEST(ExcludedRows, AQueryInTheMidstOfThemNeedsNoWideGraph) {
  const std::size_t dim = 8;
  auto values = clustered(4096, dim, 1, 1, 3);
  std::vector<Row> even;
  for (Row r = 0; r < 4096; r += 2) {
    even.push_back(r);
    for (std::size_t i = 0; i < dim; ++i) values[std::size_t{r} * dim + i] += 20;
  }
  for (const std::uint32_t m : {2u, 3u, 5u}) {
    const TestGraph data(values, dim, Metric::kL2, 1, {.m = m, .ef_construction = 40});
    const RowBitmap excluded = RowBitmap().with_rows(even);
    std::thread([&] {  // with memory of its own
      for (Row q = 0; q < 100; q += 2) {
        const auto found = data.search(data.rows.at(q), {.k = 10, .ef = 40, .excluded = &excluded});
        EXPECT_EQ(found.rows.size(), 10u);
      }
    })
        .join();
  }
}

TEST(SearchPlan, WalksWhileThatIsTheCheaperAndScansBeyond) {
  const PlanInput all{
      .rows = 1'000'000, .eligible = 1'000'000, .ef = 100, .k = 10, .code_bytes = 128};
  EXPECT_TRUE(plan_search(all).walk);
  bool walked = true;
  for (std::size_t eligible = all.rows; eligible > 0; eligible = eligible * 9 / 10) {
    PlanInput some = all;
    some.eligible = eligible;
    const SearchPlan plan = plan_search(some);
    EXPECT_TRUE(walked || !plan.walk) << eligible;  // one crossover
    walked = plan.walk;
    EXPECT_TRUE(plan.walk || eligible <= 500'000) << eligible;
    EXPECT_TRUE(!plan.walk || eligible >= 10'000) << eligible;
  }
  EXPECT_TRUE(plan_search(all).through);
  for (const auto& [excluded, through] : {std::pair{1, true}, {80'000, true}, {100'000, false}}) {
    PlanInput some = all;
    some.eligible -= static_cast<std::size_t>(excluded);
    EXPECT_EQ(plan_search(some).through, through) << excluded;
  }
  PlanInput none = all;
  none.eligible = 0;
  EXPECT_FALSE(plan_search(none).walk);
}

TEST(SearchPlan, AWalkOverItsBudgetFindsNothing) {
  const TestGraph data(clustered(3000, 8, 1, 1, 9), 8, Metric::kL2, 2);
  CodeQuery prepared;
  data.quantizer.prepare(data.rows.at(1), prepared);
  std::vector<Neighbor> found;
  const auto walk = [&](std::size_t budget) {
    return graph_walk(*data.graph, data.codes_view(), CodeDistance(prepared),
                      {.ef = 50, .budget = budget}, found);
  };
  EXPECT_EQ(walk(100), WalkEnd::kOverBudget);
  EXPECT_TRUE(found.empty());
  EXPECT_EQ(walk(3000), WalkEnd::kComplete);
  EXPECT_EQ(found.size(), 50u);
}

}  // namespace
}  // namespace srvdb::testing
