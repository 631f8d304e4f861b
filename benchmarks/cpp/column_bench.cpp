// Blocks of columns: bytes a row, time to make them, and time of selecting rows, for fields of few
// and of many values, in any order or in runs. One thread, no files.
//
//   srvdb_column_bench [rows]
//
// Prints a table in Markdown: the shortest of some repetitions.

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "srvdb/filter/column.h"

namespace srvdb {
namespace {

using filter::ColumnBits;
using filter::ColumnBuilder;
using filter::ColumnView;
using filter::Leaf;
using filter::Operator;
using filter::Value;

constexpr int kRepetitions = 9;

double microseconds(const std::function<void()>& work) {
  double best = 1e30;
  for (int i = 0; i < kRepetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  return best;
}

// One field of so many rows.
class Field {
 public:
  explicit Field(std::vector<std::int64_t> values) : values_(std::move(values)) {}

  void make() {
    blocks_.clear();
    for (std::size_t first = 0; first < values_.size(); first += filter::kColumnRows) {
      ColumnBuilder builder;
      const std::size_t end = std::min<std::size_t>(values_.size(), first + filter::kColumnRows);
      for (std::size_t i = first; i < end; ++i) {
        builder.add(Value::number(values_[i]));
        builder.finish(static_cast<std::uint32_t>(i - first));
      }
      blocks_.push_back(builder.encode(nullptr));
    }
  }
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const std::string& block : blocks_) sum += block.size();
    return sum;
  }
  // Rows that a leaf selects.
  std::uint64_t count(const Leaf& leaf) const {
    std::uint64_t rows = 0;
    for (const std::string& block : blocks_) {
      std::array<std::uint64_t, filter::kColumnWords> yes{};
      std::array<std::uint64_t, filter::kColumnWords> maybe{};
      ColumnView(as_byte_span(block)).select(leaf, yes, maybe);
      for (const std::uint64_t word : yes) rows += static_cast<std::uint64_t>(std::popcount(word));
    }
    return rows;
  }

 private:
  std::vector<std::int64_t> values_;
  std::vector<std::string> blocks_;
};

Leaf leaf(Operator op, std::vector<std::int64_t> operands) {
  std::vector<Value> values;
  for (const std::int64_t operand : operands) values.push_back(Value::number(operand));
  return Leaf::on_field("field", op, std::move(values));
}

void measure(std::size_t rows, std::size_t distinct, bool in_runs) {
  std::mt19937_64 random(1);
  std::vector<std::int64_t> values(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    values[i] = static_cast<std::int64_t>(in_runs            ? i * distinct / rows
                                          : distinct == rows ? i * 2654435761U % rows
                                                             : random() % distinct);
  }
  Field field(std::move(values));
  const double made = microseconds([&] { field.make(); });
  const auto middle = static_cast<std::int64_t>(distinct / 2);
  const auto last = static_cast<std::int64_t>(distinct - 1);
  const Leaf equal = leaf(Operator::kEqual, {middle});
  const Leaf half = leaf(Operator::kGreaterEqual, {middle});
  const Leaf three = leaf(Operator::kIn, {0, middle, last});
  std::uint64_t checked = 0;  // so that no work is left out
  const double equal_us = microseconds([&] { checked += field.count(equal); });
  const double half_us = microseconds([&] { checked += field.count(half); });
  const double three_us = microseconds([&] { checked += field.count(three); });
  const auto per_row = static_cast<double>(rows);
  std::printf("| %zu%s | %.2f | %.0f | %.0f | %.0f | %.0f |\n", distinct,
              in_runs ? ", in runs" : "", static_cast<double>(field.bytes()) / per_row,
              1000 * made / per_row, equal_us, half_us, three_us);
  if (checked == 0) std::puts("nothing was selected");
}

}  // namespace
}  // namespace srvdb

int main(int argc, char** argv) {
  const std::size_t rows = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
  std::puts(
      "| values | bytes a row | making, ns a row | equal, µs | half of the range, µs | in (3), µs "
      "|");
  std::puts("|---|---|---|---|---|---|");
  for (const bool in_runs : {false, true}) {
    for (const std::size_t distinct : {std::size_t{2}, std::size_t{10}, std::size_t{100},
                                       std::size_t{1000}, std::size_t{10'000}, rows}) {
      srvdb::measure(rows, distinct, in_runs);
    }
  }
}
