#include "srvdb/storage/meta_store.h"

#include <cerrno>
#include <cstdio>
#include <thread>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/storage/file.h"
#include "srvdb/storage/meta_store_impl.h"

namespace srvdb {

namespace {

constexpr unsigned kMaxTrees = 16;
constexpr unsigned kMaxReaders = 1024;
constexpr std::size_t kMaxPooledTxns = 64;
constexpr int kMaxTornLooks = 100;

constexpr std::uint64_t kMaxMapBytes = std::uint64_t{1} << 46;

// A writing transaction found an inconsistency that it would abort for (reading ones return
// MDB_CORRUPTED). The exception leaves through LMDB, which is compiled for that; the transaction
// can only be dropped, and the store takes no more updates.
void on_lmdb_assert(MDB_env* env, const char* message) {
  const char* path = "metadata.db";
  mdb_env_get_path(env, &path);
  static_cast<LmdbFile*>(mdb_env_get_userctx(env))->set_broken();
  const std::string_view text(message);  // "<folder of the build>/mdb.c:<line>: ..."
  const std::size_t file = text.find("mdb.c:");
  throw Error(ErrorCode::kCorruption,
              std::string(path)
                  .append(" is damaged: ")
                  .append(text.substr(file == std::string_view::npos ? 0 : file)));
}

// After no room and no memory the transaction is gone and all is as it was.
bool may_try_again(int error) noexcept {
  return is_no_space(error) || error == ENOMEM;
}

}  // namespace

void throw_lmdb(const char* what, const std::string& path, int result) {
  if (result == MDB_MAP_FULL) throw MapFull{};
  if (result == MDB_VERSION_MISMATCH) {
    throw Error(ErrorCode::kVersion, path + ": " + mdb_strerror(result));
  }
  // MDB_BAD_TXN: a transaction that met a damaged page, perhaps while LMDB looked for something
  // else, is a bad one from then on. (A failed write makes it one too, but has said why before.)
  if (result == MDB_CORRUPTED || result == MDB_PAGE_NOTFOUND || result == MDB_BAD_TXN ||
      result == MDB_INVALID || result == MDB_NOTFOUND || result == MDB_INCOMPATIBLE ||
      result == MDB_BAD_VALSIZE || result == MDB_BAD_DBI || result == MDB_PAGE_FULL ||
      result == MDB_CURSOR_FULL) {
    const std::string damage = take_lmdb_damage();
    throw Error(ErrorCode::kCorruption, std::string(what) + ": " + path + " is damaged: " +
                                            (damage.empty() ? mdb_strerror(result) : damage));
  }
  if (result > 0) throw_storage(what, path, result);
  throw Error(ErrorCode::kStorage, std::string(what) + " " + path + ": " + mdb_strerror(result),
              EIO);
}

std::uint32_t value_crc(char tree, const MDB_val& key, const void* bytes,
                        std::size_t size) noexcept {
  return crc32c(bytes, size, crc32c(key.mv_data, key.mv_size, crc32c(&tree, 1)));
}

void throw_bad_value(const char* tree, const std::string& path) {
  throw Error(ErrorCode::kCorruption, path + " is damaged: checksum of a value in tree \"" +
                                          std::string(tree) + "\" does not hold");
}

// A value of the kind "crc, bytes".
ByteSpan checked_bytes(const char* tree, const MDB_val& key, const MDB_val& value,
                       const std::string& path) {
  const ByteSpan all{static_cast<const std::uint8_t*>(value.mv_data), value.mv_size};
  if (all.size() < kCrcBytes) throw_bad_value(tree, path);
  const ByteSpan bytes = all.subspan(kCrcBytes);
  if (load<std::uint32_t>(all.data()) != value_crc(tree[0], key, bytes.data(), bytes.size())) {
    throw_bad_value(tree, path);
  }
  return bytes;
}

// A value of tree ids: row, crc.
Row checked_row(const MDB_val& key, const MDB_val& value, const std::string& path) {
  if (value.mv_size != 8) throw_bad_value("ids", path);
  const auto* at = static_cast<const std::uint8_t*>(value.mv_data);
  if (load<std::uint32_t>(at + 4) != value_crc('i', key, at, 4)) throw_bad_value("ids", path);
  return load<Row>(at);
}

// -- the environment -----------------------------------------------------------------------------

MetaStore::Impl::Impl(const std::string& location, const MetaStoreOptions& options)
    : path(location) {
  FileSystem& files = options.files != nullptr ? *options.files : posix_file_system();
  file = std::make_unique<LmdbFile>(files, path, options.read_only, options.create);
  const std::uint64_t used = file->used_bytes();
  std::uint64_t map = std::max<std::uint64_t>(options.initial_map_bytes, 1);
  while (map < used + used / 2 && map < kMaxMapBytes) map *= 2;
  int result = mdb_env_create(&env);
  if (result != 0) throw_lmdb("cannot open", path, result);
  // From here on the destructor does not run when the constructor throws.
  std::unique_ptr<MDB_env, void (*)(MDB_env*)> owner(env, &mdb_env_close);
  mdb_env_set_userctx(env, file.get());
  mdb_env_set_assert(env, &on_lmdb_assert);
  mdb_env_set_maxdbs(env, kMaxTrees);
  mdb_env_set_maxreaders(env, kMaxReaders);
  mdb_env_set_mapsize(env, static_cast<std::size_t>(map));
  const unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | (options.read_only ? MDB_RDONLY : 0u) |
                         (options.immutable ? MDB_NOLOCK : 0u);
  {
    const LmdbFile::Opening scope(*file);
    result = mdb_env_open(env, path.c_str(), flags, 0600);
  }
  if (result != 0) throw_lmdb("cannot open", path, result);
  int dead_readers = 0;
  if (!options.immutable) mdb_reader_check(env, &dead_readers);  // slots of killed processes
  open_trees(options.create && !options.read_only);
  static_cast<void>(owner.release());
}

MetaStore::Impl::~Impl() {
  if (abandoned) {
    static_cast<void>(file.release());  // as the environment, whose map it holds
    return;
  }
  for (MDB_txn* txn : pool) mdb_txn_abort(txn);
  mdb_env_close(env);
}

// Opens the trees in a read transaction when they are all there, so that opening writes nothing.
void MetaStore::Impl::open_trees(bool create) {
  if (try_open_trees(MDB_RDONLY, 0)) return;
  if (!create) throw Error(ErrorCode::kCorruption, path + " is damaged: a tree is missing");
  try_open_trees(0, MDB_CREATE);
}

bool MetaStore::Impl::try_open_trees(unsigned txn_flags, unsigned tree_flags) {
  MDB_txn* txn = nullptr;
  int result = mdb_txn_begin(env, nullptr, txn_flags, &txn);
  if (result != 0) throw_lmdb("cannot read", path, result);
  if (result == 0) result = mdb_dbi_open(txn, "ids", tree_flags, &ids);
  if (result == 0) result = mdb_dbi_open(txn, "meta", tree_flags | MDB_INTEGERKEY, &meta);
  if (result == 0) result = mdb_dbi_open(txn, "dead", tree_flags | MDB_INTEGERKEY, &dead);
  if (result == 0) result = mdb_dbi_open(txn, "bin", tree_flags | MDB_INTEGERKEY, &soft);
  if (result == 0) result = mdb_dbi_open(txn, "ttl", tree_flags | MDB_INTEGERKEY, &ttl);
  if (result == 0) result = mdb_dbi_open(txn, "upcoming", tree_flags, &due);
  if (result == 0) result = mdb_dbi_open(txn, "log", tree_flags | MDB_INTEGERKEY, &log);
  if (result == 0) result = mdb_dbi_open(txn, "state", tree_flags, &state);
  if (result == 0) result = mdb_dbi_open(txn, "columns", tree_flags, &columns);
  if (result == 0) result = mdb_dbi_open(txn, "fields", tree_flags | MDB_INTEGERKEY, &fields);
  if (result != 0) {
    mdb_txn_abort(txn);
    if (result == MDB_NOTFOUND && tree_flags == 0) return false;
    throw_lmdb("cannot read", path, result);
  }
  result = mdb_txn_commit(txn);
  if (result != 0) throw_lmdb("cannot open", path, result);
  return true;
}

void MetaStore::Impl::enter() {
  std::unique_lock lock(mutex);
  idle.wait(lock, [&] { return !growing; });
  ++active;
}

void MetaStore::Impl::leave() noexcept {
  const std::lock_guard lock(mutex);
  assert(active > 0);
  if (--active == 0) idle.notify_all();
}

// Sets the size of the map (0: what the file says) while no transaction is open in the process.
void MetaStore::Impl::resize(std::uint64_t bytes) {
  std::unique_lock lock(mutex);
  idle.wait(lock, [&] { return !growing; });
  growing = true;
  idle.wait(lock, [&] { return active == 0; });
  for (MDB_txn* txn : pool) mdb_txn_abort(txn);
  pool.clear();
  const int result = mdb_env_set_mapsize(env, static_cast<std::size_t>(bytes));
  growing = false;
  idle.notify_all();
  if (result != 0) throw_lmdb("cannot map", path, result);
}

// Grows when the file fills more than half of the map and nobody has to be waited for. It is only
// done ahead: where it fails, the map stays, and the update that outgrows it says so.
void MetaStore::Impl::grow_if_idle() noexcept {
  MDB_envinfo info{};
  MDB_stat stat{};
  mdb_env_info(env, &info);
  mdb_env_stat(env, &stat);
  if ((std::uint64_t{info.me_last_pgno} + 1) * stat.ms_psize * 2 < info.me_mapsize) return;
  {
    const std::lock_guard lock(mutex);
    if (active != 0 || growing) return;
  }
  try {
    resize(2 * std::uint64_t{info.me_mapsize});
  } catch (const std::exception&) {
    // As said above.
  }
}

void MetaStore::Impl::poison(const std::string& why, int os_error) {
  if (!poison_why.empty()) return;
  poison_why = path + " could not be written earlier and takes no more updates: " + why;
  poison_errno = os_error > 0 ? os_error : EIO;
}

std::uint64_t MetaStore::Impl::map_bytes() const {
  MDB_envinfo info{};
  mdb_env_info(env, &info);
  return info.me_mapsize;
}

MDB_txn* MetaStore::Impl::begin_read() {
  bool checked_readers = false;
  int torn_looks = 0;  // the writer, in another process, got through two commits meanwhile
  for (;;) {
    enter();
    MDB_txn* txn = nullptr;
    {
      const std::lock_guard lock(mutex);
      if (!pool.empty()) {
        txn = pool.back();
        pool.pop_back();
      }
    }
    const bool pooled = txn != nullptr;
    const int result = pooled ? mdb_txn_renew(txn) : mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn);
    if (result == 0) return txn;
    if (pooled) mdb_txn_abort(txn);
    leave();
    if (result == MDB_MAP_RESIZED) {  // another process made the file larger
      resize(0);
    } else if (result == MDB_READERS_FULL && !checked_readers) {
      checked_readers = true;
      int dead_readers = 0;
      mdb_reader_check(env, &dead_readers);
    } else if (result == MDB_CORRUPTED && ++torn_looks < kMaxTornLooks) {
      std::this_thread::yield();
    } else {
      throw_lmdb("cannot read", path, result);
    }
  }
}

