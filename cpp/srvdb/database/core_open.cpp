// Core: opening, creating, recovering, closing.

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/base/events.h"
#include "srvdb/database/column_writer.h"
#include "srvdb/database/core.h"
#include "srvdb/database/registry.h"
#include "srvdb/database/snapshot.h"

namespace srvdb {
namespace {

constexpr const char* kSpaceName = "default";
constexpr std::uint8_t kFloat32 = 1;
constexpr std::size_t kFewProcessors = 4;  // linking waits for bulk loads up to here
constexpr auto kLinkPause = std::chrono::milliseconds(250);
constexpr Row kLoadRows = 8192;  // in one such pause: more than can be linked in it
constexpr Row kLoadShare = 32;   // and more than this part of all
constexpr auto kMeasurePause =
    std::chrono::milliseconds(500);  // first answers after opening go first

// What a directory may hold before it is a database: leftovers of a creation that did not end, and
// settings.
const std::set<std::string> kBeforeManifest = {"LOCK",  "MANIFEST.tmp", "wal",
                                               "gen-1", "config.toml",  "shard.json"};

FileSystem& file_system(const OpenOptions& options) {
  return options.files != nullptr ? *options.files : posix_file_system();
}

void make_dirs(FileSystem& files, const std::string& path) {
  if (files.exists(path)) return;
  const std::size_t slash = path.find_last_of('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash);
  if (slash != std::string::npos && slash > 0) make_dirs(files, parent);
  if (!files.make_dir(path)) return;
  try {
    files.sync_dir(parent.empty() ? "/" : parent);
  } catch (const Error&) {
    files.remove(path);  // the next try must not find it and take its name for durable
    throw;
  }
}

// The directory may be somebody else's making, or of a try that ended before its name was durable.
void sync_name(FileSystem& files, const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  try {
    files.sync_dir(slash == std::string::npos ? "."
                                              : path.substr(0, std::max<std::size_t>(slash, 1)));
  } catch (const Error& error) {
    if (error.os_error() != EACCES) throw;  // then its name is not ours to care for
  }
}

// A creation that did not end has made no rows and no log: with those it is a database that lost
// its manifest, and must not be created over.
void check_never_used(FileSystem& files, const std::string& path) {
  for (const char* name : {"wal", "gen-1"}) {
    const std::string directory = path + "/" + name;
    if (!files.exists(directory)) continue;
    for (const std::string& file : files.list_dir(directory)) {
      if (file.starts_with("metadata.")) continue;
      throw Error(ErrorCode::kCorruption, path + "/MANIFEST is missing, and there is " + directory +
                                              "/" + file + ": nothing has been changed");
    }
  }
}

void check_range(const char* name, std::uint64_t value, std::uint64_t low, std::uint64_t high) {
  if (value >= low && value <= high) return;
  throw Error(ErrorCode::kInvalidInput, std::string(name) + " must be " + std::to_string(low) +
                                            ".." + std::to_string(high) + ", got " +
                                            std::to_string(value));
}

template <typename T>
void check_same(const std::string& path, const char* name, const T& asked, const T& stored) {
  if (asked == stored) return;
  throw Error(ErrorCode::kInvalidInput, path + " was created with " + name + " " +
                                            std::string(stored) + ", asked for " +
                                            std::string(asked));
}

}  // namespace

void Core::check_ef(std::uint32_t ef) {
  check_range("ef", ef, 1, kMaxEf);
}

void Core::check_options(const OpenOptions& options) {
  if (options.dimension && (*options.dimension == 0 || *options.dimension > kMaxDimension)) {
    throw Error(ErrorCode::kDimension, "dimension must be 1.." + std::to_string(kMaxDimension) +
                                           ", got " + std::to_string(*options.dimension));
  }
  if (options.m) check_range("m", *options.m, 2, 128);
  if (options.ef_construction) check_range("ef_construction", *options.ef_construction, 1, 100'000);
  check_ef(options.ef);
  if (options.recall != 0) check_recall(options.recall);
  MemoryBudget::check(options.memory_limit);
  if (options.indexed_fields) FieldCatalogue::check_only(options.indexed_fields->paths);
  check_range("buffer_bytes", options.buffer_bytes, 4096, std::uint64_t{1} << 40);
  check_range("flush_rows", options.flush_rows, 1, kMaxRows);
  check_range("snapshot_keep", options.snapshot_keep, 1, 1'000'000);
  if (options.snapshot_every_ms != 0) {
    check_range("snapshot_every_ms", static_cast<std::uint64_t>(options.snapshot_every_ms), 1,
                std::uint64_t{1} << 40);
  }
}

void Core::prepare_directory(const std::string& path, const OpenOptions& options) {
  FileSystem& files = file_system(options);
  if (path.empty()) throw Error(ErrorCode::kInvalidInput, "path must not be empty");
  const std::optional<FileInfo> info = files.info(path);
  if (!info) {
    if (options.read_only || !options.create) {
      throw Error(ErrorCode::kNotFound, "no database at " + path);
    }
    make_dirs(files, path);
    return;
  }
  if (!info->is_directory) {
    throw Error(ErrorCode::kInvalidInput, path + " must be a directory, and is a file");
  }
  if (files.exists(path + "/" + kManifestName)) return;
  if (const auto version = detect_legacy(files, path)) {
    throw Error(ErrorCode::kVersion, path + " was written by srvdb " + *version +
                                         ", whose format this version does not read yet; "
                                         "nothing in it has been changed");
  }
  for (const std::string& name : files.list_dir(path)) {
    if (kBeforeManifest.contains(name)) continue;
    throw Error(ErrorCode::kInvalidInput,
                path + " is not a database and not empty (it holds " + name +
                    "): expected a database, an empty directory, or a path that does not exist");
  }
  check_never_used(files, path);
  if (options.read_only || !options.create) {
    throw Error(ErrorCode::kNotFound, "no database at " + path);
  }
}

Core::Core(std::string path, const OpenOptions& options)
    : path_(std::move(path)),
      options_(MemoryBudget::within(options)),
      files_(file_system(options)),
      filters_(options_.filter_cache_bytes),
      memory_(std::make_shared<MemoryBudget>(files_, path_, options.memory_limit)) {
  const auto view = std::make_shared<View>();
  view->index = std::make_shared<const IndexView>();
  view->calibration = std::make_shared<const Calibration>();
  view_ = view;
}

std::shared_ptr<Core> Core::open(const std::string& path, const OpenOptions& options) {
  return open(path, options, nullptr);
}

std::shared_ptr<Core> Core::open(const std::string& path, const OpenOptions& options,
                                 const Core* before) {
  // A writer may replace the manifest, checkpoint or drop log segments between the steps of a
  // reader; then another look finds things in order, unless they are really damaged.
  constexpr int kReaderTries = 3;
  for (int tries = 1;; ++tries) {
    std::shared_ptr<Core> core(new Core(path, options));
    try {
      core->before_ = before;
      core->start();
      core->before_ = nullptr;
      return core;
    } catch (const Error& error) {
      const bool may_pass = error.code() == ErrorCode::kCorruption || error.os_error() == ENOENT;
      if (!options.read_only || !may_pass || tries == kReaderTries) throw;
    }
  }
}

void Core::start() {
  if (!options_.read_only) {
    refuse_snapshot_writer();
    lock_ = DirectoryLock::acquire(path_, files_);
    registry_watch_lock(lock_.get());
  }
  std::optional<Manifest> manifest = read_manifest(files_, path_, options_.read_only);
  checkpoint_job_ = std::make_unique<BackgroundJob>([this] { return background_checkpoint(); });
  index_job_ = std::make_unique<BackgroundJob>([this] { return background_index(); });
  compact_job_ = std::make_unique<BackgroundJob>([this] { return background_compact(); });
  tuning_job_ = std::make_unique<BackgroundJob>([this] { return background_calibrate(); });
  columns_job_ = std::make_unique<BackgroundJob>([this] { return background_columns(); });
  if (manifest) {
    open_existing(std::move(*manifest));
    if (!options_.read_only) remove_leftovers();
  } else {
    create_new();
  }
  if (options_.lock_memory) lock_memory(true);
  if (options_.prefault) start_prefault();
  start_background();  // not before: recovery takes no locks
  schedule_snapshot();
}

// Jobs are woken that have something to do: threads begin with the first one that is, and starting
// them takes longer than all the looking here.
void Core::start_background() {
  if (options_.read_only) return;
  if (!options_.background) {
    while (make_columns(kColumnRowsAtOnce)) continue;
    return;
  }
  if (columns_are_due()) columns_job_->wake();
  loaded_rows_ = view()->rows;
  if (indexer_ && indexer_->has_work()) {
    index_job_->wake();
  } else if (calibration_due(*view())) {
    tuning_job_->wake_after(kMeasurePause);
  }
}

std::string Core::generation_path(std::uint64_t generation) const {
  return path_ + "/" + generation_directory(generation);
}

std::string Core::generation_path() const {
  return generation_path(manifest_.generation);
}

void Core::create_new() {
  Manifest manifest;
  manifest.uuid = random_uuid();
  manifest.mode = stored_number(options_.mode.value_or(Mode::kAuto));
  manifest.m = options_.m.value_or(kDefaultM);
  manifest.ef_construction = options_.ef_construction.value_or(kDefaultEfConstruction);
  metric_ = options_.metric.value_or(Metric::kCosine);
  manifest.spaces = {{kSpaceName, kFloat32, stored_number(metric_), 0}};
  manifest_ = manifest;
  files_.make_dir(generation_path());
  files_.make_dir(path_ + "/wal");
  for (const char* name : {"/metadata.db", "/metadata.crc", "/metadata.db-lock"}) {
    const std::string leftover = generation_path() + name;  // of a creation that did not end
    if (files_.exists(leftover)) files_.remove(leftover);
  }
  open_store(true);
  adopt_indexed_fields(0);
  files_.sync_dir(generation_path());
  sync_name(files_, path_);
  write_manifest(files_, path_, manifest_);
  update_view([&](View& view) {
    view.metric = metric_;
    view.generation = manifest_.generation;
  });
  wal_ = std::make_unique<WalWriter>(files_, path_ + "/wal", 1, wal_options());
  if (options_.dimension) set_dimension(*options_.dimension);
}

// Opens the metadata store, and takes over what the manifest says.
void Core::open_store(bool create) {
  metric_ = static_cast<Metric>(manifest_.spaces[0].metric - 1);
  mode_ = static_cast<Mode>(manifest_.mode - 1);
  graph_params_ = {manifest_.m, manifest_.ef_construction, metric_};
  meta_ = open_meta(manifest_, create);
  store_file_ = files_.info(generation_path() + "/metadata.db");
}

void Core::open_existing(Manifest manifest) {
  if (manifest.spaces.size() != 1 || manifest.spaces[0].dtype != kFloat32 ||
      manifest.spaces[0].metric < 1 || manifest.spaces[0].metric > 3 || manifest.mode < 1 ||
      manifest.mode > 4) {
    throw Error(ErrorCode::kVersion,
                path_ + "/MANIFEST describes vectors that this version does not know");
  }
  manifest_ = std::move(manifest);
  open_store(false);
  check_stored(options_);
  const MetaState state = read_state();
  applied_log_ = {state.log_segment, state.log_bytes};
  const std::uint32_t dim = manifest_.spaces[0].dimension;
  applied_ = state.applied_sequence;
  applied_rows_ = state.published_rows;
  next_row_ = state.published_rows;
  previous_checkpoint_ = state.applied_sequence;
  const PublishedRows published{state.published_rows, state.id_bytes};
  if (before_ != nullptr && before_->meta_ == meta_ && before_->row_files_) {
    row_files_ = before_->row_files_;  // with what is mapped and checked already
    row_files_->advance_to(published);
  } else if (dim != 0) {
    row_files_ = RowFiles::open(files_, generation_path(), manifest_.uuid, manifest_.generation,
                                dim, published, options_.read_only);
  }
  view_ = with_store([&](const MetaStore::ReadTxn& store) {
    return make_view(manifest_, store, row_files_.get());
  });
  if (row_files_) start_indexer();
  adopt_indexed_fields(state.published_rows);
  // A reader beside a living writer sees the last checkpoint; the log is then still being written.
  // A snapshot has no log.
  if (is_snapshot(manifest_)) return;
  if (!options_.read_only || !DirectoryLock::holder(path_, files_)) recover();
}

// What the store publishes; a reader stays with this moment.
MetaState Core::read_state() {
  if (options_.read_only) pinned_.emplace(meta_->read());
  const MetaState state = pinned_ ? pinned_->state() : meta_->state();
  const bool has_rows = state.published_rows != 0;
  if (state.published_rows > kMaxRows || (has_rows && manifest_.spaces[0].dimension == 0)) {
    throw Error(ErrorCode::kCorruption,
                generation_path() + "/metadata.db: " + std::to_string(state.published_rows) +
                    " rows do not go with the manifest");
  }
  return state;
}

bool Core::is_at(const std::string& path) const {
  const std::shared_lock state(state_mutex_);
  const auto now =
      files_.info(path + "/" + generation_directory(view()->generation) + "/metadata.db");
  return now && store_file_ && now->device == store_file_->device &&
         now->inode == store_file_->inode;
}

// `path`: of the metadata store, for messages.
RowBitmap Core::load_rows(RowSet set, const MetaStore::ReadTxn& store, Row end,
                          const std::string& path) {
  std::vector<Row> rows;
  const auto collect = [&](std::uint32_t number, ByteSpan bits) {
    for (std::size_t w = 0; w < bits.size() / 8; ++w) {
      for (std::uint64_t word = load<std::uint64_t>(bits.data() + 8 * w); word != 0;
           word &= word - 1) {
        rows.push_back((number << RowBitmap::kChunkBits) +
                       static_cast<Row>(64 * w + static_cast<std::size_t>(__builtin_ctzll(word))));
      }
    }
  };
  store.for_each_chunk(set, collect);
  for (const Row row : rows) {
    if (row < end) continue;
    throw Error(ErrorCode::kCorruption, path + ": row " + std::to_string(row) +
                                            " is marked as deleted, of " + std::to_string(end) +
                                            " rows");
  }
  return RowBitmap().with_rows(rows);
}

void Core::check_stored(const OpenOptions& options) const {
  const std::size_t dim = manifest_.spaces[0].dimension;
  if (options.dimension && dim != 0 && *options.dimension != dim) {
    throw Error(ErrorCode::kDimension, path_ + " was created with dimension " +
                                           std::to_string(dim) + ", asked for " +
                                           std::to_string(*options.dimension));
  }
  if (options.metric) {
    check_same(path_, "metric", metric_name(*options.metric), metric_name(metric_));
  }
  if (options.mode) {
    check_same<std::string>(path_, "mode", mode_name(*options.mode), mode_name(mode_));
  }
  if (options.m) {
    check_same(path_, "m", std::to_string(*options.m), std::to_string(manifest_.m));
  }
  if (options.ef_construction) {
    check_same(path_, "ef_construction", std::to_string(*options.ef_construction),
               std::to_string(manifest_.ef_construction));
  }
}

void Core::join(const OpenOptions& options) {
  const std::lock_guard lock(write_mutex_);
  check_stored(options);
  if (options.durability != options_.durability && !options.read_only) {
    throw Error(ErrorCode::kInvalidInput, path_ + " is open in this process with durability " +
                                              durability_name(options_.durability) +
                                              ", asked for " + durability_name(options.durability));
  }
  if (!options.read_only && with_fields(options)) {
    throw Error(ErrorCode::kInvalidInput,
                path_ + " is open in this process with other indexed_fields than asked for");
  }
  if (options.dimension && !options.read_only && !failed_) set_dimension(*options.dimension);
}

WalOptions Core::wal_options() const {
  WalOptions options;
  if (options_.durability == Durability::kOs) options.buffering = WalBuffering::kShared;
  if (options_.durability == Durability::kMemory) options.buffering = WalBuffering::kProcess;
  return options;
}

// ---- background and closing --------------------------------------------------------------------

// Whether coding and linking had better wait, as there are few processors and rows come in bulk.
// When many have come, that is seen after one pause: as many again have come in it, or not.
bool Core::wait_for_load() {
  if (default_threads() > kFewProcessors) return false;
  const auto now = std::chrono::steady_clock::now();
  const Row rows = view()->rows;
  const Row before = std::min(loaded_rows_.load(), rows);  // fewer: compacted
  if (rows - before >= std::max(kLoadRows, before / kLoadShare)) {
    loaded_rows_ = rows;
    loaded_at_ = now;
  } else {
    loaded_rows_ = before;
  }
  return checkpointing_ || now - loaded_at_ < kLinkPause;
}

// One piece of coding or linking. What went wrong is told in stats(); rows that are not linked are
// scanned.
bool Core::background_index() {
  const std::shared_ptr<Indexer> indexer = this->indexer();
  if (indexer == nullptr || !options_.background || options_.read_only || failed_) return false;
  if (wait_for_load()) {
    // A bulk load keeps two processors busy by itself; its rows are scanned until it pauses. Nor is
    // the memory that linking takes wanted then.
    index_job_->wake_after(kLinkPause);
    return false;
  }
  try {
    if (indexer->step()) return true;
    if (indexer->worth_saving()) indexer->save(false);
    if (options_.lock_memory) lock_memory(false);
    if (calibration_due(*view())) tuning_job_->wake_after(kMeasurePause);
    const std::lock_guard lock(failure_mutex_);
    index_error_.clear();
  } catch (const DerivedDamage& damage) {
    indexer->drop_codes(damage);
    return true;
  } catch (const std::exception& error) {
    const Error* const known = dynamic_cast<const Error*>(&error);
    if (known != nullptr && known->code() == ErrorCode::kInterrupted) return false;
    if (indexer != this->indexer()) return true;  // its files are no more
    const std::lock_guard lock(failure_mutex_);
    index_error_ = error.what();
  }
  return false;
}

void Core::close() {
  if (snapshot_job_) snapshot_job_->stop();
  if (indexer_) indexer_->stop();
  compact_stop_.stop();
  if (prefault_job_) prefault_job_->stop();
  tuning_stop_.stop();
  tuning_job_->stop();
  compact_job_->stop();
  index_job_->stop();
  columns_job_->stop();
  checkpoint_job_->stop();
  // From here on nobody else uses the core.
  std::exception_ptr error;
  if (!options_.read_only && !failed_) {
    try {
      checkpoint();
    } catch (...) {
      error = std::current_exception();
    }
  }
  if (!options_.read_only && !failed_ && !error && indexer_) {
    try {
      indexer_->save(false);
    } catch (const std::exception& problem) {
      post_event(Event::Level::kWarning, path_ + ": codes and graph were not saved and will be " +
                                             "made again: " + problem.what());
    }
  }
  pinned_.reset();
  wal_ = nullptr;
  if (lock_) registry_unwatch_lock(lock_.get());
  lock_ = nullptr;
  if (error) std::rethrow_exception(error);
}

Core::~Core() {
  if (snapshot_job_) snapshot_job_->stop();
  if (indexer_) indexer_->stop();
  compact_stop_.stop();
  if (prefault_job_) prefault_job_->stop();
  tuning_stop_.stop();
  if (tuning_job_) tuning_job_->stop();
  if (compact_job_) compact_job_->stop();
  if (index_job_) index_job_->stop();
  if (columns_job_) columns_job_->stop();
  if (checkpoint_job_) checkpoint_job_->stop();
  if (lock_) registry_unwatch_lock(lock_.get());
}

}  // namespace srvdb
