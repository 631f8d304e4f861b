// Coming back: whatever moment the process dies at, every acknowledged write is there.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "fault_files.h"
#include "fixture.h"
#include "model.h"

namespace srvdb {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDim = 6;

class RecoveryTest : public DatabaseTest {
 protected:
  static std::string newest_segment(const std::string& database) {
    std::string last;
    for (const auto& entry : fs::directory_iterator(database + "/wal")) {
      last = std::max(last, entry.path().string());
    }
    return last;
  }
  void expect_after_opening(const std::string& path, const Model& model, bool read_only = false) {
    OpenOptions options = small_buffer();
    options.read_only = read_only;
    EXPECT_EQ(difference(*Database::open(path, options), model), "");
  }
};

TEST_F(RecoveryTest, ACopyTakenAfterAnyOperationHoldsWhatTheModelHolds) {
  for (const std::uint32_t seed : {1u, 2u, 3u}) {
    path_ = root_ + "/db" + std::to_string(seed);
    const auto db = open(small_buffer());
    Operations operations(seed, kDim, 8, 40);
    Model model;
    for (int step = 0; step < 40; ++step) {
      const Operation operation = operations.next(model);
      operation.apply(*db);
      operation.apply(model);
      ASSERT_EQ(difference(*db, model), "") << "seed " << seed << " step " << step;
      const std::string copy = crash_copy("copy");
      expect_after_opening(copy, model, true);  // in memory
      expect_after_opening(copy, model);        // into the files
      expect_after_opening(copy, model);        // and nothing is left to do
      ASSERT_FALSE(HasFailure()) << "seed " << seed << " step " << step;
      fs::remove_all(copy);
    }
  }
}

TEST_F(RecoveryTest, ATornLastRecordIsCutAtEveryByteAndAllBeforeItStays) {
  const auto db = open(small_buffer());
  Operations operations(7, kDim, 4, 4);
  Model model;
  for (int i = 0; i < 3; ++i) {
    const Operation add = operations.batch(Operation::Kind::kAdd, model, 0);
    add.apply(*db);
    add.apply(model);
  }
  const std::uint64_t before = fs::file_size(newest_segment(path_));
  fill(*db, 1, kDim, 0, "torn");
  const std::uint64_t after = fs::file_size(newest_segment(path_));
  const std::string whole = crash_copy("whole");
  for (std::uint64_t bytes = before; bytes < after; ++bytes) {
    const std::string copy = root_ + "/copy";
    fs::copy(whole, copy, fs::copy_options::recursive);
    fs::resize_file(newest_segment(copy), bytes);
    expect_after_opening(copy, model, bytes % 2 == 0);
    expect_after_opening(copy, model);
    ASSERT_FALSE(HasFailure()) << bytes << " bytes of the log";
    fs::remove_all(copy);
  }
}

TEST_F(RecoveryTest, DirectRowsThatNeverReachedTheDiskTakeTheirRecordWithThem) {
  const auto db = open(small_buffer());
  fill(*db, 5, kDim);
  const std::vector<float> large = fill(*db, 100, kDim, 5);
  const std::string copy = crash_copy("copy");
  fs::resize_file(copy + "/gen-1/vectors.bin", 4096 + 50 * kDim * sizeof(float));
  const auto recovered = Database::open(copy, small_buffer());
  EXPECT_EQ(recovered->count(), 5u);
  EXPECT_FALSE(recovered->contains("r5"));
  EXPECT_EQ(fill(*recovered, 100, kDim, 5), large);  // and there is room for them again
  EXPECT_EQ(recovered->search(large.data() + 99 * kDim, kDim, {.k = 1}).hits[0].id, "r104");
}

TEST_F(RecoveryTest, AFailureAtAnyPointOfRecoveryLeavesEverythingForTheNext) {
  Model model;
  {
    const auto db = open(small_buffer());
    Operations operations(11, kDim, 8, 40);
    for (int step = 0; step < 25; ++step) {
      using Kind = Operation::Kind;
      const Kind kind = step % 3 == 0 ? Kind::kAdd : step % 3 == 1 ? Kind::kUpsert : Kind::kRemove;
      const Operation operation = operations.batch(kind, model, step % 3 == 0 ? 0 : 60);
      operation.apply(*db);
      operation.apply(model);
      if (step == 8) db->persist();
    }
    crash_copy("crashed");
  }
  const std::string crashed = root_ + "/crashed";
  bool failed = true;
  std::uint64_t at = 0;
  for (; failed; ++at) {
    const std::string copy = root_ + "/copy";
    fs::copy(crashed, copy, fs::copy_options::recursive);
    testing::FaultFiles files;
    OpenOptions options = small_buffer();
    options.files = &files;
    files.fail({.at = at, .error = EIO, .forever = true, .partial = at % 2 == 0});
    try {
      Database::open(copy, options)->close();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kStorage) << error.what();
    }
    failed = files.failures() > 0;
    expect_after_opening(copy, model);
    ASSERT_FALSE(HasFailure()) << "after a failure of operation " << at;
    fs::remove_all(copy);
  }
  EXPECT_GT(at, 20u);
}

