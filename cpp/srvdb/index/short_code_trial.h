// How well short codes tell rows apart that lie close together. Thread-safe.
#pragma once

#include <span>

#include "srvdb/base/interrupt.h"
#include "srvdb/index/rows.h"
#include "srvdb/quant/reduction.h"
#include "srvdb/quant/scalar_quantizer.h"
#include "srvdb/quant/sign_quantizer.h"

namespace srvdb {

// For some of the rows, evenly spread: the mean part of the 10 rows nearest to each (by the usual
// codes) that are among the 30 nearest by short codes; in [0, 1], 1 where there are too few rows to
// say. These 30 are counted among the 200 nearest by usual codes, of those in 256 MB of codes about
// the row, and among `sample`, some of the rows below n, evenly spread, each of which stands for
// n / sample.size(). `rows` and `codes` cover n rows. Throws what verifiers throw and
// Error(kInterrupted).
double try_short_codes(const Reduction& reduction, const RowsView& rows, const CodesView& codes,
                       const ScalarQuantizer& quantizer, Row n, std::span<const Row> sample,
                       Interrupt* interrupt);

// How well signs tell rows apart for a walk of which the 40-th nearest row is the last candidate:
// of rows as above, the mean part of the 10 nearest that pass, and of those from the 101st to the
// 200th that do. Both are 1 where there are too few rows to say.
struct SignAgreement {
  double near_pass = 1;
  double far_pass = 1;
};
SignAgreement try_signs(const SignQuantizer& signs, const RowsView& rows, const CodesView& codes,
                        const ScalarQuantizer& quantizer, Row n, Interrupt* interrupt);

}  // namespace srvdb
