#include "srvdb/database/database.h"

#include <atomic>
#include <thread>

#include "fixture.h"

namespace srvdb {
namespace {

constexpr std::size_t kDim = 16;

TEST_F(DatabaseTest, FindsWhatWasAddedAndAfterReopening) {
  std::vector<float> rows;
  {
    const auto db = open();
    rows = fill(*db, 500, kDim);
    EXPECT_EQ(db->count(), 500u);
    const SearchResult found = db->search(rows.data() + 7 * kDim, kDim, {});
    ASSERT_EQ(found.hits.size(), 10u);
    EXPECT_EQ(found.hits[0].id, "r7");
    EXPECT_NEAR(found.hits[0].score, 1.0, 1e-12);
  }
  const auto db = open();
  EXPECT_EQ(db->count(), 500u);
  EXPECT_EQ(db->search(rows.data() + 499 * kDim, kDim, {.k = 1}).hits[0].id, "r499");
  EXPECT_TRUE(db->contains("r0"));
  EXPECT_FALSE(db->contains("r500"));
}

TEST_F(DatabaseTest, AddRefusesAnExistingIdAndAppliesNothing) {
  const auto db = open();
  fill(*db, 10, kDim);
  const std::vector<float> rows = random_rows(3, kDim, 9);
  const std::vector<std::string_view> ids = {"new", "r4", "newer"};
  std::string message;
  EXPECT_EQ(code_of(
                [&] {
                  db->add({ids, rows.data(), kDim, {}});
                },
                &message),
            ErrorCode::kDuplicateId);
  EXPECT_NE(message.find("item 1"), std::string::npos) << message;
  EXPECT_NE(message.find("r4"), std::string::npos) << message;
  EXPECT_EQ(db->count(), 10u);
  EXPECT_FALSE(db->contains("new"));
  db->persist();  // now the id is in the store and no longer pending
  EXPECT_EQ(code_of([&] { db->add({ids, rows.data(), kDim, {}}); }), ErrorCode::kDuplicateId);
  const std::vector<std::string_view> twice = {"x", "y", "x"};
  EXPECT_EQ(code_of([&] { db->add({twice, rows.data(), kDim, {}}); }), ErrorCode::kDuplicateId);
  EXPECT_EQ(db->count(), 10u);
}

TEST_F(DatabaseTest, UpsertReplacesAndTheLastOfEqualIdsWins) {
  const auto db = open();
  fill(*db, 10, kDim);
  const std::vector<float> rows = random_rows(3, kDim, 99);
  const std::vector<std::string_view> ids = {"r4", "n", "r4"};
  const std::vector<std::string_view> metadata = {R"({"v":1})", "", R"({"v":3})"};
  EXPECT_EQ(db->upsert({ids, rows.data(), kDim, metadata}), 2u);
  EXPECT_EQ(db->count(), 11u);
  EXPECT_EQ(db->metadata("r4"), R"({"v":3})");
  EXPECT_EQ(db->metadata("n"), "{}");
  EXPECT_EQ(db->search(rows.data() + 2 * kDim, kDim, {.k = 1}).hits[0].id, "r4");
  const SearchResult all = db->search(rows.data(), kDim, {.k = 100});
  EXPECT_EQ(all.hits.size(), 11u);
}

TEST_F(DatabaseTest, RemovedRowsAreGoneAlsoAfterReopening) {
  const std::vector<std::string_view> gone = {"r3", "unknown", "r5", "r3"};
  {
    const auto db = open();
    fill(*db, 10, kDim);
    db->persist();
    EXPECT_EQ(db->remove(gone), 2u);
    EXPECT_EQ(db->count(), 8u);
    EXPECT_FALSE(db->contains("r3"));
    EXPECT_EQ(db->remove(gone), 0u);
  }
  const auto db = open();
  EXPECT_EQ(db->count(), 8u);
  const std::vector<float> query = random_rows(1, kDim);
  for (const std::string& id : ids_of(db->search(query.data(), kDim, {.k = 100}))) {
    EXPECT_NE(id, "r3");
    EXPECT_NE(id, "r5");
  }
}

TEST_F(DatabaseTest, KeepsEveryAcknowledgedWriteOfAKilledProcess) {
  const auto db = open();
  const std::vector<float> small = fill(*db, 100, kDim);          // in the buffer and the log
  const std::vector<float> large = fill(*db, 20000, kDim, 1000);  // straight to the files
  const std::vector<std::string_view> gone = {"r5"};
  db->remove(gone);
  const auto copy = Database::open(crash_copy("crashed"), {});
  EXPECT_EQ(copy->count(), 20099u);
  EXPECT_EQ(copy->search(large.data() + 1234 * kDim, kDim, {.k = 1}).hits[0].id, "r2234");
  EXPECT_EQ(copy->search(small.data() + 9 * kDim, kDim, {.k = 1}).hits[0].id, "r9");
  EXPECT_FALSE(copy->contains("r5"));
}

TEST_F(DatabaseTest, AReaderOfACrashedDatabaseReplaysInMemoryAndWritesNothing) {
  const auto db = open();
  const std::vector<float> small = fill(*db, 100, kDim);
  const std::vector<float> large = fill(*db, 20000, kDim, 1000);
  const std::string crashed = crash_copy("crashed");
  std::vector<std::pair<std::string, std::uintmax_t>> before;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(crashed)) {
    if (entry.is_regular_file() && entry.path().filename() != "metadata.db-lock") {
      before.emplace_back(entry.path(), entry.file_size());
    }
  }
  OpenOptions options;
  options.read_only = true;
  {
    const auto reader = Database::open(crashed, options);
    EXPECT_EQ(reader->count(), 20100u);
    EXPECT_EQ(reader->search(large.data() + 1234 * kDim, kDim, {.k = 1}).hits[0].id, "r2234");
    EXPECT_EQ(reader->search(small.data() + 9 * kDim, kDim, {.k = 1}).hits[0].id, "r9");
    EXPECT_EQ(code_of([&] { fill(*reader, 1, kDim, 90000); }), ErrorCode::kReadOnly);
  }
  for (const auto& [path, size] : before) EXPECT_EQ(std::filesystem::file_size(path), size) << path;
}

TEST_F(DatabaseTest, ScrollGoesInIdOrderOverStoredAndPendingRecords) {
  const auto db = open();
  fill(*db, 30, kDim);
  db->persist();
  fill(*db, 30, kDim, 30);
  const std::vector<std::string_view> gone = {"r3", "r45"};
  db->remove(gone);
  std::vector<std::string> expected;
  for (const std::string& id : Ids("r", 0, 60).texts) {
    if (id != "r3" && id != "r45") expected.push_back(id);
  }
  std::sort(expected.begin(), expected.end());
  for (const std::size_t page : {1u, 7u, 1000u}) {
    std::vector<std::string> got;
    std::string after;
    while (true) {
      const std::vector<Record> records = db->scroll(after, page, true, false);
      if (records.empty()) break;
      for (const Record& record : records) got.push_back(record.id);
      after = got.back();
    }
    EXPECT_EQ(got, expected);
  }
}

TEST_F(DatabaseTest, OptimizeLinksEveryRowAndTheGraphIsThereAfterReopening) {
  OpenOptions options;
  options.mode = Mode::kHnsw;
  std::vector<float> rows;
  {
    const auto db = open(options);
    rows = fill(*db, 6000, kDim);
    db->optimize(2, nullptr, nullptr);
    const Stats stats = db->stats();
    EXPECT_EQ(stats.linked_rows, 6000u);
    EXPECT_EQ(stats.graph_saved_rows, 6000u);
    EXPECT_EQ(stats.searching, Mode::kHnsw);
    EXPECT_EQ(db->search(rows.data() + 55 * kDim, kDim, {.k = 1}).hits[0].id, "r55");
  }
  const auto db = open();
  EXPECT_EQ(db->stats().linked_rows, 6000u);
  std::size_t right = 0;
  for (std::size_t i = 0; i < 100; ++i) {
    const float* const query = rows.data() + i * kDim;
    const auto exact = ids_of(db->search(query, kDim, {.k = 10, .exact = true}));
    const auto found = ids_of(db->search(query, kDim, {.k = 10}));
    for (const std::string& id : found) {
      right += std::find(exact.begin(), exact.end(), id) != exact.end() ? 1 : 0;
    }
  }
  EXPECT_GE(right, 970u);
}

TEST_F(DatabaseTest, OpeningTwiceInOneProcessSharesOneDatabase) {
  const auto one = open();
  const auto two = open();
  const std::vector<float> rows = fill(*one, 5, kDim);
  EXPECT_EQ(two->count(), 5u);
  one->close();
  EXPECT_EQ(code_of([&] { one->count(); }), ErrorCode::kClosed);
  EXPECT_EQ(two->search(rows.data(), kDim, {.k = 1}).hits[0].id, "r0");
}

TEST_F(DatabaseTest, SearchesSeeABatchWhollyOrNotAtAll) {
  const auto db = open();
  fill(*db, 10, kDim);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (std::size_t i = 0; i < 200; ++i) fill(*db, 10, kDim, 100 + 10 * i);
    stop = true;
  });
  const std::vector<float> query = random_rows(1, kDim, 5);
  while (!stop) {
    EXPECT_EQ(db->search(query.data(), kDim, {.k = 5000}).hits.size() % 10, 0u);
    EXPECT_EQ(db->count() % 10, 0u);
  }
  writer.join();
  EXPECT_EQ(db->count(), 2010u);
}

