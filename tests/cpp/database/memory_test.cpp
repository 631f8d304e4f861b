// memory_limit and opening in constant time: what is taken of memory, and what is read.
#include <gtest/gtest.h>

#include <filesystem>

#include "damage.h"
#include "fixture.h"
#include "srvdb/database/memory_budget.h"

namespace srvdb {
namespace {

constexpr std::size_t kDim = 8;
constexpr std::size_t kSegment = std::size_t{8} << 20;

class MemoryTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    std::filesystem::create_directory(path_);
  }
  std::size_t names() const {
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path_)) ++n;
    return n;
  }
};

TEST_F(MemoryTest, BeyondItsShareWorkingMemoryLiesInFilesWithoutNames) {
  const auto budget =
      std::make_shared<MemoryBudget>(posix_file_system(), path_, MemoryBudget::kLeast);
  std::vector<SegmentMemory> parts;
  for (int i = 0; i < 5; ++i) {
    parts.push_back(budget->make(kSegment));
    auto* const bytes = static_cast<std::uint8_t*>(parts.back().data());
    EXPECT_EQ(bytes[0] + bytes[kSegment - 1], 0);
    bytes[0] = bytes[kSegment - 1] = 1;
  }
  EXPECT_EQ(budget->anonymous(), 2 * kSegment);
  EXPECT_EQ(budget->in_files(), 3 * kSegment);
  EXPECT_EQ(names(), 0u);
  parts.erase(parts.begin());
  EXPECT_EQ(budget->anonymous(), kSegment);
  parts.clear();
  EXPECT_EQ(budget->anonymous() + budget->in_files(), 0u);
}

TEST_F(MemoryTest, WithoutALimitNothingLiesInFiles) {
  MemoryBudget budget(posix_file_system(), path_, 0);
  const SegmentMemory part = budget.make(64 * kSegment);
  EXPECT_EQ(budget.anonymous(), 64 * kSegment);
  EXPECT_EQ(budget.in_files(), 0u);
  EXPECT_EQ(budget.pending_ids(1000), 1000u);
}

TEST_F(MemoryTest, WorkingMemoryWithoutRoomOnDiskIsAStorageError) {
  MemoryBudget budget(posix_file_system(), path_ + "/missing", MemoryBudget::kLeast);
  EXPECT_EQ(code_of([&] { budget.make(4 * kSegment); }), ErrorCode::kStorage);
  EXPECT_EQ(budget.in_files(), 0u);
}

TEST_F(MemoryTest, ALimitTooSmallIsRefusedAndNamesTheLeast) {
  OpenOptions options;
  options.memory_limit = MemoryBudget::kLeast - 1;
  try {
    open(options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidInput);
    EXPECT_NE(std::string(error.what()).find("67108864"), std::string::npos) << error.what();
  }
}

TEST_F(MemoryTest, AppendBuffersAndPendingChangesGetTheirShare) {
  OpenOptions options;
  options.memory_limit = MemoryBudget::kLeast;
  const auto db = open(options);
  EXPECT_EQ(db->stats().buffer_bytes, MemoryBudget::kLeast / 16);
  EXPECT_LE(db->chunk_rows(kDim), MemoryBudget::kLeast / 8 / 4096);
  fill(*db, 500, kDim);
  EXPECT_GT(db->stats().memory.buffers, 0u);
  EXPECT_GT(db->stats().memory.pending, 0u);
  EXPECT_EQ(db->stats().memory.limit, MemoryBudget::kLeast);
}

// Only what may have been written since the last checkpoint is read on opening: bytes of a log that
// is applied may be anything.
TEST_F(MemoryTest, OpeningDoesNotReadALogThatIsApplied) {
  open()->close();
  const auto segment = [&] {
    for (const auto& entry : std::filesystem::directory_iterator(path_ + "/wal")) {
      if (entry.path().extension() == ".log") return entry.path().string();
    }
    return std::string();
  };
  {
    const auto db = open();
    fill(*db, 700, kDim);
  }
  const std::string file = segment();
  ASSERT_FALSE(file.empty());
  const std::string noise(testing::bytes_of(file).size(), 'n');
  testing::put_bytes(file, noise);
  {
    const auto db = open();
    EXPECT_EQ(db->count(), 700u);
  }
  EXPECT_EQ(testing::bytes_of(file), noise);
  // What was written since is replayed, after a kill too.
  const auto db = open();
  fill(*db, 10, kDim, 700);
  const std::string copy = crash_copy("killed");
  db->close();
  EXPECT_EQ(Database::open(copy, {})->count(), 710u);
  EXPECT_EQ(open()->count(), 710u);
}

TEST_F(MemoryTest, ALogThatIsLongerThanWhatWasAppliedIsRead) {
  {
    const auto db = open();
    fill(*db, 700, kDim);
    db->persist();
  }
  for (const auto& entry : std::filesystem::directory_iterator(path_ + "/wal")) {
    if (entry.path().extension() != ".log") continue;
    const std::string file = entry.path().string();
    const std::size_t bytes = testing::bytes_of(file).size();
    testing::put_bytes(file, testing::bytes_of(file) + "torn");
    EXPECT_EQ(open()->count(), 700u);
    EXPECT_EQ(testing::bytes_of(file).size(), bytes);  // was looked at, and cut
  }
}

}  // namespace
}  // namespace srvdb