void MetaStore::Impl::end_read(MDB_txn* txn) noexcept {
  if (abandoned) return;
  mdb_txn_reset(txn);
  {
    const std::lock_guard lock(mutex);
    if (pool.size() < kMaxPooledTxns) {
      try {
        pool.push_back(txn);
        txn = nullptr;
      } catch (const std::bad_alloc&) {
        // It is simply not kept.
      }
    }
  }
  if (txn != nullptr) mdb_txn_abort(txn);
  leave();
}

MDB_txn* MetaStore::Impl::begin_write() {
  for (;;) {
    enter();
    MDB_txn* txn = nullptr;
    const int result = mdb_txn_begin(env, nullptr, 0, &txn);
    if (result == 0) return txn;
    leave();
    if (result != MDB_MAP_RESIZED) throw_lmdb("cannot write", path, result);
    resize(0);
  }
}

Cursor MetaStore::Impl::cursor(MDB_txn* txn, MDB_dbi tree) const {
  MDB_cursor* opened = nullptr;
  const int result = mdb_cursor_open(txn, tree, &opened);
  if (result != 0) throw_lmdb("cannot read", path, result);
  return Cursor(opened);
}

std::optional<MDB_val> MetaStore::Impl::get(MDB_txn* txn, MDB_dbi tree, MDB_val key) const {
  MDB_val value{};
  const int result = mdb_get(txn, tree, &key, &value);
  if (result == MDB_NOTFOUND) return std::nullopt;
  if (result != 0) throw_lmdb("cannot read", path, result);
  return value;
}

