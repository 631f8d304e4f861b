#include "srvdb/storage/meta_store_impl.h"

namespace srvdb {

void MetaStore::WriteTxn::put_ids(std::span<const IdRow> ids) {
  for (const IdRow& entry : ids) put_id(entry.id, entry.row);
}

void MetaStore::WriteTxn::put_id(std::string_view id, Row row) {
  assert(!id.empty() && id.size() <= kMaxIdBytes);
  MDB_cursor* cursor = handle_.id_cursor();
  if (!handle_.last_id) {
    MDB_val key{};
    MDB_val value{};
    const int result = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (result != MDB_NOTFOUND) handle_.check(result);
    handle_.last_id = result == 0 ? to_text(key) : std::string_view();
  }
  MDB_val key = to_val(id);
  std::uint8_t bytes[8];
  store(bytes, row);
  store(bytes + 4, value_crc('i', key, bytes, 4));
  MDB_val value{sizeof(bytes), bytes};
  const bool beyond = id > *handle_.last_id;
  handle_.check(mdb_cursor_put(cursor, &key, &value, beyond ? MDB_APPEND : 0u));
  if (beyond) handle_.last_id->assign(id);
}

bool MetaStore::WriteTxn::erase_id(std::string_view id) {
  if (id.empty() || id.size() > kMaxIdBytes) return false;
  MDB_val key = to_val(id);
  MDB_val value{};
  MDB_cursor* cursor = handle_.id_cursor();
  const int result = mdb_cursor_get(cursor, &key, &value, MDB_SET);
  if (result == MDB_NOTFOUND) return false;
  handle_.check(result);
  handle_.check(mdb_cursor_del(cursor, 0));
  if (handle_.last_id && *handle_.last_id == id) handle_.last_id.reset();
  return true;
}

std::optional<Row> MetaStore::WriteTxn::find_id(std::string_view id) {
  return handle_.store.find_id(handle_.txn, id);
}

void MetaStore::WriteTxn::put_metadata(Row row, std::string_view text) {
  if (text.empty() || text == "{}") {
    erase_metadata(row);
    return;
  }
  assert(text.size() <= kMaxMetadataBytes);
  MDB_cursor* cursor = handle_.meta_cursor();
  if (!handle_.last_row) {
    MDB_val key{};
    MDB_val value{};
    const int result = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (result != MDB_NOTFOUND) handle_.check(result);
    handle_.last_row = result == 0 ? std::uint64_t{load<Row>(key.mv_data)} + 1 : 0;
  }
  MDB_val key = key_val(row);
  MDB_val value{text.size() + kCrcBytes, nullptr};
  const bool beyond = row >= *handle_.last_row;
  handle_.check(mdb_cursor_put(cursor, &key, &value, MDB_RESERVE | (beyond ? MDB_APPEND : 0u)));
  Handle::fill("meta", key_val(row), value, as_byte_span(text));
  if (beyond) handle_.last_row = std::uint64_t{row} + 1;
}

bool MetaStore::WriteTxn::erase_metadata(Row row) {
  MDB_val key = key_val(row);
  const int result = mdb_del(handle_.txn, handle_.store.meta, &key, nullptr);
  if (result == MDB_NOTFOUND) return false;
  handle_.check(result);
  handle_.last_row.reset();
  return true;
}

void MetaStore::WriteTxn::put_dead_chunk(std::uint32_t number, ByteSpan bits) {
  assert(bits.size() == kDeadChunkBytes);
  handle_.put_checked(handle_.store.dead, "dead", key_val(number), bits);
}

void MetaStore::WriteTxn::set_state(const MetaState& state) {
  std::string bytes;
  put(bytes, state.applied_sequence);
  put(bytes, state.published_rows);
  put<std::uint32_t>(bytes, 0);
  put(bytes, state.id_bytes);
  put(bytes, state.live_count);
  put(bytes, state.change_log_head);
  handle_.put_checked(handle_.store.state, "state", to_val(kStateKey), as_byte_span(bytes));
}

void MetaStore::WriteTxn::set_position(std::string_view source, std::uint64_t position) {
  assert(!source.empty() && source.size() <= 255);
  const std::string name = std::string(kPositionPrefix).append(source);
  std::string bytes;
  put(bytes, position);
  handle_.put_checked(handle_.store.state, "state", to_val(name), as_byte_span(bytes));
}

}  // namespace srvdb
