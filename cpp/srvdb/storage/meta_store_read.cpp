#include "srvdb/base/error.h"
#include "srvdb/storage/meta_store_impl.h"

namespace srvdb {
namespace {

[[noreturn]] void throw_disorder(const std::string& path, std::string_view id) {
  throw Error(ErrorCode::kCorruption,
              std::string(path).append(": ids are out of order at '").append(id).append("'"));
}

}  // namespace

MetaStore::ReadTxn::ReadTxn(std::unique_ptr<Handle> handle) : handle_(std::move(handle)) {}
MetaStore::ReadTxn::ReadTxn(ReadTxn&&) noexcept = default;
MetaStore::ReadTxn::~ReadTxn() = default;

std::optional<MetaState> decode_meta_state(ByteSpan bytes) noexcept {
  ByteReader reader(bytes);
  MetaState state;
  state.applied_sequence = reader.get<Sequence>();
  state.published_rows = reader.get<Row>();
  reader.get<std::uint32_t>();
  state.id_bytes = reader.get<std::uint64_t>();
  state.live_count = reader.get<std::uint64_t>();
  if (reader.remaining() != 0) {
    state.log_segment = reader.get<Sequence>();
    state.log_bytes = reader.get<std::uint64_t>();
  }
  if (!reader.ok() || reader.remaining() != 0) return std::nullopt;
  return state;
}

MetaState MetaStore::ReadTxn::state() const {
  const Impl& store = *handle_->store;
  const MDB_val key = to_val(kMetaStateKey);
  const auto value = store.get(handle_->txn, store.state, key);
  if (!value) return {};
  const auto state = decode_meta_state(checked_bytes("state", key, *value, store.path));
  if (!state) throw_bad_value("state", store.path);
  return *state;
}

std::optional<std::uint64_t> MetaStore::ReadTxn::position(std::string_view source) const {
  const Impl& store = *handle_->store;
  const std::string name = std::string(kPositionPrefix).append(source);
  const MDB_val key = to_val(name);
  const auto value = store.get(handle_->txn, store.state, key);
  if (!value) return std::nullopt;
  const ByteSpan bytes = checked_bytes("state", key, *value, store.path);
  if (bytes.size() != 8) throw_bad_value("state", store.path);
  return load<std::uint64_t>(bytes.data());
}

std::optional<Row> MetaStore::ReadTxn::find_id(std::string_view id) const {
  return handle_->store->find_id(handle_->txn, id);
}

void MetaStore::ReadTxn::find_existing(
    std::span<const std::string_view> sorted_ids,
    const std::function<void(std::size_t index, Row row)>& found) const {
  const Impl& store = *handle_->store;
  assert(std::ranges::is_sorted(sorted_ids));
  const Cursor cursor = store.cursor(handle_->txn, store.ids);
  for (std::size_t i = 0; i < sorted_ids.size();) {
    MDB_val key = to_val(sorted_ids[i]);
    MDB_val value{};
    const int result = key.mv_size == 0 ? mdb_cursor_get(cursor.get(), &key, &value, MDB_FIRST)
                                        : mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE);
    if (result == MDB_NOTFOUND) return;
    if (result != 0) throw_lmdb("cannot read", store.path, result);
    // Everything below the key found lies in one gap of the store.
    const std::string_view at = to_text(key);
    if (at < sorted_ids[i]) throw_disorder(store.path, at);
    if (sorted_ids[i] < at) {
      i = static_cast<std::size_t>(
          std::lower_bound(sorted_ids.begin() + static_cast<std::ptrdiff_t>(i), sorted_ids.end(),
                           at) -
          sorted_ids.begin());
    }
    const Row row = checked_row(key, value, store.path);
    for (; i < sorted_ids.size() && sorted_ids[i] == at; ++i) found(i, row);
  }
}

std::optional<std::string_view> MetaStore::ReadTxn::metadata(Row row) const {
  const Impl& store = *handle_->store;
  const MDB_val key = key_val(row);
  const auto value = store.get(handle_->txn, store.meta, key);
  if (!value) return std::nullopt;
  return as_text(checked_bytes("meta", key, *value, store.path));
}