std::optional<Row> MetaStore::Impl::find_id(MDB_txn* txn, std::string_view id) const {
  if (id.empty() || id.size() > kMaxIdBytes) return std::nullopt;
  const MDB_val key = to_val(id);
  const auto value = get(txn, ids, key);
  if (!value) return std::nullopt;
  return checked_row(key, *value, path);
}

std::optional<std::int64_t> MetaStore::Impl::expires_at(MDB_txn* txn, Row row) const {
  const MDB_val key = key_val(row);
  const auto value = get(txn, ttl, key);
  if (!value) return std::nullopt;
  const ByteSpan bytes = checked_bytes("ttl", key, *value, path);
  if (bytes.size() != 8) throw_bad_value("ttl", path);
  return load<std::int64_t>(bytes.data());
}

std::optional<ByteSpan> MetaStore::Impl::column(MDB_txn* txn, ColumnKey key) const {
  ColumnKeyBytes bytes(key);
  const auto value = get(txn, columns, bytes.val());
  if (!value) return std::nullopt;
  return checked_bytes("columns", bytes.val(), *value, path);
}

void MetaStore::Impl::for_each_field(
    MDB_txn* txn, const std::function<void(std::uint32_t field, ByteSpan bytes)>& found) const {
  each(txn, fields, nullptr, [&](const MDB_val& key, const MDB_val& value) {
    if (key.mv_size != sizeof(std::uint32_t)) throw_bad_value("fields", path);
    found(load<std::uint32_t>(key.mv_data), checked_bytes("fields", key, value, path));
    return true;
  });
}

