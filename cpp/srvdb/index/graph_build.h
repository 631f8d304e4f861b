// Linking rows into a graph: batches searched in parallel against the frozen graph, pruned, and
// joined by back-links grouped by target.
//
// Deterministic: batch boundaries are a function of row numbers, and every step of a batch depends
// on the graph before it and the codes alone, so one input gives one graph at any number of
// threads and on any instruction set. A batch is applied as a whole at its end; an interrupt
// before that leaves the graph as it was after the batch before.
//
// Method: prefix-doubling batches as in ParlayANN (Manohar et al., 2024), robust pruning as in
// DiskANN (Subramanya et al., 2019) on code distances.
//
// One GraphBuilder at a time for a graph, used by one thread at a time; searches may run meanwhile.
#pragma once

#include <cstddef>
#include <memory>

#include "srvdb/base/interrupt.h"
#include "srvdb/index/graph.h"
#include "srvdb/index/rows.h"
#include "srvdb/quant/scalar_quantizer.h"

namespace srvdb {

// First batch boundary above `linked`.
Row next_batch_end(Row linked) noexcept;

struct LinkOptions {
  Row last = 0;          // rows [graph.linked(), last) are wanted
  bool partial = false;  // also a last batch that ends between two boundaries (optimize())
  std::size_t max_batches =
      static_cast<std::size_t>(-1);  // stop after so many (a background piece)
  std::size_t threads = 1;           // 0: all
  Interrupt* interrupt = nullptr;
};

class GraphBuilder {
 public:
  // `graph` must not be mapped and must outlive the builder.
  explicit GraphBuilder(Graph& graph);
  ~GraphBuilder();

  // Links whole batches below options.last; `codes` covers those rows and must hold the codes that
  // the rows linked before had. Returns graph.linked() afterwards. Throws Error(kInterrupted),
  // what codes.verifier throws, and std::bad_alloc; the graph is valid in each case.
  Row link(const CodesView& codes, const ScalarQuantizer& quantizer, const LinkOptions& options);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace srvdb
