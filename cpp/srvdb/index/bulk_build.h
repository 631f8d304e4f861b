// A graph over many rows at once, in about a sixth of the processor time that linking row after row
// takes (graph_build.h), and walked with fewer distances for the same recall.
//
// 1. Candidates of each row (near_rows.h): near rows from comparing all with all in small
//    overlapping parts of the collection; pivots near to it, and for every 8th, 64th, … row near
//    ones of that sample: the long links that lead from region to region and into islands.
// 2. Links are chosen by robust pruning; spare places stay empty.
// 3. Each row weighs its links together with those of rows that have chosen it, by the same rule.
// 4. Rows that few link to are given more links; then make_reachable() (graph_reach.h).
//
// Deterministic: the graph depends on the codes and the number of rows alone, not on the number of
// threads or the instruction set. (Manohar et al., ParlayANN, 2024, on building in bulk; Munoz et
// al., HCNNG, 2019, on comparing all pairs in parts; Subramanya et al., DiskANN, 2019, on pruning.)
#pragma once

#include <memory>

#include "srvdb/base/interrupt.h"
#include "srvdb/index/graph.h"
#include "srvdb/index/rows.h"
#include "srvdb/index/segment_memory.h"

namespace srvdb {

// Bytes of memory that building takes for each row, about, beside the graph.
inline constexpr std::size_t kBulkBytesPerRow = 850;

struct BulkOptions {
  std::size_t threads = 1;  // 0: all
  Interrupt* interrupt = nullptr;
  std::shared_ptr<SegmentSource> source = nullptr;  // of the links; null: plain memory
};

// True when building a graph over `rows` rows from nothing takes less time than linking those
// beyond the first `linked` one by one: when these are the most, at least some thousands, and at
// most four millions (memory). Never under ip, where near rows lead to the longest rows only, nor
// for codes of more than 32,768 bytes.
bool bulk_pays(const GraphParams& params, std::size_t stride, Row linked, Row rows) noexcept;

// A graph over the first `rows` of `codes`; a GraphBuilder may go on from there, and nobody else
// need wait meanwhile. Throws Error(kInterrupted), what codes.verifier throws, and std::bad_alloc.
std::unique_ptr<Graph> bulk_build(const GraphParams& params, const CodesView& codes, Row rows,
                                  const BulkOptions& options);

}  // namespace srvdb
