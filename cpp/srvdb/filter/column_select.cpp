// ColumnView::select(): which rows of a block satisfy a leaf.
//
// First the dictionary: comparisons are ranges of it, found by halving; other operators look at
// each value. Then the codes: a range of codes, the common case, is one comparison a row; where
// there are many a set says which codes are meant (simd/bit_kernels.h).

#include <algorithm>
#include <array>
#include <compare>
#include <limits>

#include "srvdb/base/aligned.h"
#include "srvdb/filter/column.h"
#include "srvdb/simd/bit_kernels.h"

namespace srvdb::filter {
namespace {

constexpr std::uint8_t kYes = 1;
constexpr std::uint8_t kMaybe = 2;
constexpr std::uint32_t kGroup = 64;   // rows of a word
constexpr std::size_t kFewRanges = 4;  // cost less than a set of codes

void set_bit(ColumnBits bits, std::uint32_t row) noexcept {
  bits[row / 64] |= std::uint64_t{1} << (row % 64);
}

}  // namespace

class ColumnSelection {
 public:
  ColumnSelection(const ColumnView& view, const Leaf& leaf) : view_(view), leaf_(leaf) {}

  void run(ColumnBits yes, ColumnBits maybe) {
    find_values();
    if (ranges_.empty() && view_.sets_ == 0) return;
    const bool plain = view_.sets_ == 0 && view_.singles_ == view_.values_;
    const auto certain = [](const Range& range) { return range.truth == kYes; };
    if (plain && ranges_.size() <= kFewRanges && std::ranges::all_of(ranges_, certain)) {
      put_ranges(yes);
    } else {
      find_codes();
      put_codes(kYes, yes);
      put_codes(kMaybe, maybe);
    }
  }

 private:
  struct Range {
    std::uint32_t first = 0;
    std::uint32_t end = 0;
    std::uint8_t truth = kYes;
  };

  // The first value in [first, end) for which `before` is false.
  template <typename Before>
  std::uint32_t bound(std::uint32_t first, std::uint32_t end, Before&& before) const {
    while (first < end) {
      const std::uint32_t middle = first + (end - first) / 2;
      if (before(view_.value(middle))) {
        first = middle + 1;
      } else {
        end = middle;
      }
    }
    return first;
  }
  std::uint32_t not_below(const Value& limit, std::uint32_t first, std::uint32_t end) const {
    return bound(first, end, [&](const Value& value) { return std::is_lt(order(value, limit)); });
  }
  std::uint32_t above(const Value& limit, std::uint32_t first, std::uint32_t end) const {
    return bound(first, end, [&](const Value& value) { return std::is_lteq(order(value, limit)); });
  }

  void add(std::uint32_t first, std::uint32_t end, std::uint8_t truth) {
    if (first >= end) return;
    if (!ranges_.empty() && ranges_.back().end == first && ranges_.back().truth == truth) {
      ranges_.back().end = end;
    } else {
      ranges_.push_back({first, end, truth});
    }
  }
  void test_each(std::uint32_t first, std::uint32_t end);
  void find_values();
  void find_equal();
  void find_ordered();
  void find_codes();
  void put_ranges(ColumnBits yes) const;
  void put_codes(std::uint8_t truth, ColumnBits rows) const;
  void put_ones(ColumnBits rows) const;
  template <typename Put>
  void each_part(ColumnBits rows, Put&& put) const;

