// Versions of a set of rows: a change never shows in an older version.
#include "srvdb/index/row_bitmap.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace srvdb::testing {
namespace {

TEST(RowBitmap, EmptySetHasNoMember) {
  const RowBitmap empty;
  EXPECT_TRUE(empty.empty());
  EXPECT_FALSE(empty.test(0));
  EXPECT_FALSE(empty.test(kMaxRows));
  EXPECT_EQ(empty.word(1234567), 0u);
  EXPECT_EQ(empty.count(0, kMaxRows), 0u);
}

TEST(RowBitmap, OlderVersionsKeepTheirRows) {
  const RowBitmap first = RowBitmap().with_rows(std::vector<Row>{1, 65'535, 65'536, 1});
  const RowBitmap second = first.with_rows(std::vector<Row>{2, 200'000});
  const RowBitmap third = second.without_rows(std::vector<Row>{1, 200'000, 5});
  EXPECT_EQ(first.count(), 3u);
  EXPECT_FALSE(first.test(2));
  EXPECT_EQ(second.count(), 5u);
  EXPECT_TRUE(second.test(1) && second.test(2) && second.test(65'536) && second.test(200'000));
  EXPECT_EQ(third.count(), 3u);
  EXPECT_FALSE(third.test(1) || third.test(200'000));
  EXPECT_TRUE(second.test(200'000));
}

TEST(RowBitmap, AgreesWithASet) {
  std::mt19937 random(3);
  RowBitmap bitmap;
  std::set<Row> rows;
  for (int round = 0; round < 30; ++round) {
    std::vector<Row> some;
    for (int i = 0; i < 200; ++i) some.push_back(static_cast<Row>(random() % 300'000));
    const bool add = random() % 3 != 0;
    bitmap = add ? bitmap.with_rows(some) : bitmap.without_rows(some);
    for (const Row row : some) add ? (void)rows.insert(row) : (void)rows.erase(row);
    ASSERT_EQ(bitmap.count(), rows.size());
    const auto first = static_cast<Row>(random() % 300'000);
    const auto last = static_cast<Row>(first + random() % 150'000);
    const auto inside = std::distance(rows.lower_bound(first), rows.lower_bound(last));
    ASSERT_EQ(bitmap.count(first, last), static_cast<std::size_t>(inside));
  }
  for (Row row = 0; row < 300'000; ++row) ASSERT_EQ(bitmap.test(row), rows.contains(row));
}

}  // namespace
}  // namespace srvdb::testing
