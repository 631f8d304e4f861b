// What codes are known to be off by: the error norm of each row, stored beside its code, and under
// inner product the norm of the coded row. For whole blocks of rows the largest of each is noted
// where the view has room for it, so that later scans need not read the errors of all rows.
//
// Internal to the index layer; borrows view and quantiser. Every function verifies what it reads
// and throws what the view's verifier throws. Thread-safe: a block's note is one atomic word that
// always holds the same.
#pragma once

#include <cstddef>
#include <cstdint>

#include "srvdb/base/aligned.h"
#include "srvdb/index/rows.h"
#include "srvdb/quant/scalar_quantizer.h"

namespace srvdb {

inline constexpr Row kBoundRows = 256;  // rows of a block with a note of its own

// Rows with a word each in CodesView::blocks, for codes of that many rows.
constexpr std::size_t bound_blocks(Row rows) noexcept {
  return rows / kBoundRows + 1;
}

struct CodeBound {
  float error = 0;  // not below |x - x^|
  float norm = 1;   // ip: not below |x^|; else 1
};

// Not below |x^| of a code with that sum of (c - 128)^2; never 0. For symmetric codes (cosine, ip).
float code_norm(double scale, std::int32_t square) noexcept;

class CodeBounds {
 public:
  CodeBounds(const CodesView& codes, const ScalarQuantizer& quantizer);

  // Of all of the rows [first, last), which lie in one block (first / kBoundRows the same).
  CodeBound rows(Row first, Row last) const;
  // Of one row, which has been verified.
  CodeBound row(Row row) const noexcept {
    return norms_ ? with_norm(row) : CodeBound{.error = codes_.error(row)};
  }

 private:
  CodeBound measure(Row first, Row last) const;
  CodeBound with_norm(Row row) const noexcept;

  const CodesView& codes_;
  bool norms_;  // under ip
  double scale_;
  AlignedBuffer<std::int16_t> zero_;  // the code of zero
};

}  // namespace srvdb
