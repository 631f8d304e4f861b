// Versions of a set of rows: a change never shows in an older version.
#include "srvdb/index/row_bitmap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
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

TEST(RowBitmap, CopiesWordsAlsoBeyondItsChunks) {
  const RowBitmap bitmap = RowBitmap().with_rows(std::vector<Row>{3, 64, 65'535, 140'000});
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{1024}, std::size_t{1025},
                              std::size_t{2200}, std::size_t{9000}}) {
    std::vector<std::uint64_t> words(n, ~std::uint64_t{0});
    for (const std::size_t first : {std::size_t{0}, std::size_t{256}, std::size_t{1000}}) {
      bitmap.copy_words(first, words);
      for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(words[i], bitmap.word(first + i)) << i;
    }
  }
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

// A set with a chunk that is empty, one that is full, and one of each tenth row or so.
RowBitmap random_set(std::mt19937& random, std::set<Row>& rows) {
  rows.clear();
  std::vector<std::uint64_t> words(5 * RowBitmap::kChunkRows / 64);
  const auto add = [&](Row row) {
    rows.insert(row);
    words[row / 64] |= std::uint64_t{1} << (row % 64);
  };
  for (Row chunk = 0; chunk < 5; ++chunk) {
    const auto kind = random() % 4;
    for (Row i = 0; i < RowBitmap::kChunkRows; ++i) {
      if (kind == 0 || (kind < 3 && random() % 10 != 0)) continue;
      add(chunk * static_cast<Row>(RowBitmap::kChunkRows) + i);
    }
  }
  return RowBitmap::from_words(words);
}

void expect_rows(const RowBitmap& bitmap, const std::vector<Row>& rows) {
  EXPECT_EQ(bitmap.count(), rows.size());
  EXPECT_EQ(bitmap.rows(), rows);
}

TEST(RowBitmap, SetOperationsAgreeWithSets) {
  std::mt19937 random(7);
  for (int round = 0; round < 8; ++round) {
    std::set<Row> a_rows, b_rows;
    const RowBitmap a = random_set(random, a_rows);
    const RowBitmap b = random_set(random, b_rows);
    std::vector<Row> both, either, first;
    std::ranges::set_intersection(a_rows, b_rows, std::back_inserter(both));
    std::ranges::set_union(a_rows, b_rows, std::back_inserter(either));
    std::ranges::set_difference(a_rows, b_rows, std::back_inserter(first));
    expect_rows(a & b, both);
    expect_rows(a | b, either);
    expect_rows(a - b, first);
    EXPECT_EQ(a.count_without(b), first.size());
    EXPECT_EQ(b.count_without(a), b_rows.size() - both.size());
  }
}

TEST(RowBitmap, WithAllButLeavesJustTheKeptOnes) {
  std::mt19937 random(11);
  for (const Row rows : {Row{0}, Row{1}, Row{64}, Row{65'536}, Row{100'001}, Row{327'680}}) {
    std::set<Row> own_rows, kept_rows;
    const RowBitmap own = random_set(random, own_rows);
    const RowBitmap kept = random_set(random, kept_rows);
    const RowBitmap excluded = own.with_all_but(kept, rows);
    std::vector<Row> expected;
    for (Row row = 0; row < 330'000; ++row) {
      if (own_rows.contains(row) || (row < rows && !kept_rows.contains(row))) {
        expected.push_back(row);
      }
    }
    expect_rows(excluded, expected);
  }
}

TEST(RowBitmap, SharingIsSeen) {
  const RowBitmap a = RowBitmap().with_rows(std::vector<Row>{1, 70'000});
  const RowBitmap same = a;
  EXPECT_TRUE(a.shares_all(same));
  EXPECT_TRUE(RowBitmap().shares_all(RowBitmap()));
  EXPECT_FALSE(a.shares_all(a.with_rows(std::vector<Row>{2})));
  EXPECT_TRUE((a & same).shares_all(a));
  EXPECT_GE(a.memory_bytes(), 2 * RowBitmap::kChunkRows / 8);
}

}  // namespace
}  // namespace srvdb::testing
