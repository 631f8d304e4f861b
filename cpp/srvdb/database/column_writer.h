// Makes and rewrites columns of metadata: the rows' new metadata texts go in, and the blocks that
// they concern are written in a transaction.
//
// Texts are read as they come; apply() merges what was read with the blocks in the store, which
// must be those of the catalogue that the writer was made with. apply() may run several times, as
// MetaStore::update() asks, and is the end. One thread. Throws what the store throws.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/base/types.h"
#include "srvdb/database/field_catalogue.h"
#include "srvdb/filter/column.h"
#include "srvdb/filter/document.h"
#include "srvdb/storage/meta_store.h"

namespace srvdb {

class ColumnWriter final : private filter::DocumentSink {
 public:
  explicit ColumnWriter(FieldCatalogue stored) : stored_(stored), fields_(std::move(stored)) {}
  ColumnWriter(const ColumnWriter&) = delete;
  ColumnWriter& operator=(const ColumnWriter&) = delete;

  // A row that no block knows yet, or whose fields are all given values by this text again.
  void add(Row row, std::string_view metadata);
  // A row of which blocks may say something else; no text: it has no metadata any more.
  void replace(Row row, std::string_view metadata);

  FieldCatalogue& fields() noexcept { return fields_; }
  void apply(MetaStore::WriteTxn& txn);

 private:
  struct Column {
    filter::ColumnBuilder builder;
    std::string fresh;  // the block that is made of the builder alone, once it was made
  };
  using Chunk = std::vector<std::unique_ptr<Column>>;  // by field; null: nothing to say

  void value(std::string_view path, const filter::Value& value) override;
  void read(Row row, std::string_view metadata);
  std::optional<std::uint32_t> field_of(std::string_view path);
  filter::ColumnBuilder& builder(std::uint32_t field);
  static void write(MetaStore::WriteTxn& txn, ColumnKey key, Column& column);

  const FieldCatalogue stored_;
  FieldCatalogue fields_;
  std::map<std::uint32_t, Chunk> chunks_;
  Chunk* chunk_ = nullptr;                 // of the row being read
  std::vector<std::uint32_t> row_fields_;  // that the row being read has, each once
  std::vector<std::uint64_t> seen_in_;     // by field: the last text that had it
  std::uint64_t texts_ = 0;                // read so far
  // Documents tend to have the same fields in the same order.
  std::vector<std::uint32_t> order_;  // of the document before
  std::size_t at_ = 0;                // in that order
};

// Makes columns for rows that the store's catalogue says are without, so many at once at most;
// false when there were none. Nobody else may write to the store meanwhile.
bool make_missing_columns(MetaStore& store, Row most);
inline constexpr Row kColumnRowsAtOnce = Row{4} << filter::kColumnShift;  // a good number for it

}  // namespace srvdb