// The caller's memory is read by a call that has let go of every lock the caller knows of.
TEST_F(DatabaseTest, RowsThatChangeWhileTheyAreAddedAreStoredAsTheyWereChecked) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the caller's race is the point of it";
#endif
  const auto db = open();
  std::size_t added = 0;
  for (const std::size_t n : {std::size_t{400}, std::size_t{20000}}) {  // buffered, direct
    std::vector<std::atomic<float>> shared(n * kDim);
    for (auto& value : shared) value = 1.0f;
    std::atomic<bool> stop{false};
    std::thread changer([&] {
      for (float value = 2; !stop; value += 1) {
        for (auto& component : shared) component.store(value, std::memory_order_relaxed);
      }
    });
    for (std::size_t round = 0; round < 10; ++round, added += n) {
      const Ids ids("r", added, n);
      db->add({ids.views, reinterpret_cast<const float*>(shared.data()), kDim, {}});
    }
    stop = true;
    changer.join();
  }
  const auto copy = Database::open(crash_copy("crashed"), {});
  EXPECT_EQ(copy->count(), added);
  const std::vector<float> query(kDim, 1.0f);  // touches, and so verifies, every row
  EXPECT_EQ(copy->search(query.data(), kDim, {.k = 1}).hits.size(), 1u);
}