std::vector<IdRow> MetaStore::ReadTxn::scan_ids(std::string_view after, std::size_t limit) const {
  const Impl& store = *handle_->store;
  const Cursor cursor = store.cursor(handle_->txn, store.ids);
  std::vector<IdRow> out;
  MDB_val key = to_val(after);
  MDB_val value{};
  int result =
      mdb_cursor_get(cursor.get(), &key, &value, after.empty() ? MDB_FIRST : MDB_SET_RANGE);
  if (result == 0 && to_text(key) == after) {
    result = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT);
  }
  while (result == 0 && out.size() < limit) {
    // A damaged inner page can lead to sound leaves in the wrong order, and round in circles.
    const std::string_view before = out.empty() ? after : out.back().id;
    if (!before.empty() && to_text(key) <= before) throw_disorder(store.path, to_text(key));
    out.push_back({to_text(key), checked_row(key, value, store.path)});
    result = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT);
  }
  if (result != 0 && result != MDB_NOTFOUND) throw_lmdb("cannot read", store.path, result);
  return out;
}

std::uint64_t MetaStore::ReadTxn::id_count() const {
  const Impl& store = *handle_->store;
  MDB_stat stat{};
  const int result = mdb_stat(handle_->txn, store.ids, &stat);
  if (result != 0) throw_lmdb("cannot read", store.path, result);
  return stat.ms_entries;
}

void MetaStore::ReadTxn::for_each_chunk(
    RowSet set, const std::function<void(std::uint32_t number, ByteSpan bits)>& chunk) const {
  const Impl& store = *handle_->store;
  const bool gone = set == RowSet::kGone;
  const char* const name = gone ? "dead" : "bin";
  store.each(handle_->txn, gone ? store.dead : store.soft, nullptr,
             [&](const MDB_val& key, const MDB_val& value) {
               const ByteSpan bits = checked_bytes(name, key, value, store.path);
               if (key.mv_size != 4 || bits.size() != kChunkBytes) {
                 throw_bad_value(name, store.path);
               }
               chunk(load<std::uint32_t>(key.mv_data), bits);
               return true;
             });
}

std::optional<std::int64_t> MetaStore::ReadTxn::expires_at(Row row) const {
  return handle_->store->expires_at(handle_->txn, row);
}

std::vector<DueRow> MetaStore::ReadTxn::next_due(const DueRow& after, std::size_t limit) const {
  const Impl& store = *handle_->store;
  std::vector<DueRow> out;
  if (limit == 0) return out;
  DueKey from(std::max<std::int64_t>(after.expires_at, 0), after.expires_at < 0 ? 0 : after.row);
  const MDB_val first = from.val();
  store.each(handle_->txn, store.due, &first, [&](const MDB_val& key, const MDB_val& value) {
    if (key.mv_size != sizeof(DueKey)) throw_bad_value("upcoming", store.path);
    checked_bytes("upcoming", key, value, store.path);
    const auto* const bytes = static_cast<const std::uint8_t*>(key.mv_data);
    std::uint64_t time = 0;
    Row row = 0;
    for (int i = 0; i < 8; ++i) time = time << 8 | bytes[i];
    for (int i = 8; i < 12; ++i) row = row << 8 | bytes[i];
    const DueRow due{static_cast<std::int64_t>(time), row};
    if (due.expires_at == after.expires_at && due.row == after.row) return true;
    out.push_back(due);
    return out.size() < limit;
  });
  return out;
}

void MetaStore::ReadTxn::for_each_metadata(
    const std::function<void(Row row, std::string_view text)>& found, Row first, Row end) const {
  const Impl& store = *handle_->store;
  const MDB_val from = key_val(first);
  store.each(handle_->txn, store.meta, &from, [&](const MDB_val& key, const MDB_val& value) {
    if (key.mv_size != sizeof(Row)) throw_bad_value("meta", store.path);
    const auto row = load<Row>(key.mv_data);
    if (row >= end) return false;
    found(row, as_text(checked_bytes("meta", key, value, store.path)));
    return true;
  });
}

std::optional<ByteSpan> MetaStore::ReadTxn::column(ColumnKey key) const {
  MetaStore::Impl& store = *handle_->store;
  const std::uint64_t transaction = mdb_txn_id(handle_->txn);
  if (store.checked_blocks.has(key, transaction)) {
    ColumnKeyBytes bytes(key);
    const auto value = store.get(handle_->txn, store.columns, bytes.val());
    if (!value || value->mv_size < kCrcBytes) throw_bad_value("columns", store.path);
    return ByteSpan(static_cast<const std::uint8_t*>(value->mv_data), value->mv_size)
        .subspan(kCrcBytes);
  }
  const auto block = store.column(handle_->txn, key);
  if (block) store.checked_blocks.note(key, transaction);
  return block;
}

