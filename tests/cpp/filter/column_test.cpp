#include "srvdb/filter/column.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <set>
#include <string>

#include "srvdb/base/error.h"

namespace srvdb::filter {
namespace {

using Bits = std::array<std::uint64_t, kColumnWords>;
using Rows = std::map<std::uint32_t, std::vector<Value>>;

bool has(const Bits& bits, std::uint32_t row) {
  return (bits[row / 64] >> (row % 64) & 1) != 0;
}

std::string block_of(const Rows& rows) {
  ColumnBuilder builder;
  for (const auto& [row, values] : rows) builder.set(row, values);
  return builder.encode(nullptr);
}

struct Found {
  Bits yes{};
  Bits maybe{};
};
Found select(const std::string& block, const Leaf& leaf) {
  Found out;
  ColumnView(as_byte_span(block)).select(leaf, out.yes, out.maybe);
  return out;
}

std::vector<std::uint32_t> rows_of(const Bits& bits) {
  std::vector<std::uint32_t> out;
  for (std::uint32_t row = 0; row < kColumnRows; ++row) {
    if (has(bits, row)) out.push_back(row);
  }
  return out;
}

Leaf leaf(Operator op, std::vector<Value> operands) {
  return Leaf::on_field("field", op, std::move(operands));
}

// What the block says of each row: its values in order, or that it is opaque.
std::map<std::uint32_t, std::string> content_of(const std::string& block) {
  std::map<std::uint32_t, std::string> out;
  if (block.empty()) return out;
  const ColumnView view(as_byte_span(block));
  view.for_each_row([&](std::uint32_t row, std::uint32_t code) {
    std::string text = view.is_opaque(code) ? "opaque" : "";
    view.for_each_member(code, [&](std::uint32_t index) {
      const Value value = view.value(index);
      text.append(std::to_string(static_cast<int>(value.kind())))
          .append(value.element() ? "e" : "");
      text.append(value.cut() ? "c" : "").append(std::to_string(value.as_uint()));
      text.append(value.text()).append(std::to_string(value.hash()[0])).append(" ");
    });
    out[row] = text;
  });
  return out;
}

// Values of every class, many of them equal or close; strings around the length at which they are
// cut.
class Maker {
 public:
  explicit Maker(unsigned seed) : random_(seed) {}
  std::uint32_t pick(std::uint32_t below) { return static_cast<std::uint32_t>(random_() % below); }
  Value value() {
    switch (pick(9)) {
      case 0:
        return Value();
      case 1:
        return Value::null();
      case 2:
        return Value::boolean(pick(2) == 0);
      case 3:
        return Value::number(std::int64_t{pick(40)} - 20);
      case 4:
        return Value::number((std::uint64_t{1} << 63) + pick(5));
      case 5:
        return Value::number((static_cast<double>(pick(80)) - 40) / 2);
      case 6:
        return Value::number(std::int64_t{1} << (pick(63)));
      case 7:
        return string(60 + pick(10));
      default:
        return string(pick(4));
    }
  }
  Value string(std::size_t size) {
    std::string text(size, 'a');
    for (std::size_t i = 0; i < 2 && size > 0; ++i) {
      text[pick(static_cast<std::uint32_t>(size))] = static_cast<char>('a' + pick(3));
    }
    return Value::string(*texts_.insert(text).first);
  }

