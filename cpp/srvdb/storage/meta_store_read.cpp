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

MetaState MetaStore::ReadTxn::state() const {
  const Impl& store = *handle_->store;
  const MDB_val key = to_val(kStateKey);
  const auto value = store.get(handle_->txn, store.state, key);
  MetaState state;
  if (!value) return state;
  ByteReader reader(checked_bytes("state", key, *value, store.path));
  state.applied_sequence = reader.get<Sequence>();
  state.published_rows = reader.get<Row>();
  reader.get<std::uint32_t>();
  state.id_bytes = reader.get<std::uint64_t>();
  state.live_count = reader.get<std::uint64_t>();
  state.change_log_head = reader.get<std::uint64_t>();
  if (!reader.ok() || reader.remaining() != 0) throw_bad_value("state", store.path);
  return state;
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

void MetaStore::ReadTxn::for_each_dead_chunk(
    const std::function<void(std::uint32_t number, ByteSpan bits)>& chunk) const {
  const Impl& store = *handle_->store;
  const Cursor cursor = store.cursor(handle_->txn, store.dead);
  MDB_val key{};
  MDB_val value{};
  int result = mdb_cursor_get(cursor.get(), &key, &value, MDB_FIRST);
  for (; result == 0; result = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT)) {
    const ByteSpan bits = checked_bytes("dead", key, value, store.path);
    if (key.mv_size != 4 || bits.size() != kDeadChunkBytes) throw_bad_value("dead", store.path);
    chunk(load<std::uint32_t>(key.mv_data), bits);
  }
  if (result != MDB_NOTFOUND) throw_lmdb("cannot read", store.path, result);
}

}  // namespace srvdb
