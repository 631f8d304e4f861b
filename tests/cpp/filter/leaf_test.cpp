#include "srvdb/filter/leaf.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <random>
#include <string>
#include <vector>

namespace srvdb::filter {
namespace {

const std::string kBeginning(kCutBytes, 'm');

// A string that dictionaries cut: 64 times m, then the tail.
Value cut(const std::string& tail) {
  return Value::cut_string(kBeginning, hash_text(kBeginning + tail));
}

// Also shows, by the strings that go, that a leaf keeps its own.
Leaf leaf(Operator op, const std::vector<std::string>& operands) {
  std::vector<Value> values;
  for (const std::string& operand : operands) values.push_back(Value::string(operand));
  return Leaf::on_field("a", op, values);
}

TEST(LeafTest, OperandsOutliveTheirSource) {
  std::string source = "long enough to be on the heap, surely";
  const Leaf one = Leaf::on_field("a", Operator::kEqual, {Value::string(source)});
  const std::string copy = source;
  source.assign(source.size(), 'x');
  EXPECT_EQ(one.test(Value::string(copy)), Truth::kYes);
}

TEST(LeafTest, ACutStringIsMaybeTheOperandWithItsHash) {
  for (const Operator op : {Operator::kEqual, Operator::kIn}) {
    const Leaf one = leaf(op, {kBeginning + "tail"});
    EXPECT_EQ(one.test(cut("tail")), Truth::kMaybe);
    EXPECT_EQ(one.test(cut("tale")), Truth::kNo);
    EXPECT_EQ(one.test(Value::string(kBeginning)), Truth::kNo);
    EXPECT_EQ(one.test(Value::string(kBeginning + "tail")), Truth::kYes);
    EXPECT_EQ(leaf(op, {kBeginning}).test(cut("tail")), Truth::kNo);
  }
}

TEST(LeafTest, ACutStringComparesAsFarAsItsBeginningSays) {
  const Leaf above = leaf(Operator::kGreater, {kBeginning + "m"});
  EXPECT_EQ(above.test(cut("z")), Truth::kMaybe);
  EXPECT_EQ(above.test(cut("a")), Truth::kMaybe);
  EXPECT_EQ(leaf(Operator::kGreater, {"a"}).test(cut("x")), Truth::kYes);
  EXPECT_EQ(leaf(Operator::kGreater, {"z"}).test(cut("x")), Truth::kNo);
  EXPECT_EQ(leaf(Operator::kLess, {"mz"}).test(cut("x")), Truth::kYes);
  // The operand is the beginning itself, or a part of it: what is longer is greater.
  EXPECT_EQ(leaf(Operator::kGreaterEqual, {kBeginning}).test(cut("x")), Truth::kYes);
  EXPECT_EQ(leaf(Operator::kLessEqual, {kBeginning}).test(cut("x")), Truth::kNo);
  EXPECT_EQ(leaf(Operator::kLessEqual, {"mm"}).test(cut("x")), Truth::kNo);
}

TEST(LeafTest, ACutStringMayContainWhatItsBeginningDoesNot) {
  EXPECT_EQ(leaf(Operator::kContains, {"mm"}).test(cut("x")), Truth::kYes);
  EXPECT_EQ(leaf(Operator::kContains, {"mx"}).test(cut("x")), Truth::kMaybe);
  const Leaf whole = leaf(Operator::kContains, {kBeginning + "x"});
  EXPECT_EQ(whole.test(cut("x").with_element(true)), Truth::kMaybe);
  EXPECT_EQ(whole.test(cut("y").with_element(true)), Truth::kNo);
  EXPECT_EQ(leaf(Operator::kContains, {"mm"}).test(cut("x").with_element(true)), Truth::kNo);
}

// What a dictionary knows of a value is never wrong, and for values that it holds whole it is all.
TEST(LeafTest, ShorteningAValueNeverMakesALeafLie) {
  std::mt19937 random(7);
  const auto below = [&](std::size_t n) { return random() % n; };
  std::vector<std::string> texts = {"", "m", "n", "a", kBeginning};
  for (int i = 0; i < 40; ++i) {
    std::string text(kCutBytes - 2 + below(5), 'm');
    for (int change = 0; change < 2; ++change) {
      if (below(2) == 0) text[below(text.size())] = static_cast<char>('l' + below(3));
    }
    texts.push_back(text + std::string(below(3), 'a'));
  }
  const auto any = [&] { return Value::string(texts[below(texts.size())]); };
  int unsure = 0;
  for (int i = 0; i < 20'000; ++i) {
    const auto op = static_cast<Operator>(below(9));
    if (op == Operator::kRegex) continue;
    std::vector<Value> operands(op == Operator::kExists ? 0 : op == Operator::kIn ? below(4) : 1);
    for (Value& operand : operands) operand = any();
    const Leaf one = Leaf::on_field("a", op, operands);
    const Value value = any().with_element(below(2) == 0);
    const Truth whole = one.test(value);
    const Truth known = one.test(value.shortened());
    ASSERT_NE(whole, Truth::kMaybe);
    if (known == Truth::kMaybe) {
      ++unsure;
      ASSERT_GT(value.text().size(), kCutBytes);
    } else {
      ASSERT_EQ(known, whole) << static_cast<int>(op) << ' ' << value.text();
    }
  }
  EXPECT_GT(unsure, 100);
}

// Comparing at each place anew would take an hour.
TEST(LeafTest, ContainingTakesTimeLinearInTheText) {
  const std::string text(std::size_t{1} << 20, 'a');
  const std::string part = text.substr(text.size() / 2) + "b";
  EXPECT_EQ(leaf(Operator::kContains, {part}).test(Value::string(text)), Truth::kNo);
  EXPECT_EQ(leaf(Operator::kContains, {""}).test(Value::string("")), Truth::kYes);
  EXPECT_EQ(leaf(Operator::kContains, {"a"}).test(Value::string("")), Truth::kNo);
}

TEST(LeafTest, EverythingThereExists) {
  const Leaf exists = Leaf::on_field("a", Operator::kExists, {});
  for (const Value& value : {Value(), Value::null(), Value::boolean(false), cut("x")}) {
    EXPECT_EQ(exists.test(value), Truth::kYes);
  }
}

}  // namespace
}  // namespace srvdb::filter