 private:
  std::mt19937_64 random_;
  std::set<std::string> texts_;  // nodes stay where they are
};

void check_leaf(const Rows& rows, const std::string& block, const Leaf& asked) {
  const Found found = select(block, asked);
  for (std::uint32_t row = 0; row < kColumnRows; ++row) {
    const auto at = rows.find(row);
    bool holds = false;
    bool exact = true;
    if (at != rows.end()) {
      for (const Value& value : at->second) {
        holds = holds || asked.test(value) == Truth::kYes;
        exact = exact && value.text().size() <= kCutBytes;
      }
    }
    ASSERT_TRUE(!has(found.yes, row) || holds) << row;
    ASSERT_TRUE(!holds || has(found.yes, row) || has(found.maybe, row)) << row;
    ASSERT_FALSE(exact && has(found.maybe, row)) << row;
    ASSERT_FALSE(has(found.yes, row) && has(found.maybe, row)) << row;
  }
}

void check_leaves(const Rows& rows, const std::string& block, Maker& maker) {
  for (const Operator op : {Operator::kEqual, Operator::kGreater, Operator::kGreaterEqual,
                            Operator::kLess, Operator::kLessEqual, Operator::kContains}) {
    for (int i = 0; i < 4; ++i) {
      Value operand = maker.value();
      const bool ordered = op != Operator::kEqual && op != Operator::kContains;
      while (operand.kind() == ValueKind::kContainer ||
             (ordered && !operand.is_number() && !operand.is_string())) {
        operand = maker.value();
      }
      check_leaf(rows, block, leaf(op, {operand}));
    }
  }
  for (const std::size_t operands : {0U, 3U, 500U}) {
    std::vector<Value> list;
    while (list.size() < operands) {
      const Value operand = maker.value();
      if (operand.kind() != ValueKind::kContainer) list.push_back(operand);
    }
    check_leaf(rows, block, leaf(Operator::kIn, list));
  }
  check_leaf(rows, block, leaf(Operator::kExists, {}));
}

TEST(Column, SelectsWhatALookAtEachValueSelects) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    Maker maker(seed);
    Rows rows;
    const std::uint32_t end = seed % 3 == 0 ? kColumnRows : 1 + maker.pick(700);
    const std::uint32_t share = 1 + maker.pick(seed % 2 == 0 ? 3 : 300);
    const std::uint32_t most = seed % 5 == 0 ? 6 : 1;
    for (std::uint32_t row = 0; row < end; ++row) {
      if (maker.pick(share) != 0) continue;
      std::vector<Value>& values = rows[row];
      for (std::uint32_t n = 1 + maker.pick(most); n > 0; --n) {
        values.push_back(maker.value().with_element(most > 1 && maker.pick(3) != 0));
      }
    }
    if (rows.empty()) continue;
    const std::string block = block_of(rows);
    check_leaves(rows, block, maker);
    EXPECT_EQ(content_of(block).size(), rows.size());
  }
}

