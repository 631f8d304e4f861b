// Inside of MetaStore: the environment, the transaction handles and the checks every value goes
// through. The one file that includes <lmdb.h>; only meta_store*.cpp include it.
#pragma once

#include <lmdb.h>

#include <algorithm>
#include <cassert>
#include <condition_variable>
#include <mutex>

#include "srvdb/storage/checked_blocks.h"
#include "srvdb/storage/lmdb_file.h"
#include "srvdb/storage/meta_store.h"

namespace srvdb {

inline constexpr std::string_view kPositionPrefix = "position/";
inline constexpr std::size_t kCrcBytes = 4;

// LMDB's map is full. Thrown inside update() only, which grows the map and starts again.
struct MapFull {};

// Throws the Error (or MapFull) for a result of LMDB other than 0.
[[noreturn]] void throw_lmdb(const char* what, const std::string& path, int result);
[[noreturn]] void throw_bad_value(const char* tree, const std::string& path);

inline MDB_val to_val(std::string_view text) noexcept {
  return {text.size(), const_cast<char*>(text.data())};
}
inline std::string_view to_text(const MDB_val& val) noexcept {
  return {static_cast<const char*>(val.mv_data), val.mv_size};
}
template <typename Integer>
MDB_val key_val(Integer& key) noexcept {
  return {sizeof(key), &key};
}

// Checksum kept with a value; `tree` is the tree's letter.
std::uint32_t value_crc(char tree, const MDB_val& key, const void* bytes,
                        std::size_t size) noexcept;
// The bytes of a value of the kind "crc, bytes". Throws Error(kCorruption).
ByteSpan checked_bytes(const char* tree, const MDB_val& key, const MDB_val& value,
                       const std::string& path);
// A value of tree ids: row, crc. Throws Error(kCorruption).
Row checked_row(const MDB_val& key, const MDB_val& value, const std::string& path);

struct CursorClose {
  void operator()(MDB_cursor* cursor) const noexcept { mdb_cursor_close(cursor); }
};
using Cursor = std::unique_ptr<MDB_cursor, CursorClose>;

struct MetaStore::Impl {
  Impl(const std::string& location, const MetaStoreOptions& options);
  ~Impl();

  void open_trees(bool create);
  bool try_open_trees(unsigned txn_flags, unsigned tree_flags);
  MDB_txn* begin_read();
  void end_read(MDB_txn* txn) noexcept;
  MDB_txn* begin_write();
  void leave() noexcept;
  void enter();
  void resize(std::uint64_t bytes);
  void grow_if_idle() noexcept;
  // The error is the last one that update() lets through.
  void poison(const std::string& why, int os_error);
  std::uint64_t map_bytes() const;
  Cursor cursor(MDB_txn* txn, MDB_dbi tree) const;
  // The value, or nothing when the key is not there.
  std::optional<MDB_val> get(MDB_txn* txn, MDB_dbi tree, MDB_val key) const;
  std::optional<Row> find_id(MDB_txn* txn, std::string_view id) const;
  std::optional<std::int64_t> expires_at(MDB_txn* txn, Row row) const;
  std::optional<ByteSpan> column(MDB_txn* txn, ColumnKey key) const;
  void for_each_field(MDB_txn* txn,
                      const std::function<void(std::uint32_t field, ByteSpan bytes)>& found) const;
  std::optional<ByteSpan> column_state(MDB_txn* txn) const;
  // Calls found(key, value) for the entries of a tree in order, from `first` (a key or its
  // successor) or the beginning, until it returns false.
  template <typename Found>
  void each(MDB_txn* txn, MDB_dbi tree, const MDB_val* first, Found&& found) const;

  const std::string path;
  std::unique_ptr<LmdbFile> file;
  CheckedBlocks checked_blocks;  // of read transactions
  MDB_env* env = nullptr;
  MDB_dbi ids = 0, meta = 0, dead = 0, soft = 0, ttl = 0, due = 0, log = 0, state = 0, columns = 0,
          fields = 0;
  bool abandoned = false;

  std::mutex mutex;              // guards what follows
  std::condition_variable idle;  // `active` has fallen to 0, or `growing` has ended
  std::size_t active = 0;        // transactions of this process
  bool growing = false;
  std::vector<MDB_txn*> pool;  // reset read transactions