TEST_F(RecoveryTest, IdsAddedAndRemovedInOneLogEndAsTheyWere) {
  const auto db = open(small_buffer());
  Model model;
  const auto run = [&](Operation::Kind kind, std::vector<std::string> ids, std::uint32_t seed) {
    Operation operation{kind, std::move(ids), {}, {}, kDim};
    operation.rows = random_rows(operation.ids.size(), kDim, seed);
    for (std::size_t i = 0; i < operation.ids.size(); ++i) {
      operation.metadata.push_back("{\"v\":" + std::to_string(seed) + "}");
    }
    operation.apply(*db);
    operation.apply(model);
  };
  using Kind = Operation::Kind;
  run(Kind::kAdd, {"a", "b", "c", "d"}, 1);
  db->persist();  // the rest is pending, across the boundary of a checkpoint
  run(Kind::kUpsert, {"a", "e"}, 2);
  run(Kind::kUpsert, {"a"}, 3);
  run(Kind::kRemove, {"b", "e"}, 4);
  run(Kind::kAdd, {"b"}, 5);
  run(Kind::kRemove, {"a"}, 6);
  run(Kind::kAdd, {"a"}, 7);
  run(Kind::kRemove, {"d"}, 8);
  run(Kind::kUpsert, {"f", "c"}, 9);
  run(Kind::kRemove, {"f"}, 10);
  const std::string copy = crash_copy("copy");
  expect_after_opening(copy, model, true);
  expect_after_opening(copy, model);
  db->persist();
  EXPECT_EQ(difference(*db, model), "");
  run(Kind::kUpsert, {"b", "c"}, 11);
  expect_after_opening(crash_copy("later"), model);
}

TEST_F(RecoveryTest, TheLogReachesBackToTheCheckpointBeforeTheLast) {
  const auto db = open(small_buffer());
  Operations operations(3, kDim, 8, 40);
  Model model;
  const std::vector<std::string> store = {"/gen-1/metadata.db", "/gen-1/metadata.crc"};
  fs::create_directory(root_ + "/gen-1");
  for (int round = 0; round < 4; ++round) {
    for (const std::string& file : store) {
      fs::copy_file(path_ + file, root_ + file, fs::copy_options::overwrite_existing);
    }
    for (int i = 0; i < 5; ++i) {
      using Kind = Operation::Kind;
      const Operation operation =
          operations.batch(i == 2 ? Kind::kRemove : Kind::kUpsert, model, 50);
      operation.apply(*db);
      operation.apply(model);
    }
    db->persist();
    // The last transaction of the store is lost; what it held is in the log, and in the files.
    const std::string copy = crash_copy("copy");
    for (const std::string& file : store) {
      fs::copy_file(root_ + file, copy + file, fs::copy_options::overwrite_existing);
    }
    expect_after_opening(copy, model, true);
    expect_after_opening(copy, model);
    fs::remove_all(copy);
  }
}

TEST_F(RecoveryTest, ADirectoryThatLostItsManifestIsNotCreatedOver) {
  fill(*open(small_buffer()), 5, kDim);
  fs::remove(path_ + "/MANIFEST");
  EXPECT_EQ(code_of([&] { open(); }), ErrorCode::kCorruption);
  EXPECT_TRUE(fs::exists(path_ + "/gen-1/vectors.bin"));
}

TEST_F(RecoveryTest, ACreationThatEndedAnywhereIsBegunAgain) {
  bool failed = true;
  for (std::uint64_t at = 0; failed; ++at) {
    const std::string path = root_ + "/new" + std::to_string(at);
    testing::FaultFiles files;
    OpenOptions options = small_buffer();
    options.dimension = kDim;
    options.files = &files;
    files.fail({.at = at, .error = EIO, .forever = true, .partial = true});
    try {
      Database::open(path, options)->close();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kStorage) << error.what();
    }
    failed = files.failures() > 0;
    const auto db = Database::open(path, small_buffer());
    fill(*db, 3, kDim);
    EXPECT_EQ(db->count(), 3u) << "after a failure of operation " << at;
  }
}

}  // namespace
}  // namespace srvdb
