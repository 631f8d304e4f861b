#include "srvdb/database/database.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <shared_mutex>

#include "srvdb/base/error.h"
#include "srvdb/base/events.h"
#include "srvdb/database/core.h"
#include "srvdb/database/registry.h"
#include "srvdb/database/snapshot.h"
#include "srvdb/storage/file.h"

namespace srvdb {

struct Database::Handle {
  std::mutex core_mutex;
  std::shared_ptr<Core> core;            // guarded by core_mutex; refresh() replaces it
  std::shared_ptr<RegistryEntry> entry;  // refresh() and close() only, under `refreshing`
  std::mutex refreshing;
  OpenOptions options;
  bool read_only = false;
  std::uint64_t epoch = 0;
  std::atomic<std::uint32_t> ef{kDefaultEf};
  std::atomic<double> recall{0};  // counts where it is not 0
  std::atomic<bool> closed{false};
  std::shared_mutex running;  // shared by running calls; close() takes it alone
};

// One running call: keeps close() waiting. Throws when the handle can no longer be used.
class Database::Call {
 public:
  explicit Call(Handle& handle, bool writes = false) : handle_(handle) {
    if (handle.epoch != fork_epoch()) {
      throw Error(ErrorCode::kClosed,
                  "this database was opened before a fork: the child must open its own");
    }
    lock_ = std::shared_lock(handle.running);
    if (handle.closed) throw Error(ErrorCode::kClosed, "the database is closed");
    {
      const std::lock_guard lock(handle.core_mutex);
      core_ = handle.core;
    }
    if (writes && handle.read_only) {
      throw Error(ErrorCode::kReadOnly, core_->path() + " was opened read-only");
    }
  }
  Core* operator->() const { return core_.get(); }
  // Width, at least k, or recall of the handle where the call names neither.
  SearchOptions complete(SearchOptions options) const {
    if (options.ef != 0 || options.recall != 0) return options;
    options.recall = handle_.recall.load(std::memory_order_relaxed);
    if (options.recall != 0) return options;
    const std::size_t width = std::max<std::size_t>(handle_.ef, options.k);
    options.ef = static_cast<std::uint32_t>(std::min<std::size_t>(width, kMaxEf));
    return options;
  }

