#include "srvdb/database/pending.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace srvdb {
namespace {

TEST(PendingChangesTest, KnowsTheNewestStateOfEachId) {
  PendingChanges pending;
  EXPECT_TRUE(pending.empty());
  pending.put("a", 0, "{\"x\":1}");
  pending.put("b", 1, "");
  pending.put("a", 2, "{\"x\":2}");
  pending.erase("b");
  pending.erase("never seen");
  EXPECT_EQ(pending.find("a"), Row{2});
  EXPECT_EQ(pending.find("b"), kNoRow);
  EXPECT_EQ(pending.find("never seen"), kNoRow);
  EXPECT_EQ(pending.find("c"), std::nullopt);
  EXPECT_EQ(pending.size(), 3u);
}

TEST(PendingChangesTest, MetadataLiesByRowAndOutlivesTheCallersText) {
  PendingChanges pending;
  {
    std::string id = "a long enough id that no string keeps it inside itself";
    std::string text = "{\"text\":\"" + std::string(100, 'x') + "\"}";
    pending.put(id, 7, text);
    id.assign(id.size(), '!');
    text.assign(text.size(), '!');
  }
  EXPECT_EQ(pending.find("a long enough id that no string keeps it inside itself"), Row{7});
  EXPECT_EQ(pending.metadata(7), "{\"text\":\"" + std::string(100, 'x') + "\"}");
  EXPECT_EQ(pending.metadata(6), std::nullopt);
  EXPECT_EQ(pending.metadata(8), std::nullopt);
}

TEST(PendingChangesTest, GivesIdsInByteOrderAlsoBeyondEqualBeginnings) {
  PendingChanges pending;
  std::map<std::string, Row, std::less<>> expected;
  std::mt19937 random(1);
  for (Row row = 0; row < 5000; ++row) {
    std::string id(1 + random() % 12, 'a');
    for (char& c : id) c = static_cast<char>("ab\0\xff"[random() % 4]);
    pending.reserve(1);
    pending.put(id, row, "");
    expected[id] = row;
  }
  const auto sorted = pending.sorted();
  ASSERT_EQ(sorted.size(), expected.size());
  auto at = expected.begin();
  for (const auto& [id, row] : sorted) {
    EXPECT_EQ(id, at->first);
    EXPECT_EQ(row, at->second);
    ++at;
  }
  const std::string after = std::next(expected.begin(), 100)->first;
  EXPECT_EQ(pending.sorted_after(after).size(), expected.size() - 101);
  EXPECT_GT(pending.sorted_after(after).front().first, after);
}

TEST(PendingChangesTest, CountsTheMemoryItHolds) {
  PendingChanges pending;
  const std::size_t empty = pending.memory_bytes();
  for (Row row = 0; row < 10000; ++row) {
    pending.put("id" + std::to_string(row), row, std::string(200, 'x'));
  }
  EXPECT_GT(pending.memory_bytes(), empty + 10000 * 200);
  EXPECT_LT(pending.memory_bytes(), empty + 10000 * 400);
  pending.put("large", 10000, std::string(1 << 20, 'x'));  // a block of its own
  EXPECT_EQ(pending.metadata(10000)->size(), std::size_t{1} << 20);
}

TEST(SortIdsTest, KeepsTheOrderOfEqualIds) {
  const std::vector<std::string_view> ids = {"b", "a", "b", "", "a"};
  EXPECT_EQ(sort_ids(ids.size(), ids.data()), (std::vector<std::uint32_t>{3, 1, 4, 0, 2}));
}

}  // namespace
}  // namespace srvdb
