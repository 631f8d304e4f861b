// ColumnBuilder::encode(): the bytes of a block.

#include <algorithm>
#include <bit>
#include <compare>
#include <limits>
#include <numeric>
#include <utility>

#include "srvdb/filter/column.h"
#include "srvdb/filter/column_format.h"

namespace srvdb::filter {

using namespace column_format;

class ColumnEncoder {
 public:
  explicit ColumnEncoder(ColumnBuilder& builder) : builder_(builder), of_row_(kColumnRows, kNone) {}

  std::string run(const ColumnView* before) {
    if (before != nullptr) take_over(*before);
    take_rows(before);
    find_used();
    if (used_singles_.empty() && used_sets_.empty()) return {};
    put_values();
    number_codes();
    put_sets();
    put_codes();
    return finish();
  }

 private:
  static constexpr std::uint32_t kSet = ColumnBuilder::kSet;
  static constexpr std::uint32_t kNone = ColumnBuilder::kNothing;

  void take_over(const ColumnView& before);
  void take_rows(const ColumnView* before);
  void find_used();
  void put_values();
  void sort_values(std::vector<std::uint32_t>& order);
  void put_value(const Value& value);
  void put_numbers(std::span<const Value> numbers);
  void number_codes();
  void put_sets();
  void put_codes();
  std::string finish();