  // The updating thread's. Not empty: no more updates.
  std::string poison_why;
  int poison_errno = 0;
};

template <typename Found>
void MetaStore::Impl::each(MDB_txn* txn, MDB_dbi tree, const MDB_val* first, Found&& found) const {
  const Cursor at = cursor(txn, tree);
  MDB_val key = first != nullptr ? *first : MDB_val{};
  MDB_val value{};
  int result = mdb_cursor_get(at.get(), &key, &value, first != nullptr ? MDB_SET_RANGE : MDB_FIRST);
  for (; result == 0; result = mdb_cursor_get(at.get(), &key, &value, MDB_NEXT)) {
    if (!found(key, value)) return;
  }
  if (result != MDB_NOTFOUND) throw_lmdb("cannot read", path, result);
}

// Key of tree due: sorts by time, then row, as bytes.
struct DueKey {
  std::uint8_t bytes[12];
  DueKey(std::int64_t expires_at, Row row) noexcept {
    for (int i = 0; i < 8; ++i) {
      bytes[i] = static_cast<std::uint8_t>(static_cast<std::uint64_t>(expires_at) >> (56 - 8 * i));
    }
    for (int i = 0; i < 4; ++i) bytes[8 + i] = static_cast<std::uint8_t>(row >> (24 - 8 * i));
  }
  MDB_val val() noexcept { return {sizeof(bytes), bytes}; }
};

// Key of tree columns: sorts by field, then chunk, as bytes.
struct ColumnKeyBytes {
  std::uint8_t bytes[8];
  explicit ColumnKeyBytes(ColumnKey key) noexcept {
    for (int i = 0; i < 4; ++i) {
      bytes[i] = static_cast<std::uint8_t>(key.field >> (24 - 8 * i));
      bytes[4 + i] = static_cast<std::uint8_t>(key.chunk >> (24 - 8 * i));
    }
  }
  MDB_val val() noexcept { return {sizeof(bytes), bytes}; }
};

struct MetaStore::ReadTxn::Handle {
  std::shared_ptr<Impl> store;
  MDB_txn* txn;

  explicit Handle(std::shared_ptr<Impl> owner)
      : store(std::move(owner)), txn(store->begin_read()) {}
  ~Handle() { store->end_read(txn); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
};

struct MetaStore::WriteTxn::Handle {
  Impl& store;
  MDB_txn* txn;
  Cursor ids, meta;
  std::optional<std::string> last_id;     // largest key of the tree; empty when not known
  std::optional<std::uint64_t> last_row;  // the same plus 1 for tree meta; 0: the tree is empty
  std::optional<Sequence> last_log;       // largest key of tree log; 0: the tree is empty
  bool map_full = false;                  // seen even if `change` swallows the exception

  explicit Handle(Impl& owner) : store(owner), txn(store.begin_write()) {}
  ~Handle() {
    if (txn == nullptr) return;
    ids.reset();
    meta.reset();
    mdb_txn_abort(txn);
    store.leave();
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  int commit() {
    ids.reset();
    meta.reset();
    const int result = mdb_txn_commit(txn);
    txn = nullptr;
    store.leave();
    return result;
  }
  // Throws for a result other than 0.
  void check(int result) {
    if (result == 0) return;
    map_full = map_full || result == MDB_MAP_FULL;
    throw_lmdb("cannot write", store.path, result);
  }
  MDB_cursor* id_cursor() {
    if (!ids) ids = store.cursor(txn, store.ids);
    return ids.get();
  }
  MDB_cursor* meta_cursor() {
    if (!meta) meta = store.cursor(txn, store.meta);
    return meta.get();
  }
  // Stores {crc, bytes}.
  void put_checked(MDB_dbi tree, const char* name, MDB_val key, ByteSpan bytes) {
    MDB_val value{bytes.size() + kCrcBytes, nullptr};
    check(mdb_put(txn, tree, &key, &value, MDB_RESERVE));
    fill(name, key, value, bytes);
  }
  static void fill(const char* name, const MDB_val& key, MDB_val& value, ByteSpan bytes) {
    auto* to = static_cast<std::uint8_t*>(value.mv_data);
    store_crc(to, value_crc(name[0], key, bytes.data(), bytes.size()));
    std::copy(bytes.begin(), bytes.end(), to + kCrcBytes);
  }
  static void store_crc(void* to, std::uint32_t crc) { srvdb::store(to, crc); }
};

}  // namespace srvdb
