// How rows are renumbered when some are dropped for good: the kept ones keep their order.
//
// Immutable after construction, hence safe to read from any thread; 12 bytes for each 64 old rows.
// Rows added later, at or above old_rows(), get the numbers from new_rows() on, in their order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "srvdb/base/types.h"
#include "srvdb/index/row_bitmap.h"

namespace srvdb {

class RowMapping {
 public:
  RowMapping() = default;  // of no rows
  // Of rows [0, old_rows), less those in `dropped`. Throws std::bad_alloc.
  RowMapping(const RowBitmap& dropped, Row old_rows);

  Row old_rows() const noexcept { return old_rows_; }
  Row new_rows() const noexcept { return new_rows_; }

  bool kept(Row old) const noexcept {
    return old < old_rows_ && (words_[old / 64] >> (old % 64) & 1) != 0;
  }
  // Kept rows below `old`; of old_rows() and above: all of them.
  Row kept_below(Row old) const noexcept;
  // New number of a row; kNoRow for one that is dropped or at or above old_rows().
  Row to_new(Row old) const noexcept { return kept(old) ? kept_below(old) : kNoRow; }
  // Old number of a row below new_rows().
  Row to_old(Row fresh) const noexcept;

 private:
  Row old_rows_ = 0;
  Row new_rows_ = 0;
  std::vector<std::uint64_t> words_;  // a bit for each kept row
  std::vector<Row> before_;           // kept rows in the words before
};

}  // namespace srvdb