  ColumnBuilder& builder_;
  std::vector<std::uint32_t> of_row_;        // the builder's code of each row
  std::vector<std::uint32_t> used_singles_;  // values that rows have alone; in order once numbered
  std::vector<std::uint32_t> used_sets_;
  std::vector<std::uint32_t> value_before_;  // by place in the dictionary before
  std::vector<std::uint32_t> rank_;          // by value of the builder: its place in the dictionary
  std::vector<std::uint32_t> code_of_single_, code_of_set_;
  std::uint32_t present_ = 0;  // rows that have a code
  std::uint32_t end_ = 0;      // the last of them, plus 1
  std::uint32_t values_ = 0, strings_ = 0, numbers_ = 0, text_bytes_ = 0, members_ = 0, rows_ = 0;
  unsigned number_bytes_ = kRawNumber;
  unsigned code_bits_ = 0;
  std::uint8_t flags_ = 0;
  std::string kinds_, number_part_, text_ends_, text_, single_part_, set_ends_, member_part_,
      row_part_, code_part_;
};

// Values and sets of the block before become the builder's.
void ColumnEncoder::take_over(const ColumnView& before) {
  std::vector<std::uint32_t>& value_of = value_before_;
  value_of.resize(before.values());
  for (std::uint32_t i = 0; i < before.values(); ++i) {
    value_of[i] = builder_.find_value(before.value(i));
  }
  std::vector<std::uint32_t> code_of(before.codes() + 1, kNone);
  std::vector<std::uint32_t> members;
  for (std::uint32_t code = 1; code <= before.codes(); ++code) {
    members.clear();
    before.for_each_member(code, [&](std::uint32_t i) { members.push_back(value_of[i]); });
    if (code <= before.singles()) {
      code_of[code] = members[0];
      continue;
    }
    std::sort(members.begin(), members.end());
    code_of[code] = kSet | builder_.find_set(members);
  }
  before.for_each_row([&](std::uint32_t row, std::uint32_t code) { of_row_[row] = code_of[code]; });
}

// A block that has grown too large takes no more values: the rows that bring them are opaque.
void ColumnEncoder::take_rows(const ColumnView* before) {
  const bool full = before != nullptr && (builder_.text_bytes_ > 2 * kMaxBlockText ||
                                          builder_.members_.size() > 2 * kMaxBlockMembers);
  for (const auto& [row, code] : builder_.rows_) {
    of_row_[row] = full && code != kNone ? kSet | builder_.find_set({}) : code;
  }
}

void ColumnEncoder::find_used() {
  std::vector<bool> single(builder_.values_.size());
  std::vector<bool> set(builder_.sets_.size());
  rank_.assign(builder_.values_.size(), kNone);
  for (std::uint32_t row = 0; row < kColumnRows; ++row) {
    const std::uint32_t code = of_row_[row];
    if (code == kNone) continue;
    ++present_;
    end_ = row + 1;
    if ((code & kSet) == 0) {
      if (!single[code]) used_singles_.push_back(code);
      single[code] = true;
    } else if (!set[code & ~kSet]) {
      set[code & ~kSet] = true;
      used_sets_.push_back(code & ~kSet);
    }
  }
}

void ColumnEncoder::put_values() {
  std::vector<std::uint32_t> order = used_singles_;
  for (const std::uint32_t value : order) rank_[value] = 0;
  for (const std::uint32_t set : used_sets_) {
    const auto [first, count] = builder_.sets_[set];
    for (std::uint32_t i = first; i < first + count; ++i) {
      const std::uint32_t value = builder_.members_[i];
      if (rank_[value] == kNone) order.push_back(value);
      rank_[value] = 0;
    }
  }
  const std::vector<Value>& values = builder_.values_;
  sort_values(order);
  std::vector<Value> numbers;
  for (const std::uint32_t value : order) {
    rank_[value] = values_++;
    put_value(values[value]);
    if (values[value].is_number()) numbers.push_back(values[value]);
  }
  put_numbers(numbers);
  if (!kinds_.empty() && kinds_.find_first_not_of(kinds_[0]) == std::string::npos) {
    flags_ |= kOneKind;
    kinds_.resize(1);
  }
}

// Those of the block before are sorted already. Each of `order` has rank 0 when this begins.
void ColumnEncoder::sort_values(std::vector<std::uint32_t>& order) {
  const auto less = [&](std::uint32_t a, std::uint32_t b) {
    return std::is_lt(dictionary_order(builder_.values_[a], builder_.values_[b]));
  };
  std::vector<std::uint32_t> sorted;
  sorted.reserve(order.size());
  for (const std::uint32_t value : value_before_) {
    if (std::exchange(rank_[value], kNone) == 0) sorted.push_back(value);
  }
  const auto middle = static_cast<std::ptrdiff_t>(sorted.size());
  for (const std::uint32_t value : order) {
    if (rank_[value] == 0) sorted.push_back(value);
  }
  std::sort(sorted.begin() + middle, sorted.end(), less);
  std::inplace_merge(sorted.begin(), sorted.begin() + middle, sorted.end(), less);
  order = std::move(sorted);
}

void ColumnEncoder::put_value(const Value& value) {
  auto kind = static_cast<unsigned>(value.kind());
  if (value.kind() == ValueKind::kBool && value.as_bool()) kind |= kTrue;
  if (value.cut()) kind |= kCut;
  if (value.element()) kind |= kElement;
  put(kinds_, static_cast<std::uint8_t>(kind));
  if (!value.is_string()) return;
  ++strings_;
  text_.append(value.text());
  if (value.cut()) put_all(text_, value.hash()[0], value.hash()[1]);
  put(text_ends_, static_cast<std::uint32_t>(text_.size()));
}

// Integers that lie close together are kept as their distance from the least.
void ColumnEncoder::put_numbers(std::span<const Value> numbers) {
  numbers_ = static_cast<std::uint32_t>(numbers.size());
  const bool all_int =
      !numbers.empty() && std::all_of(numbers.begin(), numbers.end(), [](const Value& value) {
        return value.kind() == ValueKind::kInt;
      });
  const std::uint64_t base = all_int ? numbers.front().as_uint() : 0;
  const std::uint64_t span =
      all_int ? numbers.back().as_uint() - base : std::numeric_limits<std::uint64_t>::max();
  if (span <= std::numeric_limits<std::uint32_t>::max()) {
    number_bytes_ = span <= 0xFF ? 1 : span <= 0xFFFF ? 2 : 4;
    put(number_part_, base);
  }
  for (const Value& value : numbers) {
    const std::uint64_t bits = value.as_uint() - (number_bytes_ == kRawNumber ? 0 : base);
    char raw[8];
    store(raw, bits);
    number_part_.append(raw, number_bytes_);
  }
}

void ColumnEncoder::number_codes() {
  std::sort(used_singles_.begin(), used_singles_.end(),
            [&](std::uint32_t a, std::uint32_t b) { return rank_[a] < rank_[b]; });
  code_of_single_.assign(builder_.values_.size(), 0);
  code_of_set_.assign(builder_.sets_.size(), 0);
  std::uint32_t code = 0;
  for (const std::uint32_t value : used_singles_) {
    code_of_single_[value] = ++code;
    if (used_singles_.size() != values_) put(single_part_, rank_[value]);
  }
  for (const std::uint32_t set : used_sets_) code_of_set_[set] = ++code;
}

void ColumnEncoder::put_sets() {
  std::vector<std::uint32_t> members;
  for (const std::uint32_t set : used_sets_) {
    const auto [first, count] = builder_.sets_[set];
    members.clear();
    for (std::uint32_t i = first; i < first + count; ++i) {
      members.push_back(rank_[builder_.members_[i]]);
    }
    std::sort(members.begin(), members.end());
    for (const std::uint32_t member : members) {
      char raw[4];
      store(raw, member);
      member_part_.append(raw, index_bytes(values_));
    }
    members_ += count;
    put(set_ends_, members_);
  }
}

// A code for each row up to the last one that has any, or, where few have one, only theirs.
void ColumnEncoder::put_codes() {
  const std::size_t codes = used_singles_.size() + used_sets_.size();
  const unsigned sparse_bits = codes == 1 ? 0 : codes < 16 ? 4 : codes < 256 ? 8 : 16;
  const unsigned dense_bits = present_ == end_ ? sparse_bits : std::max(4U, sparse_bits);
  const bool sparse = present_ * (16 + sparse_bits) < end_ * dense_bits;
  code_bits_ = sparse ? sparse_bits : dense_bits;
  if (sparse) flags_ |= kSparse;
  rows_ = sparse ? present_ : end_;
  std::uint32_t place = 0;
  for (std::uint32_t row = 0; row < end_; ++row) {
    std::uint32_t code = of_row_[row];
    if (code == kNone) {
      if (sparse) continue;
      code = 0;
    } else {
      code = (code & kSet) == 0 ? code_of_single_[code] : code_of_set_[code & ~kSet];
    }
    if (sparse) put(row_part_, static_cast<std::uint16_t>(row));
    if (code_bits_ == 16) put(code_part_, static_cast<std::uint16_t>(code));
    if (code_bits_ == 8) put(code_part_, static_cast<std::uint8_t>(code));
    if (code_bits_ == 4 && place % 2 == 0) put(code_part_, static_cast<std::uint8_t>(code));
    if (code_bits_ == 4 && place % 2 == 1) {
      code_part_.back() =
          static_cast<char>(static_cast<unsigned char>(code_part_.back()) | code << 4);
    }
    ++place;
  }
}

std::string ColumnEncoder::finish() {
  std::string out;
  out.reserve(kHeaderBytes + kinds_.size() + number_part_.size() + text_ends_.size() +
              text_.size() + single_part_.size() + set_ends_.size() + member_part_.size() +
              row_part_.size() + code_part_.size());
  put_all(out, kVersion, flags_, static_cast<std::uint8_t>(code_bits_),
          static_cast<std::uint8_t>(number_bytes_));
  put_all(out, rows_, values_, static_cast<std::uint32_t>(used_singles_.size()),
          static_cast<std::uint32_t>(used_sets_.size()), members_, numbers_, strings_,
          static_cast<std::uint32_t>(text_.size()));
  for (const std::string* part : {&kinds_, &number_part_, &text_ends_, &text_, &single_part_,
                                  &set_ends_, &member_part_, &row_part_, &code_part_}) {
    out.append(*part);
  }
  return out;
}

std::string ColumnBuilder::encode(const ColumnView* before) {
  return ColumnEncoder(*this).run(before);
}

}  // namespace srvdb::filter