TEST_F(DatabaseTest, GroupsOfWritersShareSyncsAtDiskDurability) {
  OpenOptions options;
  options.durability = Durability::kDisk;
  const auto db = open(options);
  std::vector<std::thread> writers;
  for (std::size_t t = 0; t < 4; ++t) {
    writers.emplace_back([&, t] {
      for (std::size_t i = 0; i < 25; ++i) fill(*db, 2, kDim, 1000 * t + 2 * i);
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(db->count(), 200u);
  EXPECT_EQ(Database::open(crash_copy("crashed"), {})->count(), 200u);
}

TEST_F(DatabaseTest, OptionsThatDifferFromTheStoredOnesAreRefusedWithBothValues) {
  OpenOptions options;
  options.dimension = kDim;
  options.metric = Metric::kL2;
  open(options)->close();
  options.dimension = 17;
  std::string message;
  EXPECT_EQ(code_of([&] { open(options); }, &message), ErrorCode::kDimension);
  EXPECT_NE(message.find("16"), std::string::npos) << message;
  EXPECT_NE(message.find("17"), std::string::npos) << message;
  options.dimension = kDim;
  options.metric = Metric::kIp;
  EXPECT_EQ(code_of([&] { open(options); }, &message), ErrorCode::kInvalidInput);
  EXPECT_NE(message.find("l2"), std::string::npos) << message;
}

}  // namespace
}  // namespace srvdb
