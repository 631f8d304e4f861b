// Core: the parts of a generation, and putting another generation in its place.

#include <cerrno>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/base/events.h"
#include "srvdb/database/core.h"
#include "srvdb/database/snapshot.h"

namespace srvdb {

namespace {

constexpr std::uint64_t kReaderMapBytes = std::uint64_t{64} << 30;  // address space, not memory

}  // namespace

// ---- one generation ----------------------------------------------------------------------------

std::shared_ptr<MetaStore> Core::open_meta(const Manifest& manifest, bool create) const {
  const std::string path = generation_path(manifest.generation) + "/metadata.db";
  MetaStoreOptions options;
  options.create = create;
  options.read_only = options_.read_only;
  options.files = &files_;
  options.immutable = is_snapshot(manifest);
  if (!options.read_only || options.immutable) return std::make_shared<MetaStore>(path, options);
  if (before_ != nullptr && before_->manifest_.generation == manifest.generation &&
      before_->manifest_.uuid == manifest.uuid && before_->is_at(path_)) {
    return before_->meta_;  // LMDB opens a file once in a process
  }
  // Room for what writers will add: a map cannot grow while a reader pins a moment.
  options.initial_map_bytes = kReaderMapBytes;
  try {
    return std::make_shared<MetaStore>(path, options);
  } catch (const Error& error) {
    if (error.os_error() != ENOMEM) throw;  // address space may be limited
  }
  options.initial_map_bytes = MetaStoreOptions().initial_map_bytes;
  return std::make_shared<MetaStore>(path, options);
}

// What the store publishes, before anything in the log above it.
std::shared_ptr<View> Core::make_view(const Manifest& manifest, const MetaStore::ReadTxn& store,
                                      RowFiles* rows) const {
  const MetaState state = store.state();
  const std::string path = generation_path(manifest.generation) + "/metadata.db";
  auto view = std::make_shared<View>();
  view->dim = manifest.spaces[0].dimension;
  view->metric = metric_;
  view->generation = manifest.generation;
  view->sequence = state.applied_sequence;
  view->rows = state.published_rows;
  view->gone = load_rows(RowSet::kGone, store, state.published_rows, path);
  view->soft = load_rows(RowSet::kSoft, store, state.published_rows, path);
  view->hidden = view->gone.with_rows(view->soft.rows());
  view->index = std::make_shared<const IndexView>();
  view->calibration = std::make_shared<const Calibration>(
      decode_calibration(as_byte_span(manifest.calibration)).value_or(Calibration{}));
  if (rows != nullptr) view->file = std::make_shared<const FileRows>(rows->view());
  if (view->live() != state.live_count) {
    throw Error(ErrorCode::kCorruption, path + ": expected " + std::to_string(state.live_count) +
                                            " live rows, the tombstones leave " +
                                            std::to_string(view->live()));
  }
  return view;
}

std::shared_ptr<Indexer> Core::make_indexer(const Manifest& manifest) const {
  IndexConfig config;
  config.directory = generation_path(manifest.generation);
  config.uuid = manifest.uuid;
  config.generation = manifest.generation;
  config.dim = manifest.spaces[0].dimension;
  config.graph = graph_params_;
  config.memory = memory_;
  auto& host = const_cast<Core&>(*this);  // it publishes through it
  return std::make_shared<Indexer>(host, files_, config, mode_, options_.read_only);
}

void Core::start_indexer() {
  const std::shared_ptr<Indexer> made = make_indexer(manifest_);
  publish_index(manifest_.generation, made->load(manifest_.derived, applied_rows_));
  const std::lock_guard lock(view_mutex_);
  indexer_ = made;
}

std::shared_ptr<Indexer> Core::indexer() const {
  const std::lock_guard lock(view_mutex_);
  return indexer_;
}

std::shared_ptr<const void> Core::pin_store() const {
  if (pinned_) return nullptr;
  struct Pin {
    std::shared_ptr<MetaStore> store;
    MetaStore::ReadTxn transaction;
  };
  const std::shared_lock state(state_mutex_);
  return std::make_shared<const Pin>(Pin{meta_, meta_->read()});
}

// ---- standing still ----------------------------------------------------------------------------

Core::Standstill::Standstill(Core& core) : core_(core) {
  {
    std::unique_lock lock(core_.write_mutex_);
    core_.check_writable();
    core_.held_ = true;
    core_.published_.wait(lock, [&] { return core_.in_flight_.empty(); });
  }
  try {
    core_.checkpoint();
    checkpoint_ = std::unique_lock(core_.checkpoint_mutex_);
    write_ = std::unique_lock(core_.write_mutex_);
    core_.check_writable();
  } catch (...) {
    release();
    throw;
  }
}

Core::Standstill::~Standstill() {
  release();
}

void Core::Standstill::release() {
  if (!write_.owns_lock()) write_ = std::unique_lock(core_.write_mutex_);
  core_.held_ = false;
  core_.published_.notify_all();
  write_.unlock();
  if (checkpoint_.owns_lock()) checkpoint_.unlock();
}

// ---- the switch --------------------------------------------------------------------------------

void Core::switch_generation(const Standstill&, NextGeneration next) {
  Manifest manifest = manifest_;
  manifest.generation = next.generation;
  manifest.spaces[0].dimension = next.dimension;
  manifest.derived = std::move(next.derived);
  const MetaState state = next.meta->state();
  if (next.generation <= manifest_.generation || state.applied_sequence < view()->sequence) {
    throw Error(ErrorCode::kInvalidInput,
                path_ + ": a generation to switch to must be newer than the present one: got " +
                    std::to_string(next.generation) + " at sequence " +
                    std::to_string(state.applied_sequence) + ", at " +
                    std::to_string(manifest_.generation) + " and " +
                    std::to_string(view()->sequence));
  }
  // Whatever can fail comes before the commit.
  const auto store_file = files_.info(generation_path(next.generation) + "/metadata.db");
  const std::shared_ptr<View> shown = make_view(manifest, next.meta->read(), next.rows.get());
  std::shared_ptr<Indexer> indexer;
  if (next.rows) {
    indexer = make_indexer(manifest);
    shown->index = indexer->load(manifest.derived, state.published_rows);
  }
  std::unique_ptr<WalWriter> log;
  if (state.applied_sequence > wal_->last_sequence()) {
    // The change log holds entries that no log record has: the log goes on behind them.
    writing([&] { wal_->flush(); });
    log = std::make_unique<WalWriter>(files_, path_ + "/wal", state.applied_sequence + 1,
                                      wal_options());
    log->mark_durable(state.applied_sequence);
  }
  const std::string old_directory = generation_path();
  commit_manifest(manifest);
  {
    const std::unique_lock lock(state_mutex_);
    manifest_ = std::move(manifest);
    std::swap(meta_, next.meta);
    store_file_ = store_file;
    std::swap(row_files_, next.rows);
    buffer_ = nullptr;
    next_row_ = state.published_rows;
    applied_ = state.applied_sequence;
    applied_rows_ = state.published_rows;
    active_ = PendingChanges();  // rows that expired meanwhile, by their old numbers
    due_.clear();
    due_until_ = {-1, 0};
    next_due_ = -1;
    const std::lock_guard view_lock(view_mutex_);
    view_ = shown;
    indexer_.swap(indexer);
  }
  if (log) wal_ = std::move(log);
  previous_checkpoint_ = state.applied_sequence;  // older records have nothing to be applied to
  if (indexer) indexer->stop();                   // the old one
  try {
    remove_tree(files_, old_directory);
  } catch (const std::exception& error) {
    post_event(Event::Level::kInfo,
               "what is left of " + old_directory +
                   " will be removed when the database is opened again: " + error.what());
  }
  index_job_->wake();
  columns_job_->wake();  // a snapshot may have been without some
}

// After a failure the manifest says which of the two generations the directory holds; when it may
// be the new one, or the disk is not to be trusted, nothing more is written.
void Core::commit_manifest(const Manifest& manifest) {
  try {
    write_manifest(files_, path_, manifest);
  } catch (const Error& error) {
    bool replaced = true;
    try {
      const std::optional<Manifest> found = read_manifest(files_, path_, true);
      replaced = !found || found->generation != manifest_.generation;
    } catch (const std::exception&) {
      // It cannot be told.
    }
    if (replaced || !is_no_space(error.os_error())) fail(error.what());
    throw;
  }
}

// Removes directories of generations that the manifest does not name, and snapshots that were not
// finished: what a crash left. Failing does no harm; the next writer tries again.
void Core::remove_leftovers() noexcept {
  try {
    const std::string current = generation_directory(manifest_.generation);
    for (const std::string& name : files_.list_dir(path_)) {
      if (name.starts_with("gen-") && name != current) remove_tree(files_, path_ + "/" + name);
    }
    remove_unfinished(files_, path_);
  } catch (const std::exception& error) {
    post_event(Event::Level::kInfo, path_ + ": leftovers stay for now: " + error.what());
  }
}

// ---- moving a reader on ------------------------------------------------------------------------

std::shared_ptr<Core> Core::refreshed() {
  if (!options_.read_only || is_snapshot(manifest_)) return nullptr;
  const std::optional<Manifest> now = read_manifest(files_, path_, true);
  if (!now || now->uuid != manifest_.uuid) {
    throw Error(ErrorCode::kNotFound, path_ + " is no longer the database that was opened");
  }
  // Beside a writer nothing but a checkpoint changes what a reader may see.
  if (*now == manifest_ && is_at(path_) && view()->sequence == applied_ &&
      meta_->state().applied_sequence == applied_ && DirectoryLock::holder(path_, files_)) {
    return nullptr;
  }
  return open(path_, options_, this);
}

}  // namespace srvdb
