#include <algorithm>
#include <bit>
#include <cmath>

#include "srvdb/base/error.h"
#include "srvdb/filter/column.h"
#include "srvdb/filter/column_format.h"

namespace srvdb::filter {

using namespace column_format;

void ColumnView::throw_bad() {
  throw Error(ErrorCode::kCorruption, "a block of a column of metadata is not what was written");
}

ByteSpan ColumnView::take(ByteSpan& rest, std::uint64_t size) const {
  if (size > rest.size()) throw_bad();
  const ByteSpan out = rest.first(static_cast<std::size_t>(size));
  rest = rest.subspan(static_cast<std::size_t>(size));
  return out;
}

ColumnView::ColumnView(ByteSpan block) {
  if (block.size() < kHeaderBytes || block[0] != kVersion) throw_bad();
  const std::uint8_t flags = block[1];
  sparse_ = (flags & kSparse) != 0;
  one_kind_ = (flags & kOneKind) != 0;
  code_bits_ = block[2];
  number_bytes_ = block[3];
  const auto field = [&](std::size_t index) {
    return load<std::uint32_t>(block.data() + 4 + 4 * index);
  };
  rows_ = field(0);
  values_ = field(1);
  singles_ = field(2);
  sets_ = field(3);
  members_ = field(4);
  numbers_ = field(5);
  strings_ = field(6);
  const std::uint32_t text_bytes = field(7);
  const bool good_bits = code_bits_ == 0 || code_bits_ == 4 || code_bits_ == 8 || code_bits_ == 16;
  const bool good_width =
      number_bytes_ == 1 || number_bytes_ == 2 || number_bytes_ == 4 || number_bytes_ == kRawNumber;
  if ((flags & ~kFlags) != 0 || !good_bits || !good_width || rows_ > kColumnRows ||
      singles_ > values_ || std::uint64_t{numbers_} + strings_ > values_ ||
      std::uint64_t{singles_} + sets_ > kColumnRows || codes() == 0 ||
      (code_bits_ == 0 ? codes() != 1 : codes() >> code_bits_ != 0)) {
    throw_bad();
  }
  member_bytes_ = index_bytes(values_);
  ByteSpan rest = block.subspan(kHeaderBytes);
  kinds_ = take(rest, one_kind_ ? 1 : values_);
  if (number_bytes_ != kRawNumber) number_base_ = load<std::uint64_t>(take(rest, 8).data());
  number_part_ = take(rest, std::uint64_t{numbers_} * number_bytes_);
  text_ends_ = take(rest, std::uint64_t{strings_} * 4);
  text_ = take(rest, text_bytes);
  single_part_ = take(rest, singles_ == values_ ? 0 : std::uint64_t{singles_} * 4);
  set_ends_ = take(rest, std::uint64_t{sets_} * 4);
  member_part_ = take(rest, std::uint64_t{members_} * member_bytes_);
  row_part_ = take(rest, sparse_ ? std::uint64_t{rows_} * 2 : 0);
  code_part_ = take(rest, (std::uint64_t{rows_} * code_bits_ + 7) / 8);
  if (!rest.empty()) throw_bad();
}

std::uint64_t ColumnView::number_bits(std::uint32_t index) const {
  if (number_bytes_ == kRawNumber) return load<std::uint64_t>(number_part_.data() + 8 * index);
  return number_base_ + entry(number_part_, number_bytes_, index);
}

// A string's bytes; those of a cut one end with its hash.
std::string_view ColumnView::text(std::uint32_t index) const {
  const std::uint32_t end = entry(text_ends_, 4, index);
  const std::uint32_t first = index == 0 ? 0 : entry(text_ends_, 4, index - 1);
  if (first > end || end > text_.size()) throw_bad();
  return as_text(text_.subspan(first, end - first));
}

Value ColumnView::value(std::uint32_t index) const {
  if (index >= values_) throw_bad();
  const std::uint8_t byte = kinds_[one_kind_ ? 0 : index];
  const std::uint32_t plain = values_ - numbers_ - strings_;
  const bool number = index >= plain && index < plain + numbers_;
  const bool string = index >= plain + numbers_;
  const auto kind = static_cast<ValueKind>(byte & kKindMask);
  Value out;
  if (kind <= ValueKind::kBool) {
    if (number || string) throw_bad();
    if (kind == ValueKind::kNull) out = Value::null();
    if (kind == ValueKind::kBool) out = Value::boolean((byte & kTrue) != 0);
  } else if (kind <= ValueKind::kDouble) {
    if (!number) throw_bad();
    const std::uint64_t bits = number_bits(index - plain);
    if (kind == ValueKind::kInt) {
      out = Value::number(std::bit_cast<std::int64_t>(bits));
    } else if (kind == ValueKind::kUint) {
      out = Value::number(bits);
    } else {
      const auto real = std::bit_cast<double>(bits);
      if (!std::isfinite(real)) throw_bad();
      out = Value::number(real);
    }
  } else {
    if (!string || kind != ValueKind::kString) throw_bad();
    const std::string_view bytes = text(index - plain - numbers_);
    if ((byte & kCut) == 0) {
      out = Value::string(bytes);
    } else {
      if (bytes.size() != kCutBytes + sizeof(TextHash)) throw_bad();
      out = Value::cut_string(bytes.substr(0, kCutBytes), load<TextHash>(bytes.data() + kCutBytes));
    }
  }
  return (byte & kElement) != 0 ? out.with_element(true) : out;
}

std::uint32_t ColumnView::code_of_row(std::uint32_t row) const {
  std::uint32_t at = row;
  if (sparse_) {
    std::uint32_t end = rows_;
    for (at = 0; at < end;) {
      const std::uint32_t middle = at + (end - at) / 2;
      if (entry(row_part_, 2, middle) < row) {
        at = middle + 1;
      } else {
        end = middle;
      }
    }
    if (at == rows_ || entry(row_part_, 2, at) != row) return 0;
  }
  if (at >= rows_) return 0;
  const std::uint32_t code = code_at(at);
  if (code > codes()) throw_bad();
  return code;
}

std::pair<std::uint32_t, std::uint32_t> ColumnView::set_range(std::uint32_t code) const {
  const std::uint32_t end = set_end(code);
  const std::uint32_t first = code == singles_ + 1 ? 0 : set_end(code - 1);
  if (first > end || end > members_) throw_bad();
  return {first, end};
}

bool ColumnView::is_opaque(std::uint32_t code) const {
  if (code <= singles_) return false;
  const auto [first, end] = set_range(code);
  return first == end;
}

void ColumnView::count(
    ConstColumnBits rows,
    const std::function<void(const Value& value, std::uint32_t rows, std::uint32_t example)>& found,
    const std::function<void(std::uint32_t row)>& opaque) const {
  struct Count {
    std::uint32_t rows = 0;
    std::uint32_t example = 0;
  };
  std::vector<Count> of_code(codes() + 1);
  for_each_row([&](std::uint32_t row, std::uint32_t code) {
    if ((rows[row / 64] >> (row % 64) & 1) == 0) return;
    if (of_code[code].rows++ == 0) of_code[code].example = row;
    if (code > singles_ && is_opaque(code)) opaque(row);
  });
  std::vector<Count> of_value(values_);
  for (std::uint32_t code = 1; code <= codes(); ++code) {
    if (of_code[code].rows == 0) continue;
    for_each_member(code, [&](std::uint32_t index) {
      if (of_value[index].rows == 0) of_value[index].example = of_code[code].example;
      of_value[index].rows += of_code[code].rows;
    });
  }
  for (std::uint32_t index = 0; index < values_; ++index) {
    const Count& count = of_value[index];
    if (count.rows > 0) found(value(index), count.rows, count.example);
  }
}

}  // namespace srvdb::filter
