// Core: the values of a metadata field with the number of rows that have each, and how a filter is
// answered.

#include <algorithm>
#include <random>
#include <utility>

#include "srvdb/database/column_reader.h"
#include "srvdb/database/core.h"
#include "srvdb/database/facet_count.h"
#include "srvdb/database/row_documents.h"
#include "srvdb/database/row_filter.h"

namespace srvdb {
namespace {

constexpr std::size_t kSampled = 500;  // documents read for an estimate

// Counts a block's rows by its column, and by their documents where there is none.
void count_block(std::string_view field, Row block, RowBits rows, const RowDocuments& documents,
                 const ColumnReader& columns, FacetCount& counts) {
  const RowBits pending = documents.pending_rows(block);
  RowBits by_document = rows;
  if (columns.fields().coverage(field) != FieldCoverage::kUnknown) {
    for (std::size_t w = 0; w < rows.size(); ++w) {
      by_document[w] &= pending[w];
      rows[w] &= ~pending[w];
    }
    const std::optional<std::uint32_t> number = columns.fields().number(field);
    const auto column = number ? columns.block(*number, block) : std::nullopt;
    if (column && !counts.add_block(*column, block << kBlockBits, field, rows, documents)) {
      for (std::size_t w = 0; w < rows.size(); ++w) by_document[w] |= rows[w];
    }
  }
  documents.each(block, by_document, [&](Row, std::string_view metadata) {
    if (metadata != "{}") counts.add_row(field, metadata);
  });
}

// Matching rows among `doubtful` ones, by one of every so many, at a place that differs, because
// metadata often repeat in a rhythm.
std::size_t estimate(RowFilter& evaluation, const RowBitmap& doubtful) {
  const std::vector<Row> rows = doubtful.rows();
  if (rows.empty()) return 0;
  const std::size_t step = (rows.size() + kSampled - 1) / kSampled;
  std::vector<Row> some;
  std::minstd_rand random(1);
  for (std::size_t i = 0; i < rows.size(); i += step) {
    some.push_back(rows[i + random() % std::min(step, rows.size() - i)]);
  }
  const std::size_t found = evaluation.among(RowBitmap().with_rows(some)).count();
  return found * rows.size() / some.size();
}

}  // namespace

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
    const ColumnReader columns(documents.store());
    for (Row block = 0; std::uint64_t{block} << kBlockBits < view.rows; ++block) {
      check(interrupt);
      RowBits rows = rows_of(view, block);
      for (std::size_t w = 0; w < rows.size(); ++w) {
        rows[w] &= ~left_out.word((std::size_t{block} << kBlockBits) / 64 + w);
      }
      count_block(field, block, rows, documents, columns, counts);
    }
  });
  return counts.most_frequent(limit);
}

Explanation Core::explain(std::string_view where, Interrupt* interrupt) {
  expire_due();
  const FilterCache::Entry filter = filters_.find(where);
  Explanation out;
  with_documents([&](const RowDocuments& documents) {
    const View& view = documents.view();
    const ColumnReader columns(documents.store());
    for (const std::string_view path : filter.expression->paths()) {
      const bool indexed = columns.fields().coverage(path) != FieldCoverage::kUnknown;
      out.fields.push_back({std::string(path), indexed});
    }
    RowFilter evaluation(*filter.expression, documents, interrupt);
    const RowFilter::Bounds bounds = evaluation.bounds();
    const RowBitmap doubtful = bounds.doubtful - view.hidden;
    out.rows = view.live();
    out.documents = doubtful.count();
    out.exact = out.documents == 0;
    out.matching = bounds.sure.count_without(view.hidden) + estimate(evaluation, doubtful);
    out.cached = filter.answer && filter.answer->generation == view.generation &&
                 filter.answer->sequence == view.sequence && filter.answer->rows == view.rows;
  });
  return out;
}

}  // namespace srvdb
