// Compaction: what it drops, what it keeps, and that life goes on beside it.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "fixture.h"
#include "model.h"
#include "srvdb/base/clock.h"

namespace srvdb {
namespace {

constexpr std::size_t kDim = 16;

class CompactionTest : public DatabaseTest {
 protected:
  void TearDown() override {
    replace_clock(nullptr);
    DatabaseTest::TearDown();
  }
};

TEST_F(CompactionTest, DropsRowsThatAreGoneAndGivesTheirBytesBack) {
  auto db = open();
  constexpr std::size_t kRows = 20'000;
  fill(*db, kRows, kDim);
  const Ids half("r", 0, kRows / 2);
  db->remove(half.views);
  db->persist();
  const std::uint64_t before = db->stats().disk_bytes;
  const std::int64_t bytes = db->compact(nullptr, nullptr);
  EXPECT_GT(bytes, static_cast<std::int64_t>(kRows / 2 * kDim * sizeof(float)));
  EXPECT_LT(db->stats().disk_bytes, before);
  EXPECT_EQ(db->stats().rows, kRows / 2);
  EXPECT_EQ(db->stats().gone, 0u);
  EXPECT_EQ(db->count(), kRows / 2);
  EXPECT_EQ(db->compact(nullptr, nullptr), 0);
  EXPECT_FALSE(std::filesystem::exists(path_ + "/gen-1"));
  const std::vector<LogEntry> log = db->change_log({.limit = 1});
  EXPECT_EQ(log[0].operation, LogOperation::kCompact);
  EXPECT_EQ(log[0].details, R"({"rows": 10000, "dropped": 10000})");
  db->close();
  db = open();
  EXPECT_EQ(db->count(), kRows / 2);
  EXPECT_TRUE(db->contains("r10000"));
  EXPECT_FALSE(db->contains("r9999"));
}

TEST_F(CompactionTest, KeepsEverythingElse) {
  auto db = open();
  Operations operations(5, kDim, 40, 300);
  Model model;
  run(operations, *db, model, 60);
  std::vector<LogEntry> log = db->change_log({.limit = 1000, .since = 0});
  db->compact(nullptr, nullptr);
  EXPECT_EQ(difference(*db, model), "");
  run(operations, *db, model, 20);
  EXPECT_EQ(difference(*db, model), "");
  const std::vector<LogEntry> after = db->change_log({.limit = 1000, .since = 0});
  ASSERT_GT(after.size(), log.size());
  for (std::size_t i = 0; i < log.size(); ++i) {
    EXPECT_EQ(after[i].sequence, log[i].sequence);
    EXPECT_EQ(after[i].time_us, log[i].time_us);
    EXPECT_EQ(after[i].ids, log[i].ids);
  }
  const std::string copy = crash_copy("copy");  // the log above it refers to new rows only
  EXPECT_EQ(difference(*Database::open(copy, {}), model), "");
  db->close();
  EXPECT_EQ(difference(*open(), model), "");
}

TEST_F(CompactionTest, ExpiredRowsAreRemovedAndMomentsKept) {
  static std::atomic<std::int64_t> now{1'000'000};
  replace_clock([] { return now.load(); });
  auto db = open();
  const std::vector<float> rows = random_rows(3, kDim);
  const std::vector<std::string_view> ids = {"a", "b", "c"};
  const std::vector<std::int64_t> moments = {2000, 3000, 0};
  Batch batch{ids, rows.data(), kDim, {}};
  batch.expires_at = moments;
  db->add(batch);
  now = 2'000'000;
  db->compact(nullptr, nullptr);
  EXPECT_EQ(db->stats().rows, 2u);
  EXPECT_EQ(db->records(ids, false)[1]->expires_at, 3000);
  now = 3'000'000;
  EXPECT_EQ(db->count(), 1u);
}

TEST_F(CompactionTest, WritesAndSearchesGoOnBesideIt) {
  for (const Durability durability : {Durability::kOs, Durability::kDisk}) {
    std::filesystem::remove_all(path_);
    OpenOptions options;
    options.durability = durability;
    auto db = open(options);
    Operations operations(9, kDim, 60, 400);
    Model model;
    fill(*db, 8000, kDim, 0, "old");
    const Ids old("old", 0, 8000);
    db->remove(old.views);
    std::atomic<bool> done{false};
    std::thread searcher([&] {
      const std::vector<float> query(kDim, 0.5F);
      while (!done) {
        const SearchResult found = db->search(query.data(), kDim, {.k = 5});
        for (const Hit& hit : found.hits) {
          EXPECT_FALSE(hit.id.starts_with("old"));
          EXPECT_EQ(db->hit_embedding(*found.view, hit.row).size(), kDim);
          db->hit_metadata(*found.view, hit.row);
        }
      }
    });
    std::thread compacter([&] {
      while (!done) db->compact(nullptr, nullptr);
    });
    run(operations, *db, model, 250);
    done = true;
    searcher.join();
    compacter.join();
    EXPECT_EQ(difference(*db, model), "");
    EXPECT_GT(db->stats().generation, 1u);
    db->close();
    EXPECT_EQ(difference(*open(options), model), "");
  }
}

TEST_F(CompactionTest, AnInterruptChangesNothing) {
  auto db = open();
  fill(*db, 2000, kDim);
  db->remove(Ids("r", 0, 1000).views);
  Interrupt interrupt;
  interrupt.stop();
  EXPECT_EQ(code_of([&] { db->compact(nullptr, &interrupt); }), ErrorCode::kInterrupted);
  EXPECT_EQ(db->stats().generation, 1u);
  EXPECT_FALSE(std::filesystem::exists(path_ + "/gen-2"));
  EXPECT_EQ(db->count(), 1000u);
  EXPECT_GT(db->compact(nullptr, nullptr), 0);
}

TEST_F(CompactionTest, ComesUnaskedWhenHalfOfTheRowsAreGone) {
  OpenOptions options;
  options.auto_compact_bytes = 1000;
  auto db = open(options);
  fill(*db, 2000, kDim);
  db->remove(Ids("r", 0, 999).views);
  db->persist();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(db->stats().generation, 1u);
  db->remove(Ids("r", 999, 1).views);
  for (int i = 0; i < 500 && db->stats().generation == 1; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(db->stats().generation, 2u);
  EXPECT_EQ(db->stats().rows, 1000u);
}

TEST_F(CompactionTest, AReaderKeepsWhatItHasOpen) {
  auto db = open();
  fill(*db, 500, kDim);
  db->remove(Ids("r", 0, 100).views);
  db->persist();
  const SearchResult before = db->search(random_rows(1, kDim).data(), kDim, {.k = 400});
  db->compact(nullptr, nullptr);
  db->upsert({Ids("r", 200, 1).views, random_rows(1, kDim, 3).data(), kDim, {}});
  ASSERT_EQ(before.hits.size(), 400u);
  for (const Hit& hit : before.hits) {
    EXPECT_EQ(db->hit_embedding(*before.view, hit.row).size(), kDim);
    EXPECT_TRUE(db->hit_metadata(*before.view, hit.row));
  }
}

}  // namespace
}  // namespace srvdb