std::optional<ByteSpan> MetaStore::Impl::column_state(MDB_txn* txn) const {
  const MDB_val key = to_val(kColumnStateKey);
  const auto value = get(txn, state, key);
  if (!value) return std::nullopt;
  return checked_bytes("state", key, *value, path);
}

// -- the store -----------------------------------------------------------------------------------

MetaStore::MetaStore(const std::string& path, const MetaStoreOptions& options)
    : impl_(std::make_shared<Impl>(path, options)) {}
MetaStore::~MetaStore() = default;

void MetaStore::update(const std::function<void(WriteTxn&)>& change) {
  if (!impl_->poison_why.empty()) {
    throw Error(ErrorCode::kStorage, impl_->poison_why, impl_->poison_errno);
  }
  for (;;) {
    int result = MDB_MAP_FULL;
    try {
      WriteTxn::Handle handle(*impl_);
      WriteTxn txn(handle);
      change(txn);
      if (!handle.map_full) result = handle.commit();
    } catch (const MapFull&) {
      result = MDB_MAP_FULL;
    } catch (const Error& error) {
      const bool failed = error.code() == ErrorCode::kStorage && !may_try_again(error.os_error());
      if (failed || impl_->file->is_broken()) impl_->poison(error.what(), error.os_error());
      throw;
    }
    if (result == 0) {
      impl_->grow_if_idle();
      return;
    }
    if (result == MDB_MAP_FULL) {
      impl_->resize(2 * impl_->map_bytes());
      continue;
    }
    if (!may_try_again(result)) impl_->poison(mdb_strerror(result), result);
    throw_lmdb("cannot write", impl_->path, result);
  }
}

