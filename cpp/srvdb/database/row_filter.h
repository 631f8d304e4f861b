// Which rows of one moment match a filter.
//
// Rows are gone over in blocks. In each, the expression's tree is evaluated on whole sets of rows,
// in three-valued logic: every set comes as the rows for which the node is certain to hold and
// those for which it may. A leaf is answered by what is known without documents: the id's place in
// the store, the field's column; a field without a column may hold for every row, and any field for
// the rows whose metadata are pending. At the root, the documents of the rows that are left in
// doubt decide. So the cost is that of the documents only where the cheap parts of a filter leave
// something open.
//
// Not thread-safe; borrows what it is made of. Throws Error(kCorruption), Error(kInterrupted).
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "srvdb/base/interrupt.h"
#include "srvdb/database/column_reader.h"
#include "srvdb/database/row_documents.h"
#include "srvdb/filter/expression.h"
#include "srvdb/index/row_bitmap.h"

namespace srvdb {

class RowFilter {
 public:
  RowFilter(const filter::Expression& expression, const RowDocuments& documents,
            Interrupt* interrupt = nullptr);

  // The rows that match among those of the view that are not gone.
  RowBitmap matches();
  // The same, when `known` is the answer for the rows below `from`, but for those in `changed`.
  RowBitmap matches(const RowBitmap& known, Row from, std::span<const Row> changed);
  // The matching ones of some rows.
  RowBitmap among(const RowBitmap& rows);

  // The rows for which no document needs to be read to say that they match, and those for which one
  // would have to be.
  struct Bounds {
    RowBitmap sure;
    RowBitmap doubtful;
  };
  Bounds bounds();

 private:
  // Rows for which a node certainly holds, and those for which it may; the first are among the
  // second.
  struct Answer {
    RowBits sure;
    RowBits maybe;
  };

  RowBitmap few_matches(const RowBitmap& known, std::vector<Row> rows);
  // Puts the answer for the rows in `wanted` (empty: all) into `words`, both of whole blocks.
  void run(std::span<const std::uint64_t> wanted, std::span<std::uint64_t> words);
  void answer(Row block, const RowBits& rows, Answer& answer);
  // Of the rows in `rows`, those that match.
  void select(Row block, RowBits& rows);
  void decide(Row block, RowBits& doubtful, RowBits& matching);
  void evaluate(const filter::Node& node, Row block, const RowBits& rows, Answer& answer);
  void evaluate_leaf(std::size_t leaf, Row block, const RowBits& rows, Answer& answer);
  void select_ids(std::size_t leaf, Row block, const RowBits& rows, RowBits& out);
  const std::vector<Row>& stored_rows(std::size_t leaf);
  const ColumnReader& columns();

  const filter::Expression& expression_;
  const RowDocuments& documents_;
  Interrupt* interrupt_;
  std::optional<ColumnReader> columns_;  // once they are asked
  bool asks_ids_ = false;
  bool brings_forward_ = false;          // an older answer
  bool has_pending_ = false;             // of the block at hand: there may be rows in
  RowBits pending_{};                    // those about whose fields columns say nothing
  std::optional<bool> nothing_matches_;  // whether a row without metadata does; not when ids count
  std::vector<std::optional<std::vector<Row>>> stored_rows_;  // for each leaf on the id
};

}  // namespace srvdb
