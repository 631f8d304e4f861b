// Codes and graph: saved, taken over, kept in step with the rows.

#include "srvdb/database/indexer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>

#include "damage.h"
#include "fixture.h"

namespace srvdb {
namespace {

constexpr std::size_t kDim = 8;
constexpr std::size_t kRows = 6000;
constexpr std::size_t kGraphPage = 4096;  // the header, with a lineage of its own

class IndexerTest : public DatabaseTest {
 protected:
  static OpenOptions hnsw(bool background = false) {
    OpenOptions options;
    options.mode = Mode::kHnsw;
    options.ef_construction = 40;
    options.background = background;
    return options;
  }
  // Adds rows "r<first>"… of one fixed sequence in batches of the given sizes, repeated.
  static void add_cut(Database& db, std::size_t rows, const std::vector<std::size_t>& cuts) {
    const std::vector<float> all = random_rows(rows, kDim, 42);
    for (std::size_t at = 0, i = 0; at < rows; ++i) {
      const std::size_t n = std::min(cuts[i % cuts.size()], rows - at);
      const Ids ids("r", at, n);
      db.add({ids.views, all.data() + at * kDim, kDim, {}});
      at += n;
    }
  }
  static bool wait_until(const std::function<bool()>& done) {
    for (int i = 0; i < 2000 && !done(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return done();
  }
};

TEST_F(IndexerTest, TheGraphIsMappedOnOpeningAndStaysSoWhileNothingIsToBeLinked) {
  {
    const auto db = open(hnsw());
    fill(*db, kRows, kDim);
    db->optimize(1, nullptr, nullptr);
  }
  const auto db = open(hnsw(true));
  EXPECT_EQ(db->stats().linked_rows, kRows);
  EXPECT_EQ(db->stats().searching, Mode::kHnsw);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(db->stats().graph_memory_bytes, 0u);
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(db->stats().graph_memory_bytes, 0u);
  fill(*db, 1000, kDim, kRows);
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(db->stats().linked_rows, kRows + 1000);
  EXPECT_GT(db->stats().graph_memory_bytes, 0u);
}

TEST_F(IndexerTest, LinksInTheBackgroundAndSavesWhatItLinked) {
  const auto db = open(hnsw(true));
  fill(*db, kRows, kDim);
  EXPECT_TRUE(wait_until([&] { return db->stats().linked_rows > kRows - 600; }));
  EXPECT_TRUE(wait_until([&] { return db->stats().graph_saved_rows > kRows / 2; }));
  EXPECT_EQ(db->stats().background_error, "");
}

TEST_F(IndexerTest, OneInputGivesOneGraphHoweverItWasCutAndAtAnyNumberOfThreads) {
  std::string first;
  const std::vector<std::vector<std::size_t>> cuts = {{kRows}, {1, 500, 7, 1200}, {999}, {kRows}};
  for (std::size_t i = 0; i < cuts.size(); ++i) {
    path_ = root_ + "/db" + std::to_string(i);
    {
      const auto db = open(hnsw());
      add_cut(*db, kRows, cuts[i]);
      db->optimize(i == 3 ? 2 : 1, nullptr, nullptr);
    }
    const std::string graph = testing::bytes_of(path_ + "/gen-1/graph.hnsw");
    ASSERT_GT(graph.size(), kGraphPage);
    if (i == 0) first = graph.substr(kGraphPage);
    EXPECT_TRUE(graph.substr(kGraphPage) == first) << "input " << i;
  }
}

TEST_F(IndexerTest, RowsThatDoNotFitTheCodesGetNewOnesAndAreFound) {
  OpenOptions options = hnsw();
  options.metric = Metric::kL2;
  const auto db = open(options);
  std::vector<float> rows = random_rows(5000, kDim, 1);
  const Ids near("near", 0, 5000);
  db->add({near.views, rows.data(), kDim, {}});
  db->optimize(1, nullptr, nullptr);
  const std::string before = testing::bytes_of(path_ + "/gen-1/codes.i8").substr(0, 4096);
  for (float& x : rows) x *= 100;
  for (std::size_t part = 0; part < 2; ++part) {
    const Ids far(part == 0 ? "far" : "further", 0, 5000);
    db->add({far.views, rows.data(), kDim, {}});
    db->optimize(1, nullptr, nullptr);
  }
  EXPECT_NE(testing::bytes_of(path_ + "/gen-1/codes.i8").substr(0, 4096), before);
  std::size_t found = 0;
  for (std::size_t i = 0; i < 100; ++i) {
    const auto hits = ids_of(db->search(rows.data() + i * kDim, kDim, {.k = 2}));
    found += std::count(hits.begin(), hits.end(), "far" + std::to_string(i)) != 0 ? 1u : 0u;
  }
  EXPECT_GE(found, 98u);
  EXPECT_EQ(db->stats().coded_rows, 15000u);
}

TEST_F(IndexerTest, ChangingTheModeChangesWhatASearchDoes) {
  OpenOptions options;
  options.background = false;
  const auto db = open(options);
  const std::vector<float> rows = fill(*db, kRows, kDim);
  const auto expected = ids_of(db->search(rows.data(), kDim, {.k = 5}));
  EXPECT_EQ(db->stats().searching, Mode::kFlat);
  db->set_mode(Mode::kSq8);
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(db->stats().searching, Mode::kSq8);
  EXPECT_EQ(ids_of(db->search(rows.data(), kDim, {.k = 5})), expected);
  db->set_mode(Mode::kHnsw);
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(db->stats().searching, Mode::kHnsw);
  EXPECT_EQ(db->search(rows.data(), kDim, {.k = 5}).hits[0].id, "r0");
  db->close();
  EXPECT_EQ(open()->stats().mode, Mode::kHnsw);
}

TEST_F(IndexerTest, OptimizeStopsWhenAskedAndLeavesAUsableDatabase) {
  const auto db = open(hnsw());
  const std::vector<float> rows = fill(*db, kRows, kDim);
  Interrupt interrupt;
  std::size_t calls = 0;
  EXPECT_EQ(code_of([&] {
              db->optimize(
                  1,
                  [&](std::size_t, std::size_t) {
                    if (++calls == 1) interrupt.stop();
                  },
                  &interrupt);
            }),
            ErrorCode::kInterrupted);
  EXPECT_EQ(db->search(rows.data(), kDim, {.k = 1}).hits[0].id, "r0");
  std::size_t last = 0;
  db->optimize(
      1,
      [&](std::size_t done, std::size_t total) {
        EXPECT_GE(done, last);
        EXPECT_EQ(total, kRows);
        last = done;
      },
      nullptr);
  EXPECT_EQ(last, kRows);
  EXPECT_EQ(db->stats().linked_rows, kRows);
}

TEST_F(IndexerTest, AskingForMoreThanThereIsGivesAllThereIs) {
  const auto db = open(hnsw());
  const std::vector<float> rows = fill(*db, 5000, kDim);
  const std::vector<std::string_view> gone = {"r1", "r2"};
  db->remove(gone);
  for (const Mode mode : {Mode::kFlat, Mode::kSq8, Mode::kHnsw}) {
    db->set_mode(mode);
    db->optimize(1, nullptr, nullptr);
    for (const std::size_t k : {std::size_t{4998}, std::size_t{100'000}, ~std::size_t{0}}) {
      EXPECT_EQ(db->search(rows.data(), kDim, {.k = k}).hits.size(), 4998u) << mode_name(mode);
      EXPECT_EQ(db->search_batch(rows.data(), 2, kDim, {.k = k})[1].hits.size(), 4998u);
    }
  }
}

TEST_F(IndexerTest, ExactSearchUsesCodesAndDoesWithoutThemWhenTheyAreDamaged) {
  constexpr std::size_t kWide = 512;
  OpenOptions options;
  options.mode = Mode::kFlat;
  options.background = false;
  std::vector<float> rows;
  std::vector<std::string> expected;
  {
    const auto db = open(options);
    rows = fill(*db, 4200, kWide);
    expected = ids_of(db->search(rows.data(), kWide, {.k = 20, .exact = true}));
    EXPECT_EQ(db->stats().coded_rows, 0u);
    db->optimize(1, nullptr, nullptr);
    EXPECT_EQ(db->stats().coded_rows, 4200u);
    fill(*db, 10, kWide, 4200);  // rows without codes
    EXPECT_EQ(ids_of(db->search(rows.data(), kWide, {.k = 20, .exact = true})), expected);
  }
  const std::string file = path_ + "/gen-1/codes.i8";
  std::string bytes = testing::bytes_of(file);
  bytes[4096 + 100 * kWide + 5] ^= 1;
  testing::put_bytes(file, bytes);
  for (const bool batch : {false, true}) {
    const auto db = open(options);
    EXPECT_EQ(db->stats().coded_rows, 4200u);
    const SearchOptions exact{.k = 20, .exact = true};
    EXPECT_EQ(ids_of(batch ? db->search_batch(rows.data(), 20, kWide, exact)[0]
                           : db->search(rows.data(), kWide, exact)),
              expected);
    EXPECT_EQ(db->stats().coded_rows, 0u);
  }
}

TEST_F(IndexerTest, TheWidestRowsAreTaken) {
  OpenOptions options = hnsw();
  options.mode = Mode::kAuto;
  options.buffer_bytes = 4096;
  const auto db = open(options);
  const std::vector<float> rows = random_rows(20, kMaxDimension);
  const Ids ids("w", 0, 20);
  db->add({ids.views, rows.data(), kMaxDimension, {}});
  const std::vector<std::string_view> one = {"single"};
  db->add({one, rows.data(), kMaxDimension, {}});
  EXPECT_EQ(db->search(rows.data() + 7 * kMaxDimension, kMaxDimension, {.k = 1}).hits[0].id, "w7");
}

}  // namespace
}  // namespace srvdb