MetaStore::ReadTxn MetaStore::read() {
  return ReadTxn(std::make_unique<ReadTxn::Handle>(impl_));
}

MetaState MetaStore::state() {
  return read().state();
}
std::optional<Row> MetaStore::find_id(std::string_view id) {
  return read().find_id(id);
}
std::optional<std::string> MetaStore::metadata(Row row) {
  const ReadTxn txn = read();
  const auto text = txn.metadata(row);
  if (!text) return std::nullopt;
  return std::string(*text);
}

void MetaStore::reserve_map() {
  constexpr std::uint64_t kLeast = std::uint64_t{1} << 30;
  const std::uint64_t wanted = std::max(kLeast, 8 * stats().used_bytes);
  std::uint64_t bytes = impl_->map_bytes();
  if (bytes >= wanted) return;
  while (bytes < wanted) bytes *= 2;
  impl_->resize(bytes);
}

MetaStoreStats MetaStore::stats() {
  MDB_envinfo info{};
  MDB_stat stat{};
  impl_->enter();  // both look into the map, which must not move meanwhile
  mdb_env_info(impl_->env, &info);
  mdb_env_stat(impl_->env, &stat);
  impl_->leave();
  MetaStoreStats out;
  out.map_bytes = info.me_mapsize;
  out.used_bytes = (std::uint64_t{info.me_last_pgno} + 1) * stat.ms_psize;
  out.last_transaction = info.me_last_txnid;
  // One line a slot: pid, thread, and the transaction or "-".
  const auto each_line = [](const char* line, void* context) -> int {
    auto& stats = *static_cast<MetaStoreStats*>(context);
    long pid = 0;
    unsigned long long thread = 0;
    unsigned long long transaction = 0;
    const int fields = std::sscanf(line, "%ld %llx %llu", &pid, &thread, &transaction);
    if (fields >= 2) ++stats.readers;
    if (fields == 3 && (stats.oldest_reader == 0 || transaction < stats.oldest_reader)) {
      stats.oldest_reader = transaction;
      stats.oldest_reader_pid = pid;
    }
    return 0;
  };
  mdb_reader_list(impl_->env, each_line, &out);
  return out;
}

void MetaStore::copy_to(const ReadTxn& txn, const std::string& path) {
  FileSystem& files = impl_->file->files();
  for (const std::string& part : {path, page_checksum_path(path)}) {
    if (files.exists(part)) throw_storage("cannot copy to", part, EEXIST);
  }
  try {
    LmdbCopy copy(files, path, impl_->file->checksums().page_bytes());
    const int result = mdb_env_copyfd3(impl_->env, copy.number(), MDB_CP_COMPACT, txn.handle_->txn);
    if (result != 0) throw_lmdb("cannot copy", impl_->path, result);
    copy.sync();
  } catch (...) {
    for (const std::string& part : {path, page_checksum_path(path)}) {
      try {
        files.remove(part);
      } catch (const Error&) {
        // What failed first is what counts.
      }
    }
    throw;
  }
}

void MetaStore::check_pages(const ReadTxn& txn) {
  impl_->file->checksums().forget_checked();
  impl_->checked_blocks.forget();
  LmdbNowhere nowhere;
  const int result =
      mdb_env_copyfd3(impl_->env, nowhere.number(), MDB_CP_COMPACT, txn.handle_->txn);
  if (result != 0) throw_lmdb("cannot check", impl_->path, result);
}

void MetaStore::abandon_in_child() noexcept {
  impl_->abandoned = true;
}

}  // namespace srvdb