TEST(Column, CodesOfEveryWidthSayTheSame) {
  // One value for all rows, few, some hundreds, thousands; and of those with gaps.
  for (const std::uint32_t distinct : {1U, 2U, 15U, 16U, 255U, 256U, 9000U}) {
    for (const std::uint32_t step : {1U, 2U, 50U}) {
      Rows rows;
      for (std::uint32_t row = 0; row < kColumnRows; row += step) {
        rows[row] = {Value::number(std::int64_t{row * 7 % distinct} * 1000)};
      }
      const std::string block = block_of(rows);
      for (const std::int64_t limit : {0, 500, 1000, 7000, 20'000, 8'000'000}) {
        check_leaf(rows, block, leaf(Operator::kGreaterEqual, {Value::number(limit)}));
        check_leaf(rows, block, leaf(Operator::kEqual, {Value::number(limit)}));
        check_leaf(rows, block,
                   leaf(Operator::kIn, {Value::number(limit), Value::number(limit + 3000)}));
      }
    }
  }
}

TEST(Column, FewValuesTakeLessThanTwoBytesARow) {
  Maker maker(1);
  for (const std::uint32_t distinct : {1U, 2U, 10U, 15U, 100U, 250U}) {
    Rows rows;
    for (std::uint32_t row = 0; row < kColumnRows; ++row) {
      rows[row] = {Value::number(std::int64_t{maker.pick(distinct)})};
    }
    const double bytes = static_cast<double>(block_of(rows).size()) / kColumnRows;
    EXPECT_LE(bytes, distinct <= 15 ? 0.6 : 1.1) << distinct;
  }
}

TEST(Column, RewritingABlockKeepsTheRowsThatWereNotSet) {
  Maker maker(7);
  Rows rows;
  std::string block;
  for (int round = 0; round < 30; ++round) {
    ColumnBuilder builder;
    for (std::uint32_t n = 0; n < 200; ++n) {
      const std::uint32_t row = maker.pick(2000);
      std::vector<Value> values;
      for (std::uint32_t i = maker.pick(4); i > 0; --i) {
        values.push_back(maker.value().with_element(maker.pick(2) == 0));
      }
      builder.set(row, values);
      rows.erase(row);
      if (!values.empty()) rows[row] = values;
    }
    const auto encode = [&] {
      if (block.empty()) return builder.encode(nullptr);
      const ColumnView before(as_byte_span(block));
      return builder.encode(&before);
    };
    const std::string first = encode();
    EXPECT_EQ(encode(), first);  // and again
    EXPECT_TRUE(builder.is_said_by(ColumnView(as_byte_span(first))));
    block = first;
    ASSERT_EQ(content_of(block), content_of(block_of(rows)));
  }
  // Values that no row has any more are not kept.
  const ColumnView view(as_byte_span(block));
  EXPECT_EQ(view.values(), ColumnView(as_byte_span(block_of(rows))).values());
  ColumnBuilder none;
  for (std::uint32_t row = 0; row < 2000; ++row) none.set(row, {});
  EXPECT_TRUE(none.encode(&view).empty());
}

TEST(Column, ARowOfVeryManyValuesIsOpaque) {
  std::vector<Value> many;
  for (std::int64_t i = 0; i < 300; ++i) many.push_back(Value::number(i).with_element(true));
  const std::string block = block_of({{3, many}, {4, {Value::number(std::int64_t{7})}}});
  const Found found = select(block, leaf(Operator::kEqual, {Value::number(std::int64_t{7})}));
  EXPECT_EQ(rows_of(found.yes), (std::vector<std::uint32_t>{4}));
  EXPECT_EQ(rows_of(found.maybe), (std::vector<std::uint32_t>{3}));
  // Set again it is no more.
  const ColumnView view(as_byte_span(block));
  ColumnBuilder builder;
  builder.set(3, std::vector<Value>{Value::null()});
  EXPECT_TRUE(
      rows_of(select(builder.encode(&view), leaf(Operator::kEqual, {many[7]})).maybe).empty());
}

TEST(Column, ABlockThatIsFullMakesFurtherRowsOpaque) {
  ColumnBuilder builder;
  std::string text(60, 'x');
  std::uint32_t row = 0;
  for (std::size_t bytes = 0; bytes < 3 * kMaxBlockText; ++row) {
    std::vector<std::string> texts;
    for (int i = 0; i < 250; ++i) {
      text.replace(0, 9, std::to_string(100'000'000 + bytes));
      bytes += text.size();
      texts.push_back(text);
    }
    std::vector<Value> values;
    for (const std::string& each : texts) values.push_back(Value::string(each));
    builder.set(row, values);
  }
  const std::string block = builder.encode(nullptr);
  EXPECT_LT(block.size(), 2 * kMaxBlockText);
  const ColumnView view(as_byte_span(block));
  std::uint32_t opaque = 0;
  view.for_each_row([&](std::uint32_t, std::uint32_t code) { opaque += view.is_opaque(code); });
  EXPECT_GT(opaque, row / 2);
  EXPECT_LT(opaque, row);
}

TEST(Column, CountsTheValuesOfTheRowsAskedFor) {
  const Value a = Value::string("a");
  const Value b = Value::number(std::int64_t{5});
  Rows rows = {{0, {a}}, {1, {b}}, {2, {a, b}}, {70, {a}}, {71, {b}}};
  Bits asked{};
  for (const std::uint32_t row : {0U, 2U, 3U, 70U})
    asked[row / 64] |= std::uint64_t{1} << (row % 64);
  std::string text;
  ColumnView(as_byte_span(block_of(rows)))
      .count(
          asked,
          [&](const Value& value, std::uint32_t count, std::uint32_t example) {
            text.append(value.is_string() ? "a:" : "b:").append(std::to_string(count));
            text.append(" as in ").append(std::to_string(example)).append(". ");
          },
          [](std::uint32_t) { ADD_FAILURE(); });
  EXPECT_EQ(text, "b:1 as in 2. a:3 as in 0. ");
}

TEST(Column, DamagedBytesAreRefusedOrHarmless) {
  Maker maker(3);
  std::mt19937_64 random(3);
  std::vector<std::string> blocks;
  for (const std::uint32_t share : {1U, 40U}) {
    for (const std::uint32_t most : {1U, 4U}) {
      Rows rows;
      for (std::uint32_t row = 0; row < 1500; ++row) {
        if (maker.pick(share) != 0) continue;
        for (std::uint32_t i = 1 + maker.pick(most); i > 0; --i) rows[row].push_back(maker.value());
      }
      blocks.push_back(block_of(rows));
    }
  }
  const auto ask = [&](const std::string& text) {
    // Exactly as long as said, so that a sanitizer sees a read beyond its end.
    const std::vector<std::uint8_t> block(text.begin(), text.end());
    const ColumnView view(block);
    Found found;
    view.select(leaf(Operator::kGreater, {Value::number(std::int64_t{3})}), found.yes, found.maybe);
    view.select(leaf(Operator::kContains, {Value::string("b")}), found.yes, found.maybe);
    view.select(leaf(Operator::kEqual, {Value::string("aaa")}), found.yes, found.maybe);
    view.count(
        found.yes, [](const Value&, std::uint32_t, std::uint32_t) {}, [](std::uint32_t) {});
    ColumnBuilder().encode(&view);
  };
  std::size_t refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string block = blocks[random() % blocks.size()];
    const std::size_t at = random() % (random() % 2 == 0 ? 40 : block.size());
    if (random() % 8 == 0) {
      block.resize(at);
    } else {
      block[at] = static_cast<char>(random() % 3 == 0 ? 0xFF : random());
    }
    try {
      ask(block);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kCorruption);
      ++refused;
    }
  }
  EXPECT_GT(refused, 2000U);
}

}  // namespace
}  // namespace srvdb::filter
