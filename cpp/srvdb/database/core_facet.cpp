// Core: the values of a metadata field, with the number of rows that have each.

#include <utility>

#include "srvdb/database/core.h"
#include "srvdb/database/facet_count.h"
#include "srvdb/database/row_documents.h"

namespace srvdb {

std::vector<FacetValue> Core::facet(std::string_view field, std::string_view where,
                                    std::size_t limit, Interrupt* interrupt) {
  expire_due();
  if (!where.empty()) match({&where, 1}, interrupt);  // from an earlier answer, where there is one
  FacetCount counts;
  with_documents([&](const RowDocuments& documents) {
    const View& view = documents.view();
    RowBitmap left_out = view.hidden;
    if (!where.empty()) {
      const FilterCache::Entry filter = match_in(where, documents, interrupt);
      left_out = left_out.with_all_but(filter.answer->matches, view.rows);
    }
    for (Row block = 0; std::uint64_t{block} << kBlockBits < view.rows; ++block) {
      check(interrupt);
      RowBits rows = rows_of(view, block);
      for (std::size_t w = 0; w < rows.size(); ++w) {
        rows[w] &= ~left_out.word((std::size_t{block} << kBlockBits) / 64 + w);
      }
      documents.each(block, rows, [&](Row, std::string_view metadata) {
        if (metadata != "{}") counts.add_row(field, metadata);
      });
    }
  });
  return counts.most_frequent(limit);
}

}  // namespace srvdb
