// One block of a column: the values of one field of metadata in kColumnRows rows, as bytes.
//
// A block has a dictionary, the distinct values in dictionary_order, so that its ends are minimum
// and maximum and every comparison is a range of it; and a code for each row. Code 0: the row has
// nothing at this path. Codes 1 to singles(): one value each, in the dictionary's order. The codes
// above: a set of values, for arrays. A set without members is an *opaque* row, of which nothing
// but that it has values is known. So whatever is asked is answered once for each value, then once
// for each code, and then by a look-up for each row. Bytes: cpp/FORMAT.md, "Blocks of columns".
//
// A long string is cut (value.h): what a block says of it is sometimes "maybe".
//
// ColumnView borrows its bytes and trusts none of them: nothing is read outside of them, and what
// cannot be is Error(kCorruption), when it is come by. It does not look for what a checksum tells.
// ColumnBuilder makes blocks. Threads: a view is immutable; a builder belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "srvdb/base/bytes.h"
#include "srvdb/base/text_arena.h"
#include "srvdb/filter/leaf.h"
#include "srvdb/filter/value.h"

namespace srvdb::filter {

inline constexpr unsigned kColumnShift = 14;
inline constexpr std::uint32_t kColumnRows = 1U << kColumnShift;
inline constexpr std::size_t kColumnWords = kColumnRows / 64;

// One bit for each row of a block, least significant first.
using ColumnBits = std::span<std::uint64_t, kColumnWords>;
using ConstColumnBits = std::span<const std::uint64_t, kColumnWords>;

// More than these make a row opaque, or the rows that come on top.
inline constexpr std::size_t kMaxValuesOfRow = 256;
inline constexpr std::size_t kMaxBlockText = std::size_t{4} << 20;  // bytes
inline constexpr std::size_t kMaxBlockMembers = std::size_t{1} << 20;

class ColumnView {
 public:
  explicit ColumnView(ByteSpan block);

  std::uint32_t values() const noexcept { return values_; }
  // In dictionary_order. Views the block.
  Value value(std::uint32_t index) const;
  std::uint32_t singles() const noexcept { return singles_; }
  std::uint32_t codes() const noexcept { return singles_ + sets_; }  // the largest one
  std::uint32_t code_of_row(std::uint32_t row) const;
  // Indexes of a code's values, ascending.
  template <typename Found>
  void for_each_member(std::uint32_t code, Found&& found) const;
  bool is_opaque(std::uint32_t code) const;
  // Calls found(row, code) for each row that has a code, in order.
  template <typename Found>
  void for_each_row(Found&& found) const;

  // Adds to `yes` the rows for which the leaf, one on a field, holds, and to `maybe` those whose
  // document has to be asked.
  void select(const Leaf& leaf, ColumnBits yes, ColumnBits maybe) const;
  // Calls found(value, rows, example) for each value that some of the given rows have; `rows` is
  // how many, `example` one of them. Values that differ in being an element only come apart.
  // opaque(row) is called for the opaque ones among the rows.
  void count(ConstColumnBits rows,
             const std::function<void(const Value& value, std::uint32_t rows,
                                      std::uint32_t example)>& found,
             const std::function<void(std::uint32_t row)>& opaque) const;

 private:
  friend class ColumnSelection;
  [[noreturn]] static void throw_bad();
  ByteSpan take(ByteSpan& rest, std::uint64_t size) const;
  std::uint32_t entry(ByteSpan section, unsigned bytes, std::size_t index) const;
  std::uint64_t number_bits(std::uint32_t index) const;
  std::string_view text(std::uint32_t index) const;
  std::uint32_t value_of_single(std::uint32_t code) const;
  std::uint32_t set_end(std::uint32_t code) const;  // among the members
  std::pair<std::uint32_t, std::uint32_t> set_range(std::uint32_t code) const;
  std::uint32_t member(std::uint32_t place) const;
  std::uint32_t code_at(std::size_t index) const;

