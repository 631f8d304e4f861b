// Answers of the columns of one moment of the metadata store.
//
// Columns know the rows that the store publishes, with the metadata that it holds for them: what is
// pending is not theirs, rows that are gone are among the answers, rows above are not. Borrows the
// transaction. Thread-safe as far as that is used by one thread at a time. Throws
// Error(kCorruption).
#pragma once

#include <cstdint>

#include "srvdb/database/field_catalogue.h"
#include "srvdb/filter/column.h"
#include "srvdb/filter/leaf.h"
#include "srvdb/storage/meta_store.h"

namespace srvdb {

class ColumnReader {
 public:
  explicit ColumnReader(const MetaStore::ReadTxn& store) : store_(store), fields_(store) {}

  const FieldCatalogue& fields() const noexcept { return fields_; }

  // Of a field with FieldCoverage::kColumn, in the rows (block << filter::kColumnShift) and on:
  // adds to `yes` those for which the leaf holds, to `maybe` those whose metadata must be asked.
  void select(const filter::Leaf& leaf, std::uint32_t field, std::uint32_t block,
              filter::ColumnBits yes, filter::ColumnBits maybe) const;
  // The block itself, or nothing when none of its rows has the field.
  std::optional<filter::ColumnView> block(std::uint32_t field, std::uint32_t block) const;

 private:
  const MetaStore::ReadTxn& store_;
  FieldCatalogue fields_;
};

}  // namespace srvdb
