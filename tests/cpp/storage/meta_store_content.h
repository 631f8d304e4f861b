// A metadata store for tests to damage, and everything it answers.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "srvdb/storage/meta_store.h"

namespace srvdb::testing {

inline MetaStoreOptions small_store(FileSystem& files, bool create, bool read_only = false) {
  MetaStoreOptions out;
  out.files = &files;
  out.create = create;
  out.read_only = read_only;
  out.initial_map_bytes = 1 << 20;
  return out;
}

inline std::string id_of_row(Row row) {
  return std::string("id-").append(std::to_string(1000000 + row));
}

// Rows [first, first + count): ids, metadata short and longer than a page, expiry, chunks of bits,
// log and state, of which `version` changes some.
inline void put_rows(MetaStore::WriteTxn& txn, Row first, Row count, int version = 0) {
  for (Row row = first; row < first + count; ++row) {
    txn.put_id(id_of_row(row), row);
    std::string text = "{\"row\":" + std::to_string(row) + ",\"v\":" + std::to_string(version);
    if (row % 40 == 7) text += ",\"long\":\"" + std::string(6000 + row, 'x') + "\"";
    txn.put_metadata(row, text + "}");
    if (row % 5 == 0) txn.set_expiry(row, 1000 * row + version);
  }
  const std::vector<std::uint8_t> bits(kChunkBytes, static_cast<std::uint8_t>(first + 1));
  txn.put_chunk(RowSet::kGone, first / 100, bits);
  const std::string entry = "entry " + std::to_string(version);
  txn.put_log(first + 1, as_byte_span(entry));
  const ColumnKey column{first % 7, first / 50};
  txn.put_column(column, as_byte_span(entry + std::string(first, 'c')));
  txn.put_field(column.field, as_byte_span(entry));
  txn.set_column_state(as_byte_span(entry));
  MetaState state;
  state.applied_sequence = static_cast<Sequence>(version);
  state.published_rows = first + count;
  txn.set_state(state);
}

// All a store answers, in words.
using StoreContent = std::map<std::string, std::string>;
inline StoreContent content_of(MetaStore& store) {
  const MetaStore::ReadTxn txn = store.read();
  StoreContent out;
  const MetaState state = txn.state();
  out["state"] =
      std::to_string(state.published_rows) + " " + std::to_string(state.applied_sequence);
  for (const IdRow& entry : txn.scan_ids("", 1 << 20)) {
    out["id " + std::string(entry.id)] = std::to_string(entry.row);
    EXPECT_EQ(txn.find_id(entry.id), entry.row);
  }
  out["ids"] = std::to_string(txn.id_count());
  for (Row row = 0; row < state.published_rows; ++row) {
    out["meta " + std::to_string(row)] = std::string(txn.metadata(row).value_or("none"));
    out["ttl " + std::to_string(row)] = std::to_string(txn.expires_at(row).value_or(-1));
  }
  txn.for_each_chunk(RowSet::kGone, [&](std::uint32_t number, ByteSpan bits) {
    out["gone " + std::to_string(number)] = std::string(as_text(bits));
  });
  txn.for_each_log(0, [&](Sequence sequence, ByteSpan bytes) {
    out["log " + std::to_string(sequence)] = std::string(as_text(bytes));
    return true;
  });
  txn.for_each_column([&](ColumnKey key, ByteSpan bytes) {
    out["column " + std::to_string(key.field) + " " + std::to_string(key.chunk)] =
        std::string(as_text(bytes));
    EXPECT_TRUE(txn.column(key).has_value());
  });
  txn.for_each_field([&](std::uint32_t field, ByteSpan bytes) {
    out["field " + std::to_string(field)] = std::string(as_text(bytes));
  });
  out["columns"] = std::string(as_text(txn.column_state().value_or(ByteSpan{})));
  for (const DueRow& due : txn.next_due({}, 1 << 20)) {
    out["due " + std::to_string(due.row)] = std::to_string(due.expires_at);
  }
  return out;
}

}  // namespace srvdb::testing
