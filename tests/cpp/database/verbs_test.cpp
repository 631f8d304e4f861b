// Soft delete, restore, update, expiry and the change log.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "fixture.h"
#include "srvdb/base/clock.h"

namespace srvdb {
namespace {

constexpr std::size_t kDim = 8;

class VerbsTest : public DatabaseTest {
 protected:
  void TearDown() override {
    replace_clock(nullptr);
    DatabaseTest::TearDown();
  }
  static std::vector<std::string> all_ids(const Database& db) {
    std::vector<std::string> out;
    for (const Record& record : db.scroll("", 1000, false, false)) out.push_back(record.id);
    return out;
  }
  static std::vector<std::string> found(const Database& db, bool include_deleted = false) {
    const std::vector<float> query(kDim, 1.0F);
    auto out =
        ids_of(db.search(query.data(), kDim, {.k = 1000, .include_deleted = include_deleted}));
    std::sort(out.begin(), out.end());
    return out;
  }
  using Texts = std::vector<std::string>;
  using Views = std::vector<std::string_view>;
};

std::atomic<std::int64_t> clock_us{0};
void set_time(std::int64_t ms) {
  clock_us = ms * 1000;
  replace_clock([] { return clock_us.load(); });
}

TEST_F(VerbsTest, SoftDeletedRowsAreGoneAtOnceAndComeBackAtOnce) {
  auto db = open();
  fill(*db, 4, kDim);
  const Views ids = {"r1", "r3", "nobody", "r1"};
  EXPECT_EQ(db->soft_delete(ids), 2u);
  EXPECT_EQ(db->soft_delete(ids), 0u);
  EXPECT_EQ(found(*db), (Texts{"r0", "r2"}));
  EXPECT_EQ(found(*db, true), (Texts{"r0", "r1", "r2", "r3"}));
  EXPECT_EQ(all_ids(*db), (Texts{"r0", "r2"}));
  EXPECT_EQ(db->deleted_ids(), (Texts{"r1", "r3"}));
  EXPECT_EQ(db->count(), 2u);
  EXPECT_FALSE(db->contains("r1"));
  EXPECT_EQ(db->metadata("r1"), std::nullopt);
  EXPECT_EQ(db->records(ids, false)[0], std::nullopt);
  const auto deleted = db->records(ids, true, true)[0];
  ASSERT_TRUE(deleted);
  EXPECT_TRUE(deleted->deleted);
  EXPECT_EQ(deleted->embedding.size(), kDim);
  for (int round = 0; round < 2; ++round) {  // from memory, then from the files
    EXPECT_EQ(db->deleted_ids(), (Texts{"r1", "r3"}));
    db->close();
    db = open();
  }
  const Views back = {"r3", "r0"};
  EXPECT_EQ(db->restore(back), 1u);
  EXPECT_EQ(found(*db), (Texts{"r0", "r2", "r3"}));
  EXPECT_EQ(db->stats().soft_deleted, 1u);
  EXPECT_EQ(db->remove(ids), 2u);  // a soft-deleted and a live one
  EXPECT_TRUE(db->deleted_ids().empty());
}

TEST_F(VerbsTest, AddOfASoftDeletedIdSaysSoAndUpsertReplacesIt) {
  auto db = open();
  const std::vector<float> rows = fill(*db, 2, kDim);
  const Views ids = {"r1"};
  db->soft_delete(ids);
  try {
    db->add({ids, rows.data(), kDim, {}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDuplicateId);
    EXPECT_NE(std::string(error.what()).find("soft-deleted"), std::string::npos);
  }
  db->upsert({ids, rows.data(), kDim, {}});
  EXPECT_TRUE(db->contains("r1"));
  EXPECT_TRUE(db->deleted_ids().empty());
  EXPECT_EQ(found(*db), (Texts{"r0", "r1"}));
  EXPECT_EQ(found(*db, true), (Texts{"r0", "r1"}));
  db->close();
  db = open();
  EXPECT_EQ(found(*db, true), (Texts{"r0", "r1"}));
}

TEST_F(VerbsTest, UpdateOfMetadataTouchesNoVectorAndNoRow) {
  auto db = open();
  fill(*db, 3, kDim);
  db->persist();
  const std::size_t rows = db->stats().rows;
  const Update change{.id = "r1", .metadata = R"({"a":1})"};
  EXPECT_EQ(db->update({&change, 1}, 0), 1u);
  EXPECT_EQ(db->metadata("r1"), R"({"a":1})");
  EXPECT_EQ(db->stats().rows, rows);
  const Update away{.id = "r1", .metadata = "{}"};
  db->persist();
  EXPECT_EQ(db->metadata("r1"), R"({"a":1})");
  db->update({&away, 1}, 0);
  EXPECT_EQ(db->metadata("r1"), "{}");
  db->close();
  db = open();
  EXPECT_EQ(db->metadata("r1"), "{}");
  EXPECT_EQ(db->stats().rows, rows);
}

TEST_F(VerbsTest, UpdateOfAnEmbeddingKeepsMetadataAndExpiry) {
  set_time(1000);
  auto db = open();
  const std::vector<float> rows = random_rows(2, kDim);
  const Views ids = {"a", "b"};
  const Views texts = {R"({"n":1})", ""};
  const std::vector<std::int64_t> moments = {5000, 0};
  Batch batch{ids, rows.data(), kDim, texts};
  batch.expires_at = moments;
  db->add(batch);
  const std::vector<float> fresh = random_rows(1, kDim, 7);
  for (const bool persisted : {false, true}) {
    if (persisted) db->persist();
    const Update change{.id = "a", .row = fresh.data()};
    db->update({&change, 1}, kDim);
    const Record record = *db->records(Views{"a"}, true)[0];
    EXPECT_EQ(record.embedding, fresh);
    EXPECT_EQ(record.metadata, R"({"n":1})");
    EXPECT_EQ(record.expires_at, 5000);
    EXPECT_EQ(db->count(), 2u);
  }
  const std::string copy = crash_copy("copy");  // the updates lie in the log alone
  auto again = Database::open(copy, {});
  EXPECT_EQ(again->metadata("a"), R"({"n":1})");
  EXPECT_EQ(again->records(Views{"a"}, true)[0]->embedding, fresh);
  set_time(5000);
  EXPECT_EQ(db->count(), 1u);
  EXPECT_EQ(again->count(), 1u);
}

TEST_F(VerbsTest, UpdateIsAllOrNothingAndListsWhatIsMissing) {
  auto db = open();
  fill(*db, 3, kDim);
  db->soft_delete(Views{"r2"});
  const std::vector<Update> changes = {{.id = "r0", .metadata = R"({"x":1})"},
                                       {.id = "ghost", .metadata = "{}"},
                                       {.id = "r2", .metadata = "{}"}};
  try {
    db->update(changes, 0);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    const std::string text = error.what();
    EXPECT_NE(text.find("'ghost'"), std::string::npos);
    EXPECT_NE(text.find("'r2' (soft-deleted"), std::string::npos);
    EXPECT_EQ(text.find("'r0'"), std::string::npos);
  }
  EXPECT_EQ(db->metadata("r0"), "{}");
  const std::vector<float> wrong(3, 1.0F);
  const Update narrow{.id = "r0", .row = wrong.data()};
  EXPECT_EQ(code_of([&] { db->update({&narrow, 1}, 3); }), ErrorCode::kDimension);
  const Update nothing{.id = "r0"};
  EXPECT_EQ(code_of([&] { db->update({&nothing, 1}, 0); }), ErrorCode::kInvalidInput);
  const std::vector<Update> twice = {{.id = "r0", .metadata = "{}"},
                                     {.id = "r0", .metadata = "{}"}};
  EXPECT_EQ(code_of([&] { db->update(twice, 0); }), ErrorCode::kInvalidInput);
  const Update broken{.id = "r0", .metadata = "{"};
  EXPECT_EQ(code_of([&] { db->update({&broken, 1}, 0); }), ErrorCode::kInvalidInput);
}

TEST_F(VerbsTest, RowsExpireAtTheirMoment) {
  set_time(1000);
  auto db = open();
  const std::vector<float> rows = random_rows(3, kDim);
  const Views ids = {"a", "b", "c"};
  const std::vector<std::int64_t> moments = {2000, 3000, 0};
  Batch batch{ids, rows.data(), kDim, {}};
  batch.expires_at = moments;
  db->add(batch);
  EXPECT_EQ(db->count(), 3u);
  set_time(1999);
  EXPECT_EQ(found(*db), (Texts{"a", "b", "c"}));
  set_time(2000);
  EXPECT_EQ(found(*db), (Texts{"b", "c"}));
  EXPECT_EQ(found(*db, true), (Texts{"b", "c"}));
  EXPECT_FALSE(db->contains("a"));
  EXPECT_EQ(db->restore(Views{"a"}), 0u);
  const Update late{.id = "a", .metadata = "{}"};
  EXPECT_EQ(code_of([&] { db->update({&late, 1}, 0); }), ErrorCode::kNotFound);
  db->persist();
  set_time(1000);  // a clock that goes back brings nothing back
  EXPECT_EQ(found(*db), (Texts{"b", "c"}));
  db->close();
  set_time(3000);
  db = open();
  EXPECT_EQ(all_ids(*db), (Texts{"c"}));
  db->add({Views{"a"}, rows.data(), kDim, {}});  // the id is free again
  EXPECT_EQ(all_ids(*db), (Texts{"a", "c"}));
  set_time(9000);
  EXPECT_EQ(db->count(), 2u);
}

TEST_F(VerbsTest, TheMomentOfExpiryCanBeMovedAndTakenAway) {
  set_time(1000);
  auto db = open();
  fill(*db, 2, kDim);
  const Update soon{.id = "r0", .expires_at = 2000};
  const Update later{.id = "r0", .expires_at = 4000};
  const Update never{.id = "r0", .expires_at = 0};
  db->update({&soon, 1}, 0);
  db->persist();
  db->update({&later, 1}, 0);
  set_time(3000);
  EXPECT_TRUE(db->contains("r0"));
  db->close();
  db = open();
  EXPECT_EQ(db->records(Views{"r0"}, false)[0]->expires_at, 4000);
  db->update({&never, 1}, 0);
  set_time(5000);
  EXPECT_TRUE(db->contains("r0"));
  db->close();
  db = open();
  EXPECT_TRUE(db->contains("r0"));
}

TEST_F(VerbsTest, ManyMomentsAreLoadedPieceByPiece) {
  set_time(1);
  auto db = open();
  constexpr std::size_t kRows = 90'000;  // more than one look into the store takes
  const std::vector<float> rows(kRows * 2, 1.0F);
  const Ids ids("r", 0, kRows);
  std::vector<std::int64_t> moments;
  for (std::size_t i = 0; i < kRows; ++i) moments.push_back(static_cast<std::int64_t>(10 + i % 30));
  Batch batch{ids.views, rows.data(), 2, {}};
  batch.expires_at = moments;
  db->add(batch);
  db->close();
  db = open();
  EXPECT_EQ(db->count(), kRows);
  set_time(24);
  EXPECT_EQ(db->count(), kRows / 2);
  set_time(38);
  EXPECT_EQ(db->count(), kRows / 30);
  set_time(39);
  EXPECT_EQ(db->count(), 0u);
}

TEST_F(VerbsTest, TheChangeLogTellsEveryChangeInOrder) {
  set_time(5);
  auto db = open();
  const std::vector<float> rows = fill(*db, 2, kDim);
  db->upsert({Views{"r1"}, rows.data(), kDim, {}});
  db->persist();
  set_time(6);
  const Update change{.id = "r0", .metadata = R"({"a":1})"};
  db->update({&change, 1}, 0);
  db->soft_delete(Views{"r0", "ghost"});
  db->restore(Views{"r0"});
  const std::string copy = crash_copy("copy");
  auto check = [&](const Database& database) {
    const std::vector<LogEntry> log = database.change_log({.limit = 100});
    ASSERT_EQ(log.size(), 5u);
    const LogOperation expected[] = {LogOperation::kAdd, LogOperation::kUpsert,
                                     LogOperation::kUpdate, LogOperation::kSoftDelete,
                                     LogOperation::kRestore};
    for (std::size_t i = 0; i < 5; ++i) {
      EXPECT_EQ(log[i].operation, expected[i]);
      EXPECT_EQ(log[i].sequence, i + 1);
      EXPECT_EQ(log[i].time_us, i < 2 ? 5000 : 6000);
    }
    EXPECT_EQ(log[0].ids, (Texts{"r0", "r1"}));
    EXPECT_EQ(log[3].ids, (Texts{"r0"}));
    EXPECT_NE(log[2].details.find("\"metadatas\": 1"), std::string::npos);
    EXPECT_EQ(database.change_log({.limit = 2})[0].sequence, 4u);
    EXPECT_EQ(database.change_log({.limit = 2, .since = 1})[0].sequence, 2u);
    EXPECT_EQ(database.change_log({.limit = 9, .operation = LogOperation::kUpsert}).size(), 1u);
    EXPECT_EQ(database.change_log_at(6000), 3u);
    EXPECT_EQ(database.change_log_at(7000), 6u);
  };
  check(*db);
  check(*Database::open(copy, {}));
  db->persist();
  check(*db);
  db->close();
  db = open();
  check(*db);
}

TEST_F(VerbsTest, TrimmingTheChangeLogIsExplicitAndTold) {
  auto db = open();
  const std::vector<float> rows = fill(*db, 1, kDim);
  for (int i = 0; i < 5; ++i) db->upsert({Views{"r0"}, rows.data(), kDim, {}});
  db->persist();
  EXPECT_EQ(db->trim_change_log(4), 3u);
  for (int round = 0; round < 3; ++round) {
    const std::vector<LogEntry> log = db->change_log({.limit = 100});
    ASSERT_EQ(log.size(), 4u);
    EXPECT_EQ(log[0].sequence, 4u);
    EXPECT_EQ(log[3].operation, LogOperation::kTrimChangeLog);
    EXPECT_EQ(db->change_log({.limit = 100, .since = 0}).size(), 4u);
    if (round == 0) db->persist();
    if (round == 1) {
      db->close();
      db = open();
    }
  }
  EXPECT_EQ(db->trim_change_log(4), 0u);
}

TEST_F(VerbsTest, EveryVerbSurvivesACrashWithNothingButTheLog) {
  auto db = open();
  const std::vector<float> rows = fill(*db, 6, kDim);
  db->persist();
  db->soft_delete(Views{"r0", "r1", "r2"});
  db->restore(Views{"r1"});
  db->remove(Views{"r2", "r5"});
  const std::vector<Update> changes = {{.id = "r3", .row = rows.data(), .metadata = R"({"x":2})"},
                                       {.id = "r4", .metadata = R"({"y":3})"}};
  db->update(changes, kDim);
  for (const bool read_only : {true, false}) {
    OpenOptions options;
    options.read_only = read_only;
    auto again = Database::open(read_only ? crash_copy("reader") : crash_copy("writer"), options);
    EXPECT_EQ(all_ids(*again), (Texts{"r1", "r3", "r4"}));
    EXPECT_EQ(again->deleted_ids(), (Texts{"r0"}));
    EXPECT_EQ(again->metadata("r3"), R"({"x":2})");
    EXPECT_EQ(again->metadata("r4"), R"({"y":3})");
    EXPECT_EQ(again->records(Views{"r3"}, true)[0]->embedding,
              std::vector<float>(rows.begin(), rows.begin() + kDim));
  }
}

TEST_F(VerbsTest, VerbsOnOneIdFromManyThreadsKeepItsMetadata) {
  for (const Durability durability : {Durability::kOs, Durability::kDisk}) {
    std::filesystem::remove_all(path_);
    OpenOptions options;
    options.durability = durability;
    auto db = open(options);
    const std::vector<float> rows = random_rows(4, kDim);
    db->add({Views{"a"}, rows.data(), kDim, Views{R"({"kept":true})"}});
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 50; ++i) {
          const Update change{.id = "a", .row = rows.data() + t * kDim};
          db->update({&change, 1}, kDim);
          if (t == 0 && i % 10 == 0) db->persist();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(db->metadata("a"), R"({"kept":true})");
    EXPECT_EQ(db->count(), 1u);
    EXPECT_EQ(db->stats().gone, 200u);
  }
}

}  // namespace
}  // namespace srvdb
