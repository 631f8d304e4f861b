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

void MetaStore::WriteTxn::put_chunk(RowSet set, std::uint32_t number, ByteSpan bits) {
  assert(bits.size() == kChunkBytes);
  const bool gone = set == RowSet::kGone;
  handle_.put_checked(gone ? handle_.store.dead : handle_.store.soft, gone ? "dead" : "bin",
                      key_val(number), bits);
}

void MetaStore::WriteTxn::set_expiry(Row row, std::optional<std::int64_t> expires_at) {
  assert(!expires_at || *expires_at >= 0);
  MetaStore::Impl& store = handle_.store;
  const std::optional<std::int64_t> old = store.expires_at(handle_.txn, row);
  if (old == expires_at) return;
  MDB_val key = key_val(row);
  if (old) {
    DueKey due(*old, row);
    MDB_val due_key = due.val();
    const int result = mdb_del(handle_.txn, store.due, &due_key, nullptr);
    if (result != MDB_NOTFOUND) handle_.check(result);
    if (!expires_at) handle_.check(mdb_del(handle_.txn, store.ttl, &key, nullptr));
  }
  if (!expires_at) return;
  std::uint8_t bytes[8];
  srvdb::store(bytes, *expires_at);
  handle_.put_checked(store.ttl, "ttl", key, bytes);
  handle_.put_checked(store.due, "upcoming", DueKey(*expires_at, row).val(), {});
}

std::optional<ByteSpan> MetaStore::WriteTxn::column(ColumnKey key) {
  return handle_.store.column(handle_.txn, key);
}

void MetaStore::WriteTxn::put_column(ColumnKey key, ByteSpan block) {
  handle_.put_checked(handle_.store.columns, "columns", ColumnKeyBytes(key).val(), block);
}

bool MetaStore::WriteTxn::erase_column(ColumnKey key) {
  ColumnKeyBytes bytes(key);
  MDB_val val = bytes.val();
  const int result = mdb_del(handle_.txn, handle_.store.columns, &val, nullptr);
  if (result == MDB_NOTFOUND) return false;
  handle_.check(result);
  return true;
}

void MetaStore::WriteTxn::put_field(std::uint32_t field, ByteSpan bytes) {
  handle_.put_checked(handle_.store.fields, "fields", key_val(field), bytes);
}

void MetaStore::WriteTxn::set_column_state(ByteSpan bytes) {
  handle_.put_checked(handle_.store.state, "state", to_val(kColumnStateKey), bytes);
}

void MetaStore::WriteTxn::clear_columns() {
  handle_.check(mdb_drop(handle_.txn, handle_.store.columns, 0));
  handle_.check(mdb_drop(handle_.txn, handle_.store.fields, 0));
}

void MetaStore::WriteTxn::put_log(Sequence sequence, ByteSpan bytes) {
  const MetaStore::Impl& store = handle_.store;
  if (!handle_.last_log) {
    const Cursor cursor = store.cursor(handle_.txn, store.log);
    MDB_val key{};
    MDB_val value{};
    const int result = mdb_cursor_get(cursor.get(), &key, &value, MDB_LAST);
    if (result != MDB_NOTFOUND) handle_.check(result);
    handle_.last_log = result == 0 ? load<Sequence>(key.mv_data) : 0;
  }
  MDB_val key = key_val(sequence);
  MDB_val value{bytes.size() + kCrcBytes, nullptr};
  const bool beyond = sequence > *handle_.last_log;
  handle_.check(
      mdb_put(handle_.txn, store.log, &key, &value, MDB_RESERVE | (beyond ? MDB_APPEND : 0u)));
  Handle::fill("log", key_val(sequence), value, bytes);
  if (beyond) handle_.last_log = sequence;
}

std::uint64_t MetaStore::WriteTxn::erase_log_before(Sequence sequence) {
  const MetaStore::Impl& store = handle_.store;
  const Cursor cursor = store.cursor(handle_.txn, store.log);
  handle_.last_log.reset();
  std::uint64_t erased = 0;
  for (;;) {
    MDB_val key{};
    MDB_val value{};
    const int result = mdb_cursor_get(cursor.get(), &key, &value, MDB_FIRST);
    if (result == MDB_NOTFOUND) return erased;
    handle_.check(result);
    if (key.mv_size != sizeof(Sequence)) throw_bad_value("log", store.path);
    if (load<Sequence>(key.mv_data) >= sequence) return erased;
    handle_.check(mdb_cursor_del(cursor.get(), 0));
    ++erased;
  }
}

void MetaStore::WriteTxn::set_state(const MetaState& state) {
  std::string bytes;
  put(bytes, state.applied_sequence);
  put(bytes, state.published_rows);
  put<std::uint32_t>(bytes, 0);
  put(bytes, state.id_bytes);
  put(bytes, state.live_count);
  put(bytes, state.log_segment);
  put(bytes, state.log_bytes);
  handle_.put_checked(handle_.store.state, "state", to_val(kMetaStateKey), as_byte_span(bytes));
}

void MetaStore::WriteTxn::set_position(std::string_view source, std::uint64_t position) {
  assert(!source.empty() && source.size() <= 255);
  const std::string name = std::string(kPositionPrefix).append(source);
  std::string bytes;
  put(bytes, position);
  handle_.put_checked(handle_.store.state, "state", to_val(name), as_byte_span(bytes));
}

}  // namespace srvdb