 private:
  Handle& handle_;
  std::shared_lock<std::shared_mutex> lock_;
  std::shared_ptr<Core> core_;
};

std::shared_ptr<Database> Database::open(const std::string& path, const OpenOptions& options) {
  Core::check_options(options);
  std::shared_ptr<Core> core;
  std::shared_ptr<RegistryEntry> entry = registry_open(path, options, core);
  std::shared_ptr<Database> out(new Database(std::move(core), options.read_only));
  out->handle_->entry = std::move(entry);
  out->handle_->ef = options.ef;
  out->handle_->recall = options.recall;
  out->handle_->options = options;
  return out;
}

Database::Database(std::shared_ptr<Core> core, bool read_only)
    : handle_(std::make_unique<Handle>()) {
  handle_->core = std::move(core);
  handle_->read_only = read_only;
  handle_->epoch = fork_epoch();
}

Database::~Database() {
  if (handle_->epoch != fork_epoch()) {
    static_cast<void>(handle_.release());  // its locks belong to threads that do not exist here
    return;
  }
  try {
    close();
  } catch (const std::exception& error) {
    post_event(Event::Level::kWarning, std::string("while closing a database: ") + error.what());
  }
}

std::size_t Database::add(const Batch& batch) {
  return Call(*handle_, true)->write(batch, false);
}

std::size_t Database::upsert(const Batch& batch) {
  return Call(*handle_, true)->write(batch, true);
}

std::size_t Database::remove(std::span<const std::string_view> ids) {
  return Call(*handle_, true)->change_targets(RecordType::kDelete, ids);
}

std::size_t Database::remove_where(std::string_view where) {
  return Call(*handle_, true)->change_where(RecordType::kDelete, where);
}

std::size_t Database::soft_delete_where(std::string_view where) {
  return Call(*handle_, true)->change_where(RecordType::kSoftDelete, where);
}

std::size_t Database::update_where(std::string_view where, const Update& update) {
  return Call(*handle_, true)->update_where(where, update);
}

std::size_t Database::update(std::span<const Update> updates, std::size_t dim) {
  return Call(*handle_, true)->update(updates, dim);
}

std::size_t Database::soft_delete(std::span<const std::string_view> ids) {
  return Call(*handle_, true)->change_targets(RecordType::kSoftDelete, ids);
}

std::size_t Database::restore(std::span<const std::string_view> ids) {
  return Call(*handle_, true)->change_targets(RecordType::kRestore, ids);
}

std::vector<std::string> Database::deleted_ids() const {
  return Call(*handle_)->deleted_ids();
}

std::vector<LogEntry> Database::change_log(const LogQuery& query) const {
  return Call(*handle_)->change_log(query);
}

std::uint64_t Database::trim_change_log(Sequence before) {
  return Call(*handle_, true)->trim_change_log(before);
}

Sequence Database::change_log_at(std::int64_t time_us) const {
  return Call(*handle_)->change_log_at(time_us);
}

std::size_t Database::chunk_rows(std::size_t dim) const {
  return Call(*handle_)->chunk_rows(dim);
}

SearchResult Database::search(const float* query, std::size_t dim,
                              const SearchOptions& options) const {
  const Call call(*handle_);
  return call->search(query, dim, call.complete(options));
}

std::vector<SearchResult> Database::search_batch(const float* queries, std::size_t n,
                                                 std::size_t dim, const SearchOptions& options,
                                                 Interrupt* interrupt,
                                                 std::span<const std::string_view> wheres) const {
  const Call call(*handle_);
  return call->search_batch(queries, n, dim, call.complete(options), wheres, interrupt);
}

std::vector<SearchResult> Database::search_groups(
    const float* queries, std::size_t n, std::size_t dim, const SearchOptions& options,
    Interrupt* interrupt, std::span<const std::string_view> wheres,
    std::span<const std::vector<std::string>> among) const {
  const Call call(*handle_);
  return call->search_groups(queries, n, dim, call.complete(options), wheres, among, interrupt);
}

bool Database::contains(std::string_view id) const {
  return Call(*handle_)->contains(id);
}

std::optional<std::string> Database::metadata(std::string_view id) const {
  return Call(*handle_)->metadata(id);
}

std::vector<std::optional<Record>> Database::records(std::span<const std::string_view> ids,
                                                     bool with_embedding, bool include_deleted,
                                                     std::string_view where,
                                                     bool with_metadata) const {
  return Call(*handle_)->records(ids, {with_metadata, with_embedding, include_deleted, where});
}

std::vector<Record> Database::scroll(std::string_view after, std::size_t limit, bool with_metadata,
                                     bool with_embedding, std::string_view where,
                                     bool include_deleted) const {
  const RecordOptions options{with_metadata, with_embedding, include_deleted, where};
  return Call(*handle_)->scroll(after, limit, options);
}

std::optional<std::string> Database::hit_metadata(const View& view, Row row) const {
  return Call(*handle_)->hit_metadata(view, row);
}

std::vector<float> Database::hit_embedding(const View& view, Row row) const {
  return Call(*handle_)->hit_embedding(view, row);
}

std::size_t Database::count(std::string_view where, Interrupt* interrupt) const {
  return Call(*handle_)->count(where, interrupt);
}

std::vector<FacetValue> Database::facet(std::string_view field, std::string_view where,
                                        std::size_t limit, Interrupt* interrupt) const {
  return Call(*handle_)->facet(field, where, limit, interrupt);
}

Explanation Database::explain(std::string_view where, Interrupt* interrupt) const {
  return Call(*handle_)->explain(where, interrupt);
}

void Database::persist() {
  Call(*handle_, true)->persist();
}

void Database::close() {
  if (handle_->epoch != fork_epoch()) return;  // nothing of it is this process's
  handle_->closed = true;                      // calls that come now leave at once
  const std::unique_lock alone(handle_->running);
  if (handle_->core == nullptr) return;
  handle_->core = nullptr;  // nobody runs
  registry_close(*handle_->entry, handle_->read_only);
}

void Database::optimize(std::size_t threads, const Progress& progress, Interrupt* interrupt) {
  Call(*handle_, true)->optimize(threads, progress, interrupt);
}

std::int64_t Database::compact(const Progress& progress, Interrupt* interrupt) {
  return Call(*handle_, true)->compact(progress, interrupt);
}

Metric Database::metric() const {
  return Call(*handle_)->metric();
}

Stats Database::stats() const {
  const Call call(*handle_);
  Stats out = call->stats();
  out.ef = handle_->ef.load(std::memory_order_relaxed);
  out.recall = handle_->recall.load(std::memory_order_relaxed);
  out.read_only = out.read_only || handle_->read_only;
  return out;
}

void Database::set_mode(Mode mode) {
  Call(*handle_, true)->set_mode(mode);
}

void Database::set_ef(std::uint32_t ef) {
  const Call call(*handle_);
  Core::check_ef(ef);
  handle_->ef = ef;
  handle_->recall = 0;
}

void Database::set_recall(double recall) {
  const Call call(*handle_);
  Core::check_recall(recall);
  handle_->recall = recall;
}

SnapshotInfo Database::create_snapshot(const std::string& name) {
  return Call(*handle_, true)->create_snapshot(name);
}

std::vector<SnapshotInfo> Database::list_snapshots() const {
  return Call(*handle_)->snapshots();
}

void Database::drop_snapshot(const std::string& name) {
  Call(*handle_, true)->drop_snapshot(name);
}

void Database::restore_snapshot(const std::string& name, bool keep_current) {
  Call(*handle_, true)->restore_snapshot(name, keep_current);
}

std::string Database::snapshot_path(const std::string& name) const {
  return Call(*handle_)->path_of_snapshot(name);
}

void Database::backup(const std::string& path, bool compressed) {
  Call(*handle_)->backup(path, compressed);
}

void Database::restore_backup(const std::string& file, const std::string& path, FileSystem* files) {
  srvdb::restore_backup(files != nullptr ? *files : posix_file_system(), file, path);
}

Sequence Database::refresh() {
  const Call call(*handle_);
  const std::lock_guard one(handle_->refreshing);
  std::shared_ptr<Core> core;
  {
    const std::lock_guard lock(handle_->core_mutex);
    core = handle_->core;
  }
  handle_->entry = registry_refresh(handle_->entry, core, handle_->options);
  const std::lock_guard lock(handle_->core_mutex);
  handle_->core.swap(core);
  return handle_->core->view()->sequence;
}

}  // namespace srvdb