void MetaStore::ReadTxn::for_each_column(
    const std::function<void(ColumnKey key, ByteSpan block)>& found) const {
  const Impl& store = *handle_->store;
  store.each(handle_->txn, store.columns, nullptr, [&](const MDB_val& key, const MDB_val& value) {
    if (key.mv_size != sizeof(ColumnKeyBytes)) throw_bad_value("columns", store.path);
    const auto* const bytes = static_cast<const std::uint8_t*>(key.mv_data);
    ColumnKey number;
    for (int i = 0; i < 4; ++i) {
      number.field = number.field << 8 | bytes[i];
      number.chunk = number.chunk << 8 | bytes[4 + i];
    }
    found(number, checked_bytes("columns", key, value, store.path));
    return true;
  });
}

void MetaStore::ReadTxn::for_each_field(
    const std::function<void(std::uint32_t field, ByteSpan bytes)>& found) const {
  handle_->store->for_each_field(handle_->txn, found);
}

std::optional<ByteSpan> MetaStore::ReadTxn::column_state() const {
  return handle_->store->column_state(handle_->txn);
}

void MetaStore::ReadTxn::for_each_expiry(
    const std::function<void(Row row, std::int64_t expires_at)>& found) const {
  const Impl& store = *handle_->store;
  store.each(handle_->txn, store.ttl, nullptr, [&](const MDB_val& key, const MDB_val& value) {
    const ByteSpan bytes = checked_bytes("ttl", key, value, store.path);
    if (key.mv_size != sizeof(Row) || bytes.size() != 8) throw_bad_value("ttl", store.path);
    found(load<Row>(key.mv_data), load<std::int64_t>(bytes.data()));
    return true;
  });
}

void MetaStore::ReadTxn::for_each_position(
    const std::function<void(std::string_view source, std::uint64_t position)>& found) const {
  const Impl& store = *handle_->store;
  const MDB_val first = to_val(kPositionPrefix);
  store.each(handle_->txn, store.state, &first, [&](const MDB_val& key, const MDB_val& value) {
    const std::string_view name = to_text(key);
    if (!name.starts_with(kPositionPrefix)) return false;
    const ByteSpan bytes = checked_bytes("state", key, value, store.path);
    if (bytes.size() != 8) throw_bad_value("state", store.path);
    found(name.substr(kPositionPrefix.size()), load<std::uint64_t>(bytes.data()));
    return true;
  });
}

void MetaStore::ReadTxn::for_each_log(
    Sequence after, const std::function<bool(Sequence sequence, ByteSpan bytes)>& entry) const {
  const Impl& store = *handle_->store;
  if (after == ~Sequence{0}) return;
  Sequence from = after + 1;
  const MDB_val first = key_val(from);
  store.each(handle_->txn, store.log, &first, [&](const MDB_val& key, const MDB_val& value) {
    if (key.mv_size != sizeof(Sequence)) throw_bad_value("log", store.path);
    return entry(load<Sequence>(key.mv_data), checked_bytes("log", key, value, store.path));
  });
}

void MetaStore::ReadTxn::for_each_log_back(
    Sequence before, const std::function<bool(Sequence sequence, ByteSpan bytes)>& entry) const {
  const Impl& store = *handle_->store;
  const Cursor cursor = store.cursor(handle_->txn, store.log);
  MDB_val key = key_val(before);
  MDB_val value{};
  int result = mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE);
  result = mdb_cursor_get(cursor.get(), &key, &value, result == 0 ? MDB_PREV : MDB_LAST);
  for (; result == 0; result = mdb_cursor_get(cursor.get(), &key, &value, MDB_PREV)) {
    if (key.mv_size != sizeof(Sequence)) throw_bad_value("log", store.path);
    if (!entry(load<Sequence>(key.mv_data), checked_bytes("log", key, value, store.path))) return;
  }
  if (result != MDB_NOTFOUND) throw_lmdb("cannot read", store.path, result);
}

}  // namespace srvdb
