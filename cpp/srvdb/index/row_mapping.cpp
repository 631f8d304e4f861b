#include "srvdb/index/row_mapping.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace srvdb {

RowMapping::RowMapping(const RowBitmap& dropped, Row old_rows) : old_rows_(old_rows) {
  const std::size_t words = (std::size_t{old_rows} + 63) / 64;
  words_.resize(words);
  before_.resize(words);
  for (std::size_t w = 0; w < words; ++w) {
    words_[w] = ~dropped.word(w);
    if (w + 1 == words && old_rows % 64 != 0) words_[w] &= (std::uint64_t{1} << old_rows % 64) - 1;
    before_[w] = new_rows_;
    new_rows_ += static_cast<Row>(std::popcount(words_[w]));
  }
}

Row RowMapping::kept_below(Row old) const noexcept {
  if (old >= old_rows_) return new_rows_;
  const std::uint64_t below = words_[old / 64] & ((std::uint64_t{1} << old % 64) - 1);
  return before_[old / 64] + static_cast<Row>(std::popcount(below));
}

Row RowMapping::to_old(Row fresh) const noexcept {
  assert(fresh < new_rows_);
  const auto after = std::upper_bound(before_.begin(), before_.end(), fresh);
  const auto word = static_cast<std::size_t>(after - before_.begin()) - 1;
  std::uint64_t bits = words_[word];
  for (Row skip = fresh - before_[word]; skip > 0; --skip) bits &= bits - 1;
  return static_cast<Row>(word * 64) + static_cast<Row>(std::countr_zero(bits));
}

}  // namespace srvdb