  const ColumnView& view_;
  const Leaf& leaf_;
  std::vector<Range> ranges_;          // of values, ascending
  std::vector<std::uint8_t> of_code_;  // kYes, kMaybe or 0, by code
};

void ColumnSelection::test_each(std::uint32_t first, std::uint32_t end) {
  for (std::uint32_t i = first; i < end; ++i) {
    const Truth truth = leaf_.test(view_.value(i));
    if (truth != Truth::kNo) add(i, i + 1, truth == Truth::kYes ? kYes : kMaybe);
  }
}

void ColumnSelection::find_values() {
  switch (leaf_.op()) {
    case Operator::kExists:
      return add(0, view_.values_, kYes);
    case Operator::kEqual:
    case Operator::kIn:
      return find_equal();
    case Operator::kContains:
      return test_each(0, view_.values_);
    case Operator::kRegex:
      return test_each(view_.values_ - view_.strings_, view_.values_);
    case Operator::kPrefix:
      return;
    default:
      return find_ordered();
  }
}

// Operands ascend, and so do the values equal to them.
void ColumnSelection::find_equal() {
  if (leaf_.operands().size() > view_.values_) return test_each(0, view_.values_);
  std::uint32_t from = 0;
  for (const Value& operand : leaf_.operands()) {
    const Value wanted = operand.shortened();
    const std::uint32_t first = not_below(wanted, wanted.cut() ? 0 : from, view_.values_);
    const std::uint32_t end = above(wanted, first, view_.values_);
    test_each(first, end);
    if (!wanted.cut()) from = end;
  }
  const auto less = [](const Range& a, const Range& b) { return a.first < b.first; };
  std::sort(ranges_.begin(), ranges_.end(), less);  // cut ones are sorted by their hash
}

void ColumnSelection::find_ordered() {
  const Value& operand = leaf_.operands().front();
  const Value limit = operand.shortened();
  std::uint32_t first = view_.values_ - view_.strings_;
  std::uint32_t end = view_.values_;
  if (!operand.is_string()) {
    end = first;
    first -= view_.numbers_;
  }
  std::uint32_t below = 0;  // of what is less than the operand for certain, the end
  std::uint32_t beyond = 0;
  if (limit.cut()) {
    // Cut values that begin as the operand does may lie on either side of it.
    constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();
    below = above(Value::string(limit.text()), first, end);
    beyond = above(Value::cut_string(limit.text(), {kMost, kMost}), below, end);
  } else {
    below = not_below(limit, first, end);
    beyond = above(limit, below, end);
  }
  const Operator op = leaf_.op();
  const bool upward = op == Operator::kGreater || op == Operator::kGreaterEqual;
  if (!upward) add(first, below, kYes);
  test_each(below, beyond);
  if (upward) add(beyond, end, kYes);
}

void ColumnSelection::find_codes() {
  std::vector<std::uint8_t> of_value(view_.values_);
  for (const Range& range : ranges_) {
    std::fill(of_value.begin() + range.first, of_value.begin() + range.end, range.truth);
  }
  of_code_.assign(view_.codes() + 1, 0);
  for (std::uint32_t code = 1; code <= view_.singles_; ++code) {
    of_code_[code] = of_value[view_.value_of_single(code)];
  }
  std::uint32_t first = 0;
  for (std::uint32_t code = view_.singles_ + 1; code <= view_.codes(); ++code) {
    const std::uint32_t end = view_.set_end(code);
    if (first > end || end > view_.members_) ColumnView::throw_bad();
    unsigned any = first == end ? kMaybe : 0;  // an opaque one
    for (; first < end; ++first) any |= of_value[view_.member(first)];
    of_code_[code] = (any & kYes) != 0 ? kYes : static_cast<std::uint8_t>(any);
  }
}

// Calls put(codes, bits of each, words, rows) for all codes, and for those that end within a word
// apart.
template <typename Put>
void ColumnSelection::each_part(ColumnBits rows, Put&& put) const {
  if (view_.code_bits_ == 0) return put_ones(rows);
  const std::size_t words = view_.rows_ / kGroup;
  const std::size_t bits = view_.code_bits_;
  put(view_.code_part_.data(), words, rows.data());
  const std::size_t left = view_.rows_ % kGroup;
  if (left == 0) return;
  std::array<std::uint8_t, kGroup * 2> copy{};
  std::memcpy(copy.data(), view_.code_part_.data() + words * kGroup * bits / 8,
              (left * bits + 7) / 8);
  std::uint64_t last = 0;
  put(copy.data(), std::size_t{1}, &last);
  rows[words] |= last & ((std::uint64_t{1} << left) - 1);
}

// Where no code is written down: all of them are 1.
void ColumnSelection::put_ones(ColumnBits rows) const {
  for (std::uint32_t row = 0; row < view_.rows_; row += kGroup) {
    const std::uint32_t left = view_.rows_ - row;
    rows[row / kGroup] |= ~std::uint64_t{0} >> (left < kGroup ? kGroup - left : 0);
  }
}

// Rows whose code is of one of the ranges, all of them certain.
void ColumnSelection::put_ranges(ColumnBits yes) const {
  if (view_.sparse_) {
    return view_.for_each_row([&](std::uint32_t row, std::uint32_t code) {
      for (const Range& range : ranges_) {
        if (code > range.first && code <= range.end) set_bit(yes, row);
      }
    });
  }
  for (const Range& range : ranges_) {
    each_part(yes, [&](const std::uint8_t* codes, std::size_t words, std::uint64_t* out) {
      simd::bit_kernels().in_range(codes, view_.code_bits_, words, range.first + 1, range.end, out);
    });
  }
}

// Rows whose code is of that truth.
void ColumnSelection::put_codes(std::uint8_t truth, ColumnBits rows) const {
  if (std::find(of_code_.begin(), of_code_.end(), truth) == of_code_.end()) return;
  if (view_.sparse_) {
    return view_.for_each_row([&](std::uint32_t row, std::uint32_t code) {
      if (of_code_[code] == truth) set_bit(rows, row);
    });
  }
  std::vector<std::uint64_t> set(round_up(of_code_.size(), simd::kCodeSetStep) / 64);
  for (std::size_t code = 0; code < of_code_.size(); ++code) {
    set[code / 64] |= std::uint64_t{of_code_[code] == truth} << (code % 64);
  }
  each_part(rows, [&](const std::uint8_t* codes, std::size_t words, std::uint64_t* out) {
    simd::bit_kernels().in_set(codes, view_.code_bits_, words, set.data(), set.size() * 64, out);
  });
}

void ColumnView::select(const Leaf& leaf, ColumnBits yes, ColumnBits maybe) const {
  ColumnSelection(*this, leaf).run(yes, maybe);
}

}  // namespace srvdb::filter
