#include "srvdb/database/column_writer.h"

#include <algorithm>

#include "srvdb/base/error.h"

namespace srvdb {

using filter::ColumnBuilder;
using filter::ColumnView;

ColumnBuilder& ColumnWriter::builder(std::uint32_t field) {
  if (chunk_->size() <= field) chunk_->resize(fields_.size());
  std::unique_ptr<Column>& column = (*chunk_)[field];
  if (!column) column = std::make_unique<Column>();
  return column->builder;
}

// The next field in the order of the document before, else what the catalogue says.
std::optional<std::uint32_t> ColumnWriter::field_of(std::string_view path) {
  if (at_ < order_.size() && fields_.path(order_[at_]) == path) return order_[at_++];
  const auto field = fields_.find_or_add(path);
  if (!field) return field;
  order_.resize(at_);
  order_.push_back(*field);
  ++at_;
  return field;
}

void ColumnWriter::value(std::string_view path, const filter::Value& value) {
  const auto field = field_of(path);
  if (!field) return;
  if (seen_in_.size() <= *field) seen_in_.resize(fields_.size());
  if (seen_in_[*field] != texts_) {
    seen_in_[*field] = texts_;
    row_fields_.push_back(*field);
  }
  builder(*field).add(value);
}

void ColumnWriter::read(Row row, std::string_view metadata) {
  chunk_ = &chunks_[row >> filter::kColumnShift];
  ++texts_;
  row_fields_.clear();
  at_ = 0;
  if (metadata.empty() || metadata == "{}") return;
  try {
    filter::read_document(metadata, *this);
  } catch (const Error& error) {
    // Texts were checked when they were added. One that cannot be read has no fields.
    if (error.code() != ErrorCode::kCorruption) throw;
  }
}

void ColumnWriter::add(Row row, std::string_view metadata) {
  read(row, metadata);
  for (const std::uint32_t field : row_fields_) {
    builder(field).finish(row & (filter::kColumnRows - 1));
  }
}

void ColumnWriter::replace(Row row, std::string_view metadata) {
  read(row, metadata);
  for (std::uint32_t field = 0; field < fields_.size(); ++field) {
    builder(field).finish(row & (filter::kColumnRows - 1));
  }
}

void ColumnWriter::write(MetaStore::WriteTxn& txn, ColumnKey key, Column& column) {
  const std::optional<ByteSpan> before = txn.column(key);
  std::string block;
  if (before) {
    const ColumnView view(*before);
    if (column.builder.is_said_by(view)) return;
    block = column.builder.encode(&view);
  } else {
    if (column.fresh.empty()) {
      column.fresh = column.builder.encode(nullptr);
      column.builder = ColumnBuilder();  // its memory is better used
    }
    block = column.fresh;
  }
  if (!block.empty()) {
    txn.put_column(key, as_byte_span(block));
  } else if (before) {
    txn.erase_column(key);
  }
}

void ColumnWriter::apply(MetaStore::WriteTxn& txn) {
  for (auto& [number, chunk] : chunks_) {
    for (std::uint32_t field = 0; field < chunk.size(); ++field) {
      if (chunk[field]) write(txn, {field, number}, *chunk[field]);
    }
  }
  fields_.put(txn, stored_);
}

bool make_missing_columns(MetaStore& store, Row most) {
  std::optional<ColumnWriter> columns;
  {
    const MetaStore::ReadTxn txn = store.read();
    FieldCatalogue fields(txn);
    if (fields.is_complete()) return false;
    const auto [from, to] = fields.missing();
    const Row end = from + std::min(most, to - from);
    columns.emplace(std::move(fields));
    txn.for_each_metadata([&](Row row, std::string_view text) { columns->add(row, text); }, from,
                          end);
    columns->fields().set_missing(end, to);
  }
  store.update([&](MetaStore::WriteTxn& txn) { columns->apply(txn); });
  return true;
}

}  // namespace srvdb
