// The derived data that a View shows: codes and graph. A plain value; thread-safe.
#pragma once

#include <algorithm>
#include <memory>

#include "srvdb/database/code_files.h"
#include "srvdb/index/flat.h"
#include "srvdb/index/graph.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/index/row_bitmap.h"
#include "srvdb/index/search_plan.h"
#include "srvdb/quant/scalar_quantizer.h"
#include "srvdb/quant/short_coder.h"

namespace srvdb {

struct IndexView {
  std::shared_ptr<const CodePart> codes;             // null: no codes yet
  std::shared_ptr<const ScalarQuantizer> quantizer;  // set whenever codes is
  std::shared_ptr<const Graph> graph;                // null: no graph yet
  std::shared_ptr<const CodePart> short_codes;       // null: there are none
  std::shared_ptr<const ShortCoder> short_coder;     // set whenever short_codes is
  // The rows there were when it was decided that there are to be short codes or none; 0: it was
  // not.
  Row short_decided = 0;

  Row coded() const noexcept { return codes ? codes->view().rows : 0; }
  // Rows that a walk can reach: linked, and coded.
  Row linked() const noexcept { return graph && codes ? std::min(graph->linked(), coded()) : 0; }
  // Whether there are short codes, but not of all linked rows.
  bool short_codes_lag() const noexcept {
    return short_codes && short_codes->view().rows < linked();
  }
  // Bytes of the codes that a walk over all linked rows goes by, one less where it asks signs, as
  // it does when hardly any of these is excluded: the more, the finer. 0: no codes.
  std::uint32_t walk_code_bytes(const RowBitmap& excluded) const noexcept {
    if (!codes) return 0;
    std::size_t bytes = codes->view().stride;
    if (short_codes && !short_codes_lag()) {
      if (short_coder->components() != nullptr) bytes = short_codes->view().stride;
      const bool through = goes_through(linked(), excluded.count(0, linked()));
      if (short_coder->signs() != nullptr && through) bytes -= 1;
    }
    return static_cast<std::uint32_t>(bytes);
  }
  // What a walk uses where it covers the rows that the walk is to reach.
  ShortCodes shorter() const noexcept {
    if (!short_codes) return {};
    ShortCodes out{.codes = short_codes->view(), .coder = short_coder.get()};
    out.codes.errors = nullptr;  // they prove nothing
    out.codes.blocks = nullptr;
    return out;
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
