// search(recall=): the promise is kept, measured on the database's own data, kept with it, and
// measured again when they change; mode "auto" goes by measured cost.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>

#include "fixture.h"
#include "srvdb/database/calibration.h"

namespace srvdb {
namespace {

constexpr std::size_t kDim = 16;
constexpr std::size_t kRows = 6000;
constexpr std::size_t kQueries = 300;

class TuningTest : public DatabaseTest {
 protected:
  void TearDown() override {
    set_costs_for_tests(std::nullopt);
    DatabaseTest::TearDown();
  }
  static OpenOptions options(Mode mode = Mode::kHnsw, bool background = false) {
    OpenOptions out;
    out.mode = mode;
    out.metric = Metric::kL2;
    out.m = 8;  // so sparse that it is easy to miss something
    out.ef_construction = 40;
    out.background = background;
    return out;
  }
  static double recall(const Database& db, const std::vector<float>& queries,
                       const SearchOptions& options) {
    SearchOptions exact;
    exact.k = options.k;
    exact.exact = true;
    const std::size_t n = queries.size() / kDim;
    const auto truth = db.search_batch(queries.data(), n, kDim, exact);
    const auto found = db.search_batch(queries.data(), n, kDim, options);
    std::size_t right = 0;
    std::size_t wanted = 0;
    for (std::size_t q = 0; q < n; ++q) {
      for (const Hit& hit : found[q].hits) {
        right += hit.score >= truth[q].hits.back().score ? 1u : 0u;
      }
      wanted += truth[q].hits.size();
    }
    return static_cast<double>(right) / static_cast<double>(wanted);
  }
  static bool wait_until(const std::function<bool()>& done) {
    for (int i = 0; i < 3000 && !done(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return done();
  }
  std::shared_ptr<Database> filled(const OpenOptions& options) {
    auto db = open(options);
    fill(*db, kRows, kDim);
    db->optimize(1, nullptr, nullptr);
    return db;
  }
};

TEST_F(TuningTest, ARecallThatIsAskedForIsReachedOnQueriesNeverSeen) {
  const auto db = filled(options());
  ASSERT_EQ(db->stats().tuning, Tuning::kMeasured);
  const std::vector<float> queries = random_rows(kQueries, kDim, 99);
  double before = 0;
  for (const double target : {0.8, 0.9, 0.95, 0.99}) {
    const double got = recall(*db, queries, {.recall = target});
    EXPECT_GE(got, target - 0.01) << target;
    EXPECT_GE(got, before) << target;  // and no more is done than it takes
    before = got;
  }
  const std::uint32_t easy = db->stats().calibration->width_for(0.8, 10).value_or(0);
  const std::uint32_t hard = db->stats().calibration->width_for(0.99, 10).value_or(0);
  EXPECT_LT(2 * easy, hard);
}

TEST_F(TuningTest, OtherNumbersOfHitsAreMeasuredOnceTheyAreAskedFor) {
  const auto db = filled(options());
  const std::vector<float> queries = random_rows(kQueries, kDim, 98);
  recall(*db, queries, {.k = 1, .recall = 0.9});
  recall(*db, queries, {.k = 90, .recall = 0.9});
  db->optimize(1, nullptr, nullptr);
  const Calibration& measured = *db->stats().calibration;
  ASSERT_EQ(measured.curves.size(), 3u);
  EXPECT_EQ(measured.curves[0].k, 1u);
  EXPECT_EQ(measured.curves[1].k, 10u);
  EXPECT_EQ(measured.curves[2].k, 100u);
  for (const std::size_t k : {1, 90}) {
    EXPECT_GE(recall(*db, queries, {.k = k, .recall = 0.95}), 0.94) << k;
  }
}

TEST_F(TuningTest, RecallOneIsAnExactSearch) {
  const auto db = filled(options());
  const std::vector<float> queries = random_rows(kQueries, kDim, 97);
  EXPECT_LT(recall(*db, queries, {.ef = 10}), 1);
  EXPECT_EQ(recall(*db, queries, {.recall = 1}), 1);
  db->set_mode(Mode::kSq8);
  EXPECT_EQ(recall(*db, queries, {.recall = 0.9}), 1);  // codes alone promise nothing
}

TEST_F(TuningTest, RecallAndEfTogetherAndRecallsOutOfRangeAreRefused) {
  const auto db = filled(options());
  const std::vector<float> query = random_rows(1, kDim, 96);
  const auto search = [&](SearchOptions how) {
    return code_of([&] { db->search(query.data(), kDim, how); });
  };
  EXPECT_EQ(search({.ef = 10, .recall = 0.9}), ErrorCode::kInvalidInput);
  for (const double bad : {-0.1, 1.01, std::nan("")}) {
    EXPECT_EQ(search({.recall = bad}), ErrorCode::kInvalidInput) << bad;
    EXPECT_EQ(code_of([&] { db->set_recall(bad); }), ErrorCode::kInvalidInput) << bad;
  }
}

TEST_F(TuningTest, TheHandlesRecallCountsUntilACallOrALaterSettingNamesAnother) {
  filled(options())->close();
  OpenOptions how = options();
  how.recall = 1;
  const auto db = open(how);
  const std::vector<float> queries = random_rows(kQueries, kDim, 95);
  EXPECT_EQ(recall(*db, queries, {}), 1);
  EXPECT_EQ(db->stats().recall, 1);
  EXPECT_LT(recall(*db, queries, {.ef = 10}), 1);
  db->set_ef(10);
  EXPECT_EQ(db->stats().recall, 0);
  EXPECT_LT(recall(*db, queries, {}), 1);
  db->set_recall(1);
  EXPECT_EQ(recall(*db, queries, {}), 1);
}

TEST_F(TuningTest, WhatWasMeasuredIsThereAfterOpeningForWriterReaderAndSnapshot) {
  const auto db = filled(options());
  const Calibration measured = *db->stats().calibration;
  EXPECT_TRUE(measured.measured());
  EXPECT_EQ(measured.rows, kRows);
  db->create_snapshot("kept");
  db->close();
  EXPECT_EQ(*open()->stats().calibration, measured);
  OpenOptions reader;
  reader.read_only = true;
  EXPECT_EQ(*open(reader)->stats().calibration, measured);
  EXPECT_EQ(*Database::open(path_ + "/snapshots/kept", reader)->stats().calibration, measured);
}

TEST_F(TuningTest, OptimizeMeasuresAgainOnlyWhenSomethingHasChanged) {
  const auto db = filled(options());
  const Calibration first = *db->stats().calibration;
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(*db->stats().calibration, first);
  fill(*db, 500, kDim, kRows);
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(db->stats().calibration->rows, kRows + 500);
}

TEST_F(TuningTest, TheCurveDoesNotDependOnTheNumberOfThreads) {
  const auto db = filled(options());
  const auto points = [&] {
    Calibration out = *db->stats().calibration;
    for (CurvePoint& point : out.curves[0].points) point.walk_ns = 0;
    return out.curves;
  };
  const auto first = points();
  fill(*db, 1, kDim, kRows);
  const std::vector<std::string_view> last = {"r6000"};
  db->remove(last);
  db->compact(nullptr, nullptr);  // the same rows and links, to be measured again
  db->optimize(4, nullptr, nullptr);
  EXPECT_EQ(points().size(), first.size());
}

TEST_F(TuningTest, TheBackgroundMeasuresUnaskedAndAgainWhenTheRowsHaveChanged) {
  const auto db = open(options(Mode::kHnsw, true));
  fill(*db, kRows, kDim);
  const auto rows_measured = [&] { return db->stats().calibration->rows; };
  ASSERT_TRUE(wait_until([&] { return rows_measured() > kRows - 600; }));
  const Row first = rows_measured();
  fill(*db, kRows, kDim, kRows);
  ASSERT_TRUE(wait_until([&] { return rows_measured() > first; }));
  ASSERT_TRUE(wait_until([&] { return db->stats().tuning == Tuning::kMeasured; }));
  const Ids gone("r", 0, kRows / 4);  // an eighth of all
  db->remove(gone.views);
  db->persist();
  fill(*db, 600, kDim, 2 * kRows);  // wakes the background
  EXPECT_TRUE(wait_until([&] { return db->stats().calibration->hidden >= kRows / 4; }));
  EXPECT_EQ(db->stats().background_error, "");
}

TEST_F(TuningTest, ACompactedDatabaseGoesByTheOldCurveUntilItIsMeasured) {
  const auto db = filled(options());
  const Ids gone("r", 0, 1000);
  db->remove(gone.views);
  db->compact(nullptr, nullptr);
  EXPECT_TRUE(db->stats().calibration->measured());
  EXPECT_NE(db->stats().calibration->generation, db->stats().generation);
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(db->stats().calibration->generation, db->stats().generation);
  EXPECT_EQ(db->stats().calibration->rows, kRows - 1000);
}

TEST_F(TuningTest, WidthsBelowTheAnswersLengthAreMeasuredWhereWalksTakeThem) {
  const auto db = filled(options());
  EXPECT_EQ(db->stats().calibration->curves[0].points.front().ef, 5u);
  EXPECT_GE(recall(*db, random_rows(kQueries, kDim, 98), {.recall = 0.6}), 0.59);
  db->close();
  OpenOptions products = options();
  products.metric = Metric::kIp;  // keys are no distances: walks are raised to k
  const auto other = Database::open(root_ + "/other", products);
  fill(*other, kRows, kDim);
  other->optimize(1, nullptr, nullptr);
  EXPECT_EQ(other->stats().calibration->curves[0].points.front().ef, 10u);
}

TEST_F(TuningTest, QueriesThatWereAskedMakeTheCurveAndItsHardnessOutlivesThem) {
  // Queries so far from all rows that not even twice the width that serves rows is enough: what
  // lies nearest to them is spread over the graph.
  const auto db = filled(options());
  std::vector<float> queries = random_rows(2 * kQueries, kDim, 94);
  for (float& x : queries) x *= 8;
  const std::vector<float> asked(queries.begin(), queries.begin() + kQueries * kDim);
  const std::vector<float> later(queries.begin() + kQueries * kDim, queries.end());
  const std::uint32_t by_rows = db->stats().calibration->width_for(0.95, 10).value_or(0);
  recall(*db, asked, {.recall = 0.95});
  db->optimize(1, nullptr, nullptr);
  const Calibration measured = *db->stats().calibration;
  EXPECT_TRUE(measured.curves[0].of_searches);
  EXPECT_GT(measured.hardness, 1);
  EXPECT_GT(measured.width_for(0.95, 10).value_or(0), by_rows);
  EXPECT_GE(recall(*db, later, {.recall = 0.95}), 0.94);
  db->close();
  const auto again = open(options());
  fill(*again, 300, kDim, kRows);
  again->optimize(1, nullptr, nullptr);
  const Calibration second = *again->stats().calibration;
  EXPECT_FALSE(second.curves[0].of_searches);
  EXPECT_EQ(second.hardness, measured.hardness);
  EXPECT_GE(recall(*again, later, {.recall = 0.95}), 0.93);
}

TEST_F(TuningTest, TheBackgroundTakesUpTheQueriesOfWhoWantsRecall) {
  const auto db = filled(options(Mode::kHnsw, true));
  const std::vector<float> queries = random_rows(kQueries, kDim, 93);
  ASSERT_FALSE(db->stats().calibration->curves[0].of_searches);
  recall(*db, queries, {.recall = 0.9});
  EXPECT_TRUE(wait_until([&] { return db->stats().calibration->curves[0].of_searches; }));
}

TEST_F(TuningTest, ADatabaseBeforeItsFirstMeasurementSaysSoAndIsCautious) {
  const auto db = open(options());
  fill(*db, 500, kDim);
  EXPECT_EQ(db->stats().tuning, Tuning::kNone);
  fill(*db, kRows, kDim, 500);
  EXPECT_FALSE(db->stats().calibration->measured());
  const std::vector<float> queries = random_rows(kQueries, kDim, 92);
  EXPECT_GE(recall(*db, queries, {.recall = 0.9}), 0.9);
}

TEST_F(TuningTest, ClosingDoesNotWaitForAMeasurement) {
  const auto db = open(options(Mode::kHnsw, true));
  fill(*db, 4 * kRows, kDim);
  wait_until([&] { return db->stats().tuning == Tuning::kMeasuring; });
  const auto start = std::chrono::steady_clock::now();
  db->close();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(TuningTest, AutoTakesWhatWasMeasuredToBeTheFaster) {
  OpenOptions how = options(Mode::kHnsw);
  const auto db = open(how);
  fill(*db, kRows, kDim);
  // A scan takes 6,000 x 5 ns = 30 us, in a batch 6 us; a walk of width 100 takes 10 us.
  set_costs_for_tests(FixedCosts{5, 1, 10'000});
  db->optimize(1, nullptr, nullptr);
  db->set_mode(Mode::kAuto);
  EXPECT_EQ(db->stats().searching, Mode::kHnsw);
  const std::vector<float> queries = random_rows(kQueries, kDim, 91);
  EXPECT_EQ(recall(*db, queries, {.ef = 100}), 1);  // the batch is scanned, with nothing missed
  std::size_t missed = 0;
  for (std::size_t q = 0; q < kQueries; ++q) {
    const std::vector<float> one(queries.begin() + static_cast<std::ptrdiff_t>(q * kDim),
                                 queries.begin() + static_cast<std::ptrdiff_t>((q + 1) * kDim));
    missed += recall(*db, one, {.ef = 15}) < 1 ? 1u : 0u;
  }
  EXPECT_GT(missed, 0u);  // alone they walk
  // Slower walks: everything is scanned.
  set_costs_for_tests(FixedCosts{5, 1, 100'000});
  fill(*db, 200, kDim, kRows);
  db->set_mode(Mode::kHnsw);
  db->optimize(1, nullptr, nullptr);
  db->set_mode(Mode::kAuto);
  EXPECT_EQ(db->stats().searching, Mode::kFlat);
}

}  // namespace
}  // namespace srvdb
