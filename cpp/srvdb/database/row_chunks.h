// Sets of rows as the metadata store keeps them: chunks of bits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "srvdb/index/row_bitmap.h"
#include "srvdb/storage/meta_store.h"

namespace srvdb {

// Writes the chunks of `rows` that hold one of the rows in `changed`.
void put_chunks(MetaStore::WriteTxn& txn, RowSet set, const RowBitmap& rows,
                const std::vector<Row>& changed);
// Writes every chunk that has a member; the store holds none of the set yet.
inline void put_all_chunks(MetaStore::WriteTxn& txn, RowSet set, const RowBitmap& rows) {
  put_chunks(txn, set, rows, rows.rows());
}

}  // namespace srvdb
