// The graph of the rows that a compaction keeps, made from the old graph instead of from nothing.
//
// A kept row keeps its links to kept rows. Where it had links to dropped rows it gets, by the
// rule that building uses, the best among those and what the dropped rows linked to, several steps
// on where need be (Singh et al., FreshDiskANN, 2021, section 5.3). Rows that then cannot be
// reached from the entry table of a walk get a link from a near row that can. Where few rows are
// kept, a graph is built from nothing, which then costs less than one look at the old one.
//
// Deterministic: the graph depends on the old one, the codes and the mapping alone, not on the
// number of threads. The old graph may meanwhile be grown by its builder, then the result is sound
// but not the same each time. Everything is bounds-checked.
#pragma once

#include <cstddef>
#include <memory>

#include "srvdb/base/interrupt.h"
#include "srvdb/index/graph.h"
#include "srvdb/index/row_mapping.h"
#include "srvdb/index/rows.h"
#include "srvdb/quant/scalar_quantizer.h"

namespace srvdb {

struct CompactOptions {
  std::size_t threads = 1;  // 0: all
  Interrupt* interrupt = nullptr;
  std::shared_ptr<SegmentSource> source = nullptr;  // of the graph's memory, and of working copies
};

// Covers the kept ones of the old rows below min(old.linked(), codes.rows, mapping.old_rows());
// linked() of the result is their number, and a builder may go on from there. `codes` are those of
// the old rows. Throws Error(kCorruption) when a node of a mapped graph is damaged,
// Error(kInterrupted), what codes.verifier throws, and std::bad_alloc.
std::unique_ptr<Graph> compact_graph(const Graph& old, const CodesView& codes,
                                     const ScalarQuantizer& quantizer, const RowMapping& mapping,
                                     const CompactOptions& options);

}  // namespace srvdb
