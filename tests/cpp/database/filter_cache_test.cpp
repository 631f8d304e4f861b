// The cache of filters: bounded in bytes, the newest answers win, what belongs to an older answer
// is not kept with a newer one.
#include "srvdb/database/filter_cache.h"

#include <gtest/gtest.h>

#include "srvdb/base/error.h"
#include "support/code_of.h"

namespace srvdb {
namespace {

std::string filter_on(int number) {
  std::string out = "{\"n\": ";
  return out.append(std::to_string(number)).append("}");
}

std::shared_ptr<const FilterAnswer> answer(Sequence sequence, std::uint64_t generation = 1) {
  std::vector<Row> rows;
  for (Row row = 0; row < 4; ++row) rows.push_back(row * 70'000);  // 4 chunks
  return std::make_shared<const FilterAnswer>(
      FilterAnswer{generation, sequence, 300'000, RowBitmap().with_rows(rows)});
}

TEST(FilterCache, StaysWithinItsBytes) {
  constexpr std::size_t kBytes = 256u << 10;
  FilterCache cache(kBytes);
  for (int i = 0; i < 100; ++i) {
    cache.find(filter_on(i));
    cache.keep(filter_on(i), answer(1));
    EXPECT_LE(cache.bytes(), kBytes);
  }
  EXPECT_GE(cache.size(), 4u);
  EXPECT_LT(cache.size(), 10u);
  EXPECT_NE(cache.find(filter_on(99)).answer, nullptr);
  EXPECT_EQ(cache.find(filter_on(0)).answer, nullptr);
}

TEST(FilterCache, WhatIsAskedForStays) {
  FilterCache cache(256u << 10);
  for (int i = 0; i < 100; ++i) {
    cache.find(filter_on(i));
    cache.keep(filter_on(i), answer(1));
    EXPECT_NE(cache.find(filter_on(0)).answer, nullptr);
  }
}

TEST(FilterCache, AnAnswerThatIsTooLargeIsNotKeptAndDropsNothing) {
  FilterCache cache(16u << 10);
  const auto known = cache.find(filter_on(1)).expression;
  cache.find(filter_on(2));
  cache.keep(filter_on(2), answer(1));
  EXPECT_EQ(cache.find(filter_on(2)).answer, nullptr);
  EXPECT_EQ(cache.find(filter_on(1)).expression, known);
}

TEST(FilterCache, TheNewerAnswerWins) {
  FilterCache cache;
  cache.find(filter_on(1));
  const auto newer = answer(5);
  cache.keep(filter_on(1), newer);
  const auto exclusion = std::make_shared<const FilterExclusion>();
  cache.keep(filter_on(1), newer, exclusion);
  cache.keep(filter_on(1), answer(3));
  EXPECT_EQ(cache.find(filter_on(1)).answer, newer);
  EXPECT_EQ(cache.find(filter_on(1)).exclusion, exclusion);
  const auto other = answer(2, 2);  // of a later generation
  cache.keep(filter_on(1), other);
  EXPECT_EQ(cache.find(filter_on(1)).answer, other);
  EXPECT_EQ(cache.find(filter_on(1)).exclusion, nullptr);
  cache.keep(filter_on(1), newer, exclusion);  // of an answer that is not there any more
  EXPECT_EQ(cache.find(filter_on(1)).exclusion, nullptr);
}

TEST(FilterCache, AnExpressionIsReadOnce) {
  FilterCache cache;
  EXPECT_EQ(cache.find(filter_on(1)).expression, cache.find(filter_on(1)).expression);
  EXPECT_EQ(code_of([&] { cache.find("{"); }), ErrorCode::kFilter);
  EXPECT_EQ(cache.size(), 1u);
}

}  // namespace
}  // namespace srvdb
