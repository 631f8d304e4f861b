// The derived data that a View shows: codes and graph. A plain value; thread-safe.
#pragma once

#include <algorithm>
#include <memory>

#include "srvdb/database/code_files.h"
#include "srvdb/index/flat.h"
#include "srvdb/index/graph.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/quant/reduction.h"
#include "srvdb/quant/scalar_quantizer.h"

namespace srvdb {

struct IndexView {
  std::shared_ptr<const CodePart> codes;             // null: no codes yet
  std::shared_ptr<const ScalarQuantizer> quantizer;  // set whenever codes is
  std::shared_ptr<const Graph> graph;                // null: no graph yet
  std::shared_ptr<const CodePart> short_codes;       // null: there are none
  std::shared_ptr<const Reduction> reduction;        // set whenever short_codes is

  Row coded() const noexcept { return codes ? codes->view().rows : 0; }
  // Rows that a walk can reach: linked, and coded.
  Row linked() const noexcept { return graph && codes ? std::min(graph->linked(), coded()) : 0; }
  // What a walk goes by where it covers the rows that the walk is to reach.
  ShortCodes shorter() const noexcept {
    if (!short_codes) return {};
    return {.codes = short_codes->view(), .reduction = reduction.get()};
  }
};

// The same exact search with these codes: the answer does not depend on them, its time does.
inline FlatOptions with_codes(const IndexView& index, FlatOptions options) {
  if (!index.codes) return options;
  options.codes = index.codes->view();
  options.quantizer = index.quantizer.get();
  return options;
}

}  // namespace srvdb
