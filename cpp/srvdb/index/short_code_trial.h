// How well short codes tell rows apart that lie close together. Thread-safe.
#pragma once

#include "srvdb/base/interrupt.h"
#include "srvdb/index/rows.h"
#include "srvdb/quant/reduction.h"
#include "srvdb/quant/scalar_quantizer.h"

namespace srvdb {

// For some of the rows, evenly spread: the mean part of the 10 rows nearest to each (by the usual
// codes) that are among the 30 nearest by short codes, of the 200 nearest; in [0, 1], 1 where there
// are too few rows to say. `rows` and `codes` cover the first `n` rows, of which at most those in
// 256 MB of codes are looked at. Takes a scan of these for each row tried. Throws what verifiers
// throw and Error(kInterrupted).
double try_short_codes(const Reduction& reduction, const RowsView& rows, const CodesView& codes,
                       const ScalarQuantizer& quantizer, Row n, Interrupt* interrupt);

}  // namespace srvdb
