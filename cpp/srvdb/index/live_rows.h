// Going through the rows of a range that a bitmap leaves over, 64 at a time: where nearly all rows
// are excluded, the cost is that of the few others and of one word for every 64 rows. Internal to
// the index layer; borrows the bitmap.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "srvdb/index/row_bitmap.h"

namespace srvdb {

class LiveRows {
 public:
  // Rows of [first, last) that are not in `excluded` (nullptr: all of them).
  LiveRows(const RowBitmap* excluded, Row first, Row last)
      : excluded_(excluded), at_(first), last_(std::max(first, last)) {}

  // Puts the next rows, ascending, into `out`, as many as it holds; 0 when there are no more.
  std::size_t next(std::span<Row> out) noexcept {
    std::size_t n = 0;
    while (at_ < last_ && n < out.size()) {
      const Row from = at_ % 64;
      const auto span = static_cast<Row>(std::min<std::size_t>(64 - from, last_ - at_));
      std::uint64_t bits = excluded_ == nullptr ? ~std::uint64_t{0} : ~excluded_->word(at_ / 64);
      bits >>= from;
      if (span < 64) bits &= (std::uint64_t{1} << span) - 1;
      while (bits != 0 && n < out.size()) {
        out[n++] = at_ + static_cast<Row>(std::countr_zero(bits));
        bits &= bits - 1;
      }
      at_ = bits != 0 ? at_ + static_cast<Row>(std::countr_zero(bits)) : at_ + span;
    }
    return n;
  }

 private:
  const RowBitmap* excluded_;
  Row at_;
  Row last_;
};

// How far a run of neighbouring numbers goes: the first place behind `at` that does not continue
// it.
inline std::size_t run_end(std::span<const Row> rows, std::size_t at) noexcept {
  std::size_t end = at + 1;
  while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
  return end;
}

}  // namespace srvdb
