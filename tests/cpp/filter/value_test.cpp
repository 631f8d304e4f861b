#include "srvdb/filter/value.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "srvdb/base/bytes.h"

namespace srvdb::filter {
namespace {

constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
constexpr std::uint64_t kTwo63 = std::uint64_t{1} << 63;

bool same(const Value& a, const Value& b) {
  return order(a, b) == 0 && order(b, a) == 0;
}

TEST(ValueTest, EqualNumbersAreOneValueHoweverTheyWereWritten) {
  EXPECT_EQ(Value::number(1.0).kind(), ValueKind::kInt);
  EXPECT_EQ(Value::number(-0.0).as_int(), 0);
  EXPECT_EQ(Value::number(std::uint64_t{5}).kind(), ValueKind::kInt);
  EXPECT_EQ(Value::number(9223372036854775808.0).kind(), ValueKind::kUint);
  EXPECT_EQ(Value::number(9223372036854775808.0).as_uint(), kTwo63);
  EXPECT_EQ(Value::number(-9223372036854775808.0).as_int(), kMin);
  EXPECT_EQ(Value::number(18446744073709551616.0).kind(), ValueKind::kDouble);
  EXPECT_EQ(Value::number(0.5).kind(), ValueKind::kDouble);
  EXPECT_TRUE(same(Value::number(3.0), Value::number(std::int64_t{3})));
}

// In ascending order, each less than the next.
TEST(ValueTest, OrderIsTheOneOfTheNumbersThemselves) {
  const std::vector<Value> ascending = {
      Value::number(-1e300),
      Value::number(-9223372036854777856.0),
      Value::number(kMin),
      Value::number(kMin + 1),
      Value::number(-1.5),
      Value::number(std::int64_t{-1}),
      Value::number(-5e-324),
      Value::number(0.0),
      Value::number(5e-324),
      Value::number(0.1),
      Value::number(std::int64_t{1}),
      Value::number(1.5),
      Value::number(std::int64_t{2}),
      Value::number(4503599627370495.5),
      Value::number(std::int64_t{4503599627370496}),
      Value::number(std::int64_t{9007199254740992}),
      Value::number(std::int64_t{9007199254740993}),
      Value::number(std::numeric_limits<std::int64_t>::max()),
      Value::number(kTwo63),
      Value::number(kTwo63 + 1),
      Value::number(std::numeric_limits<std::uint64_t>::max()),
      Value::number(18446744073709551616.0),
      Value::number(1e300),
  };
  for (std::size_t i = 0; i < ascending.size(); ++i) {
    for (std::size_t j = 0; j < ascending.size(); ++j) {
      EXPECT_TRUE(order(ascending[i], ascending[j]) == (i <=> j)) << i << ' ' << j;
    }
  }
}

TEST(ValueTest, ClassesComeInOneSequence) {
  const std::vector<Value> ascending = {
      Value(),           Value::null(),    Value::boolean(false), Value::boolean(true),
      Value::number(9.), Value::string("")};
  for (std::size_t i = 0; i < ascending.size(); ++i) {
    for (std::size_t j = 0; j < ascending.size(); ++j) {
      EXPECT_TRUE(order(ascending[i], ascending[j]) == (i <=> j)) << i << ' ' << j;
    }
  }
}

TEST(ValueTest, StringsCompareByCodePoint) {
  // U+FF5E is above U+1F600 in UTF-16, below it in code points.
  EXPECT_TRUE(order(Value::string("\xef\xbd\x9e"), Value::string("\xf0\x9f\x98\x80")) < 0);
  EXPECT_TRUE(order(Value::string("z"), Value::string("ü")) < 0);
  EXPECT_TRUE(order(Value::string("a"), Value::string(std::string_view("a\0", 2))) < 0);
}

TEST(ValueTest, OnlyTheDictionaryTellsElementsApart) {
  const Value one = Value::number(1.0);
  EXPECT_TRUE(same(one, one.with_element(true)));
  EXPECT_TRUE(dictionary_order(one, one.with_element(true)) < 0);
  EXPECT_TRUE(dictionary_order(one, one) == 0);
}

TEST(ValueTest, OnlyLongStringsAreCut) {
  const std::string just(kCutBytes, 'x');
  EXPECT_FALSE(Value::string(just).shortened().cut());
  const std::string longer = just + "y";
  const Value cut = Value::string(longer).with_element(true).shortened();
  EXPECT_TRUE(cut.cut());
  EXPECT_TRUE(cut.element());
  EXPECT_EQ(cut.text(), just);
  EXPECT_EQ(cut.hash(), hash_text(longer));
  EXPECT_TRUE(order(Value::string(just), cut) < 0);
  EXPECT_FALSE(same(cut, Value::string(just + "z").shortened()));
  EXPECT_TRUE(same(cut, cut.shortened()));
}

// The paper's key; outputs of the reference implementation.
TEST(ValueTest, HashIsSipHashWith128Bits) {
  const auto bytes = [](std::string_view text) {
    std::string out;
    for (const std::uint64_t word : hash_text(text)) put(out, word);
    return out;
  };
  EXPECT_EQ(bytes(""), "\xa3\x81\x7f\x04\xba\x25\xa8\xe6\x6d\xf6\x72\x14\xc7\x55\x02\x93");
  EXPECT_EQ(bytes(std::string(1, '\0')),
            "\xda\x87\xc1\xd8\x6b\x99\xaf\x44\x34\x76\x59\x11\x9b\x22\xfc\x45");
}

TEST(ValueTest, EveryByteOfALongStringCountsInItsHash) {
  std::string text(1000, 'a');
  std::vector<TextHash> hashes = {hash_text(text)};
  for (std::size_t i = 0; i < text.size(); ++i) {
    text[i] = 'b';
    hashes.push_back(hash_text(text));
    text[i] = 'a';
  }
  std::sort(hashes.begin(), hashes.end());
  EXPECT_EQ(std::unique(hashes.begin(), hashes.end()), hashes.end());
}

}  // namespace
}  // namespace srvdb::filter
