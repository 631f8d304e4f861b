// ColumnView::select(): which rows of a block satisfy a leaf.
//
// First the dictionary: comparisons are ranges of it, found by halving; other operators look at
// each value. Then the codes: a range of codes, the common case, is one comparison a row; where
// there are many a table says what each code means. Rows are done 64 at a time, in loops that
// compilers turn into vector instructions.

#include <algorithm>
#include <array>
#include <compare>
#include <limits>

#include "srvdb/filter/column.h"

namespace srvdb::filter {
namespace {

constexpr std::uint8_t kYes = 1;
constexpr std::uint8_t kMaybe = 2;
constexpr std::uint32_t kGroup = 64;   // rows of a word
constexpr std::size_t kFewRanges = 4;  // as fast as a table at most

// Bits of 64 bytes that are 0 or 1.
std::uint64_t pack(const std::uint8_t* bytes) noexcept {
  constexpr std::uint64_t kGather = 0x0102040810204080U;  // byte i, times this, leaves bit i on top
  std::uint64_t word = 0;
  for (unsigned i = 0; i < 8; ++i) {
    word |= (load<std::uint64_t>(bytes + std::size_t{8} * i) * kGather >> 56) << (8 * i);
  }
  return word;
}

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
      put_table(yes, maybe);
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
  void put_table(ColumnBits yes, ColumnBits maybe) const;
  template <typename Put>
  void each_group(Put&& put) const;

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
  for (std::uint32_t code = 1; code <= view_.codes(); ++code) {
    unsigned any = view_.is_opaque(code) ? kMaybe : 0;
    view_.for_each_member(code, [&](std::uint32_t value) { any |= of_value[value]; });
    of_code_[code] = (any & kYes) != 0 ? kYes : static_cast<std::uint8_t>(any);
  }
}

// Calls put(word, bytes, code) for each 64 rows: `bytes` are their codes, each a Code as `code` is.
template <typename Put>
void ColumnSelection::each_group(Put&& put) const {
  const std::uint8_t* from = view_.code_part_.data();
  const std::size_t group_bytes = kGroup * view_.code_bits_ / 8;
  std::array<std::uint8_t, kGroup * 2> copy;
  for (std::uint32_t row = 0; row < view_.rows_; row += kGroup, from += group_bytes) {
    const std::uint8_t* codes = from;
    const std::uint32_t count = view_.rows_ - row;
    if (count < kGroup) {
      copy.fill(0);
      std::memcpy(copy.data(), from, (std::size_t{count} * view_.code_bits_ + 7) / 8);
      codes = copy.data();
    }
    if (view_.code_bits_ == 16) {
      put(row / kGroup, codes, std::uint16_t{});
    } else if (view_.code_bits_ == 8) {
      put(row / kGroup, codes, std::uint8_t{});
    } else if (view_.code_bits_ == 4) {
      std::array<std::uint8_t, kGroup> wide;
      for (std::size_t i = 0; i < kGroup / 2; ++i) {
        wide[2 * i] = codes[i] & 15;
        wide[2 * i + 1] = static_cast<std::uint8_t>(codes[i] >> 4);
      }
      put(row / kGroup, wide.data(), std::uint8_t{});
    } else {
      copy.fill(0);
      std::fill(copy.begin(), copy.begin() + std::min(kGroup, count), std::uint8_t{1});
      put(row / kGroup, copy.data(), std::uint8_t{});
    }
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
  each_group([&](std::size_t word, const std::uint8_t* codes, auto code) {
    using Code = decltype(code);
    std::array<std::uint8_t, kGroup> bytes{};
    for (const Range& range : ranges_) {
      const auto low = static_cast<Code>(range.first + 1);
      const auto span = static_cast<Code>(range.end - range.first - 1);
      for (std::size_t i = 0; i < kGroup; ++i) {
        const Code distance = static_cast<Code>(load<Code>(codes + i * sizeof(Code)) - low);
        bytes[i] |= distance <= span ? 1 : 0;
      }
    }
    yes[word] |= pack(bytes.data());
  });
}

void ColumnSelection::put_table(ColumnBits yes, ColumnBits maybe) const {
  if (view_.sparse_) {
    view_.for_each_row([&](std::uint32_t row, std::uint32_t code) {
      if (of_code_[code] == kYes) set_bit(yes, row);
      if (of_code_[code] == kMaybe) set_bit(maybe, row);
    });
    return;
  }
  const bool any_maybe = std::find(of_code_.begin(), of_code_.end(), kMaybe) != of_code_.end();
  each_group([&](std::size_t word, const std::uint8_t* codes, auto code) {
    using Code = decltype(code);
    std::array<std::uint8_t, kGroup> is_yes;
    std::array<std::uint8_t, kGroup> is_maybe;
    for (std::size_t i = 0; i < kGroup; ++i) {
      const Code of_row = load<Code>(codes + i * sizeof(Code));
      if (of_row >= of_code_.size()) ColumnView::throw_bad();
      is_yes[i] = of_code_[of_row] & kYes;
      is_maybe[i] = static_cast<std::uint8_t>(of_code_[of_row] >> 1);
    }
    yes[word] |= pack(is_yes.data());
    if (any_maybe) maybe[word] |= pack(is_maybe.data());
  });
}

void ColumnView::select(const Leaf& leaf, ColumnBits yes, ColumnBits maybe) const {
  ColumnSelection(*this, leaf).run(yes, maybe);
}

}  // namespace srvdb::filter