  bool sparse_ = false;
  bool one_kind_ = false;   // kinds_ holds one entry for all values
  unsigned code_bits_ = 0;  // 0, 4, 8 or 16; 0: each row that has a code has code 1
  unsigned number_bytes_ = 0;
  unsigned member_bytes_ = 0;
  std::uint32_t rows_ = 0;  // that have a place among the codes
  std::uint32_t values_ = 0, singles_ = 0, sets_ = 0, members_ = 0, numbers_ = 0, strings_ = 0;
  std::uint64_t number_base_ = 0;
  ByteSpan kinds_, number_part_, text_ends_, text_, single_part_, set_ends_, member_part_,
      row_part_, code_part_;
};

class ColumnBuilder {
 public:
  // A value of the row that finish() will name.
  void add(const Value& value);
  // Gives the row the values that were added since the last row; none takes its values away. What
  // was said of the row before is forgotten, here and, in encode(), in the block before.
  // Repetitions count once.
  void finish(std::uint32_t row);
  void set(std::uint32_t row, std::span<const Value> values);
  bool empty() const noexcept { return rows_.empty(); }
  // True when the block already says what is to be said of the rows that were set.
  bool is_said_by(const ColumnView& block) const;
  // Bytes of memory it takes, about.
  std::size_t memory_bytes() const noexcept;

  // The block of what `before` (may be null) says of the rows that were not set, and of those that
  // were. Empty when no row has a value. May be called again.
  std::string encode(const ColumnView* before);

 private:
  friend class ColumnEncoder;
  static constexpr std::uint32_t kSet = 0x80000000U;  // the rest is an index into sets_
  static constexpr std::uint32_t kNothing = 0x7FFFFFFFU;

  struct Set {
    std::uint32_t first = 0;  // in members_
    std::uint32_t count = 0;  // 0: opaque
  };
  // Open addressing: 1 + index, or 0.
  struct Slots {
    std::vector<std::uint32_t> at;
    std::size_t used = 0;
    template <typename Hash>
    void grow(Hash&& hash_of);
  };

  bool is_full() const noexcept {
    return text_bytes_ > kMaxBlockText || members_.size() > kMaxBlockMembers;
  }
  std::uint32_t end_row();
  bool is_said_by(const ColumnView& block, std::uint32_t row, std::uint32_t code) const;
  std::uint32_t find_value(const Value& value);
  std::uint32_t find_set(std::span<const std::uint32_t> members);

  TextArena text_{std::size_t{16} << 10};
  std::size_t text_bytes_ = 0;
  std::vector<Value> values_;
  Slots value_slots_;
  std::vector<std::uint32_t> members_;  // of all sets, one after another
  std::vector<Set> sets_;
  Slots set_slots_;
  std::vector<std::pair<std::uint16_t, std::uint32_t>> rows_;  // the later one counts
  std::vector<std::uint32_t> next_;                            // values of the row that comes next
  bool next_is_opaque_ = false;
};

// ---- inline ------------------------------------------------------------------------------------

inline std::uint32_t ColumnView::entry(ByteSpan section, unsigned bytes, std::size_t index) const {
  const std::uint8_t* const at = section.data() + index * bytes;
  if ((index + 1) * bytes > section.size()) throw_bad();
  if (bytes == 1) return *at;
  return bytes == 2 ? load<std::uint16_t>(at) : load<std::uint32_t>(at);
}

inline std::uint32_t ColumnView::value_of_single(std::uint32_t code) const {
  const std::uint32_t index = single_part_.empty() ? code - 1 : entry(single_part_, 4, code - 1);
  if (index >= values_) throw_bad();
  return index;
}

inline std::uint32_t ColumnView::set_end(std::uint32_t code) const {
  return entry(set_ends_, 4, code - singles_ - 1);
}

inline std::uint32_t ColumnView::member(std::uint32_t place) const {
  const std::uint32_t index = entry(member_part_, member_bytes_, place);
  if (index >= values_) throw_bad();
  return index;
}

template <typename Found>
void ColumnView::for_each_member(std::uint32_t code, Found&& found) const {
  if (code <= singles_) return found(value_of_single(code));
  const auto [first, end] = set_range(code);
  for (std::uint32_t i = first; i < end; ++i) found(member(i));
}

inline std::uint32_t ColumnView::code_at(std::size_t index) const {
  if (code_bits_ == 0) return 1;
  if (code_bits_ == 4) return code_part_[index / 2] >> (index % 2 * 4) & 15U;
  return code_bits_ == 8 ? code_part_[index] : load<std::uint16_t>(code_part_.data() + 2 * index);
}

template <typename Found>
void ColumnView::for_each_row(Found&& found) const {
  for (std::uint32_t i = 0; i < rows_; ++i) {
    const std::uint32_t code = code_at(i);
    if (code > codes()) throw_bad();
    const std::uint32_t row = sparse_ ? entry(row_part_, 2, i) : i;
    if (row >= kColumnRows) throw_bad();
    if (code != 0) found(row, code);
  }
}

}  // namespace srvdb::filter
