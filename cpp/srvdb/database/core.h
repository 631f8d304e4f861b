// One open directory: the state behind every handle to it.
//
// A write, in order (docs: cpp/README.md, "One write"): check the batch (no lock); under the write
// lock look up ids, reserve rows, put the rows where they wait, append the log record; sync as the
// durability asks; publish in sequence order; return. A search takes the current View and no other
// lock. A checkpoint moves what is pending into the metadata store in the background.
//
// Locks, in the order in which they may be taken: maintenance_mutex_, checkpoint_mutex_,
// write_mutex_, state_mutex_, view_mutex_. The indexer has its own, taken before any of these.
// Files: core_open.cpp (open, create, close), core_recover.cpp, core_write.cpp (batches of rows),
// core_change.cpp (changes of rows that exist; publishing), core_expiry.cpp, checkpoint.cpp,
// core_search.cpp, core_filter.cpp (rows that match a filter), core_group.cpp (the best of each
// group), core_facet.cpp (values with counts), core_tuning.cpp (recall, and what it costs),
// core_memory.cpp, core_records.cpp (look-ups by id, stats), core_columns.cpp (columns of
// metadata), core_log.cpp (the change log), core_generation.cpp, core_snapshot.cpp (snapshots,
// restoring, backups).
//
// Compaction and restoring put another generation's files in the place of the present one's:
// switch_generation() swaps meta_, row_files_ and indexer_ while it holds every lock but
// maintenance_mutex_ (held by its caller), so whoever holds one of those that guard a member sees
// it unchanged. Whatever outlives the lock (a View, a read transaction, an Indexer at work) keeps
// the old generation's objects alive, and the indexer of an old generation publishes nothing.
//
// After a failed write other than "no room", or any failed sync, files may hold anything above
// what was published: fail() turns the core read-only, and what it shows stays as it was.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "srvdb/base/error.h"
#include "srvdb/base/scheduler.h"
#include "srvdb/database/calibrator.h"
#include "srvdb/database/database.h"
#include "srvdb/database/field_catalogue.h"
#include "srvdb/database/filter_cache.h"
#include "srvdb/database/indexer.h"
#include "srvdb/database/memory_budget.h"
#include "srvdb/database/pending.h"
#include "srvdb/database/query_ring.h"
#include "srvdb/database/search_scope.h"
#include "srvdb/database/view.h"
#include "srvdb/index/flat.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/storage/lock.h"
#include "srvdb/storage/manifest.h"
#include "srvdb/storage/meta_store.h"
#include "srvdb/storage/record.h"
#include "srvdb/storage/row_files.h"
#include "srvdb/storage/wal.h"

namespace srvdb {

class RowDocuments;  // row_documents.h

// Numbers in the manifest start at 1 (cpp/FORMAT.md).
inline std::uint8_t stored_number(Mode mode) noexcept {
  return static_cast<std::uint8_t>(static_cast<unsigned>(mode) + 1);
}
inline std::uint8_t stored_number(Metric metric) noexcept {
  return static_cast<std::uint8_t>(static_cast<unsigned>(metric) + 1);
}

class Core final : public IndexHost {
 public:
  static void check_options(const OpenOptions& options);
  static void check_ef(std::uint32_t ef);
  static void check_recall(double recall);
  // Makes the directory when it may; refuses one of srvdb 0.1-0.3.
  static void prepare_directory(const std::string& path, const OpenOptions& options);
  static std::shared_ptr<Core> open(const std::string& path, const OpenOptions& options);
  // Checks another handle's options against this core.
  void join(const OpenOptions& options);
  ~Core() override;
  void close();

  std::size_t write(const Batch& batch, bool upsert);
  std::size_t update(std::span<const Update> updates, std::size_t dim);
  // Deletes, soft-deletes or restores.
  std::size_t change_targets(RecordType type, std::span<const std::string_view> ids);
  // The same for the rows that a filter finds, in pieces that are each one change.
  std::size_t change_where(RecordType type, std::string_view where);
  std::size_t update_where(std::string_view where, const Update& update);
  // Takes a sequence for something that changes no row, so that the change log tells it.
  Sequence log_event(LogOperation operation, std::string_view details);
  std::size_t chunk_rows(std::size_t dim) const;
  void persist();
  void optimize(std::size_t threads, const Progress& progress, Interrupt* interrupt);
  void set_mode(Mode mode);
  // Drops the rows that are gone; bytes given back to the file system (fewer than none when what
  // was dropped is less than what came meanwhile). kInterrupted changes nothing.
  std::int64_t compact(const Progress& progress, Interrupt* interrupt);

  SearchResult search(const float* query, std::size_t dim, const SearchOptions& options);
  std::vector<SearchResult> search_groups(const float* queries, std::size_t n, std::size_t dim,
                                          const SearchOptions& options,
                                          std::span<const std::string_view> wheres,
                                          std::span<const std::vector<std::string>> among,
                                          Interrupt* interrupt);
  std::vector<SearchResult> search_batch(const float* queries, std::size_t n, std::size_t dim,
                                         const SearchOptions& options,
                                         std::span<const std::string_view> wheres,
                                         Interrupt* interrupt);

  // Reading may note that rows have expired.
  bool contains(std::string_view id);
  std::optional<std::string> metadata(std::string_view id);
  std::vector<std::optional<Record>> records(std::span<const std::string_view> ids,
                                             const RecordOptions& options);
  std::vector<std::string> deleted_ids();
  std::vector<LogEntry> change_log(const LogQuery& query) const;
  std::uint64_t trim_change_log(Sequence before);
  Sequence change_log_at(std::int64_t time_us) const;
  std::vector<Record> scroll(std::string_view after, std::size_t limit,
                             const RecordOptions& options);
  std::optional<std::string> hit_metadata(const View& view, Row row) const;
  std::vector<float> hit_embedding(const View& view, Row row) const;
  std::size_t count(std::string_view where, Interrupt* interrupt);
  std::vector<FacetValue> facet(std::string_view field, std::string_view where, std::size_t limit,
                                Interrupt* interrupt);
  Explanation explain(std::string_view where, Interrupt* interrupt);
  Stats stats() const;

  SnapshotInfo create_snapshot(const std::string& name);
  std::vector<SnapshotInfo> snapshots() const;
  std::string path_of_snapshot(const std::string& name) const;
  void drop_snapshot(const std::string& name);
  void restore_snapshot(const std::string& name, bool keep_current);
  void backup(const std::string& path, bool compressed);
  // Of a read-only core: another one that shows the newest state and shares with this one what it
  // can, or null when there is nothing newer.
  std::shared_ptr<Core> refreshed();

  const std::string& path() const noexcept { return path_; }
  Uuid uuid() const { return current_manifest().uuid; }
  bool read_only() const noexcept { return options_.read_only; }
  Metric metric() const noexcept { return metric_; }

  std::shared_ptr<const View> view() const override;
  void publish_index(std::uint64_t generation, std::shared_ptr<const IndexView> index) override;
  void change_index(std::uint64_t generation,
                    const std::function<void(IndexView&)>& change) override;
  Row checkpointed_rows() override;
  void store_derived(std::uint64_t generation, std::vector<ManifestDerived> derived) override;
  // Keeps the pages of metadata.db that the last checkpoint uses as they are while it lives, for
  // who reads that file by itself. Null for a reader, which does so anyway. Holds up a checkpoint
  // that must enlarge the map.
  std::shared_ptr<const void> pin_store() const;
  // True while the path still leads to the files this core has open (nobody removed and remade it).
  bool is_at(const std::string& path) const;

 private:
  // What a change makes of one row that exists; `now` is `old` unless it gets a new vector.
  struct UpdatedRow {
    Row old = kNoRow;
    Row now = kNoRow;
    std::optional<std::string> metadata;     // to be set; carried over for a new row
    std::optional<std::int64_t> expires_at;  // likewise
  };
  // A change on its way from the log to the View; borrows the caller's memory.
  struct Change {
    RecordType type = RecordType::kAdd;
    Sequence sequence = 0;
    std::int64_t time_us = 0;
    std::span<const std::string_view> ids;       // added or changed
    std::span<const std::string_view> metadata;  // of added ids; empty: none
    std::span<const std::int64_t> expires_at;    // of added ids; empty: never
    Row first_row = 0;                           // of added rows
    Row new_rows = 0;
    std::vector<UpdatedRow> updated;  // kUpdate: one for each id
    std::vector<Row> retired;         // rows that are gone now
    std::vector<Row> soft_deleted, restored;
    LogOperation operation = LogOperation::kAdd;  // for the change log
    std::string details;                          // for the change log, JSON or nothing
    bool adds() const noexcept { return type == RecordType::kAdd || type == RecordType::kUpsert; }
  };
  // What an id stands for.
  struct Target {
    std::size_t index = 0;  // into the list of ids
    Row row = kNoRow;
    bool soft = false;
  };
  // Pending changes on their way into the metadata store.
  struct Frozen {
    PendingChanges changes;
    Sequence upto = 0;
    Row rows = 0;
    std::uint64_t id_bytes = 0;
    RowBitmap gone, soft;
    std::size_t live = 0;
    WalPlace log_end;
  };

  // While one lives no batch is taken, none is in flight, and all that was published is in the
  // store: manifest_, view(), applied_ and the files stand still. Searches and look-ups go on. The
  // caller holds maintenance_mutex_ and must not be inside of any other lock.
  class Standstill {
   public:
    explicit Standstill(Core& core);  // waits for writers, then makes a checkpoint
    ~Standstill();
    Standstill(const Standstill&) = delete;
    Standstill& operator=(const Standstill&) = delete;

   private:
    void release();
    Core& core_;
    std::unique_lock<std::mutex> checkpoint_;
    std::unique_lock<std::mutex> write_;
  };
  // A generation directory made aside, complete and synced (its files, its own names and its name
  // in path_), ready to take the present one's place.
  struct NextGeneration {
    std::uint64_t generation = 0;  // above the present one
    std::uint32_t dimension = 0;   // the present one's, or 0 for a state before it was known
    std::vector<ManifestDerived> derived;  // codes and graph in the directory
    // Open for writing. Its state is that of the new generation: its applied sequence is the one
    // that the log goes on from, at least the sequence of view(); higher by what was put into its
    // change log beyond that.
    std::shared_ptr<MetaStore> meta;
    std::shared_ptr<RowFiles> rows;  // open for writing; null without a dimension
  };

  Core(std::string path, const OpenOptions& options);
  static std::shared_ptr<Core> open(const std::string& path, const OpenOptions& options,
                                    const Core* before);

  // core_generation.cpp
  std::shared_ptr<MetaStore> open_meta(const Manifest& manifest, bool create) const;
  std::shared_ptr<View> make_view(const Manifest& manifest, const MetaStore::ReadTxn& store,
                                  RowFiles* rows) const;
  std::shared_ptr<Indexer> make_indexer(const Manifest& manifest) const;
  void start_indexer();
  std::shared_ptr<Indexer> indexer() const;
  // Puts a prepared generation in the place of the present one. The commit point is the manifest:
  // when it throws with the database still writable, nothing has changed and the new directory may
  // be removed; when it throws and the database has turned read-only (failed_), either generation
  // may be the one on disk and both directories must stay. The present generation's directory is
  // removed afterwards (unlinked: mappings and snapshots live on).
  void switch_generation(const Standstill& standstill, NextGeneration next);
  void commit_manifest(const Manifest& manifest);
  void remove_leftovers() noexcept;

  // core_snapshot.cpp; maintenance_mutex_ is held
  struct Copied {
    MetaState state;
    Manifest manifest;
    std::vector<ManifestFile> lengths;  // that its files must have
  };
  Manifest current_manifest() const;
  std::shared_ptr<MetaStore> store() const;
  Copied copy_database(const std::string& to, const Manifest& manifest, bool link);
  SnapshotInfo make_snapshot(std::string name, bool any_name, bool automatic,
                             const Manifest& manifest);
  NextGeneration copy_snapshot(const Manifest& snapshot, const std::string& from,
                               std::uint64_t generation);
  void note_restore(MetaStore& restored, const std::string& name, const std::string& kept);
  void refuse_snapshot_writer() const;
  void schedule_snapshot();
  bool background_snapshot();
  bool changed_since_snapshot() const;
  std::string prune_snapshots();

  // core_open.cpp, core_recover.cpp
  using Refuse = std::function<void(const std::string& why)>;  // throws kCorruption
  void create_new();
  void open_existing(Manifest manifest);
  MetaState read_state();
  void open_store(bool create);
  void check_stored(const OpenOptions& options) const;
  static RowBitmap load_rows(RowSet set, const MetaStore::ReadTxn& store, Row end,
                             const std::string& path);
  WalPlace end_of_log() const;
  void recover();
  std::string replay(const WalRecord& raw);
  std::string replay_rows(const DecodedRecord& record, std::span<const std::string_view> ids,
                          const Refuse& refuse);
  std::string replay_update(const DecodedRecord& record, Change& change, const Refuse& refuse);
  void replay_inline(const InlineRows& rows, std::span<const std::string_view> ids,
                     const Refuse& refuse);
  std::string replay_direct(const DirectRows& rows, std::span<const std::string_view> ids,
                            const Refuse& refuse);
  void place_replayed(std::span<const float> values, std::span<const RowFix> fixes,
                      std::span<const std::string_view> ids);
  WalOptions wal_options() const;
  std::string generation_path() const;
  std::string generation_path(std::uint64_t generation) const;
  void start();
  void start_background();
  bool wait_for_load();
  bool background_index();

  // core_columns.cpp
  std::optional<FieldCatalogue> with_fields(const OpenOptions& options) const;
  void adopt_indexed_fields(Row published);
  bool columns_are_due() const;
  bool make_columns(Row most);
  bool background_columns();

  // core_write.cpp
  void check_writable() const;
  std::size_t write_distinct(const Batch& batch, std::span<const std::uint32_t> order, bool upsert);
  void set_dimension(std::size_t dim);
  void replace_manifest(Manifest manifest);
  std::optional<Row> find_pending(std::string_view id) const;
  void find_existing(std::span<const std::string_view> ids,
                     const std::function<void(std::size_t, Row)>& found) const;
  bool is_new(std::string_view id) const;
  std::vector<Target> find_targets(std::span<const std::string_view> ids) const;
  std::vector<Row> look_up(const Batch& batch, std::span<const std::uint32_t> order,
                           bool upsert) const;
  void store_rows(const Batch& batch, RecordBuilder& record);
  std::vector<RowFix> write_direct(const Batch& batch);
  void forget_rows(std::span<const std::string_view> ids);
  void log(Change& change, RecordBuilder& record);
  void finish(Change& change, std::unique_lock<std::mutex>& lock);
  void end_of_flight();
  void show_rows(std::shared_ptr<RowBuffer> buffer);
  void begin_buffer(std::size_t capacity);
  void flush_buffer();
  void sync_rows();
  std::size_t buffer_capacity() const;
  std::unique_lock<std::mutex> writer_turn(std::span<const std::string_view> ids);
  bool is_in_flight(std::span<const std::string_view> ids) const;
  void fail(const std::string& why);
  // Runs a step that writes to files; fails the core when that fails for want of anything but room.
  template <typename Step>
  auto writing(Step&& step);
  template <typename ChangeView>
  void update_view(ChangeView&& change);

  // core_change.cpp
  // `only`: the rows that it may concern; null: all.
  Change target_change(RecordType type, std::span<const std::string_view> ids,
                       std::vector<std::string_view>& targets, const RowBitmap* only) const;
  std::size_t write_targets(RecordType type, std::span<const std::string_view> ids,
                            std::string_view where);
  void write_update(std::span<const Update> updates, std::size_t dim,
                    std::unique_lock<std::mutex>& lock);
  static std::string update_details(std::span<const Update> updates);
  Change update_change(std::span<const Update> updates) const;
  void carry_over(Change& change, std::span<const Update> updates) const;
  void publish(const Change& change);
  void put_pending(const Change& change);
  void show(const Change& change);

  // core_log.cpp
  using LogVisitor = std::function<bool(Sequence sequence, ByteSpan bytes)>;
  void each_log_entry(const MetaStore::ReadTxn& store, Sequence after,
                      const LogVisitor& visit) const;
  void each_log_entry_back(const MetaStore::ReadTxn& store, const LogVisitor& visit) const;
  Sequence log_trimmed_before() const;
  Sequence first_pending_entry() const;
  std::uint64_t count_log_before(Sequence before) const;
  // Puts the change-log entries above `after` of one store into another; the last one's sequence.
  static Sequence carry_log(const MetaStore::ReadTxn& from, MetaStore& to, Sequence after,
                            const std::function<void()>& done);
  void continue_history(MetaStore::WriteTxn& to, const MetaStore::ReadTxn& present, MetaState state,
                        LogOperation operation, std::string_view details) const;

  // core_expiry.cpp; state_mutex_ is held, but for the first
  void expire_due();
  void watch_expiry(const Change& change);
  void watch_expiry(Row row, std::int64_t expires_at);
  void load_due(const MetaStore::ReadTxn& store);
  std::int64_t expiry_of(const MetaStore::ReadTxn& store, Row row) const;
  void expire(const std::vector<Row>& rows);
  void set_next_due();

  // core_compact.cpp
  class Compaction;
  bool worth_compacting() const;
  bool background_compact();
  std::vector<Row> touched_rows() const;

  // checkpoint.cpp
  void checkpoint();
  std::shared_ptr<const Frozen> freeze();
  void write_frozen(const Frozen& frozen);
  bool background_checkpoint();
  bool pending_is_full(std::size_t sides) const;

  // core_tuning.cpp
  SearchOptions tuned(const View& view, SearchOptions options);
  void note_queries(const float* queries, std::size_t n, std::size_t dim);
  bool calibration_due(const View& view) const;
  bool calibration_is_fresh(const View& view) const;
  std::vector<std::uint32_t> hits_to_measure(const View& view) const;
  std::unique_ptr<Calibrator> make_calibrator(const View& view);
  void keep_calibration(const Calibrator& calibrator);
  void end_calibration(const View& view, bool damaged);
  bool questions_are_new(const View& view) const;
  bool background_calibrate();
  void calibrate(std::size_t threads, Interrupt* interrupt);
  Tuning tuning(const View& view) const;

  // core_memory.cpp
  void start_prefault();
  bool background_prefault();
  void lock_memory(bool must);

  // core_search.cpp
  void check_query(const View& view, const float* queries, std::size_t n, std::size_t dim,
                   const SearchOptions& options) const;
  void drop_graph(const View& view);
  void drop_codes(const View& view, const DerivedDamage& damage);
  Mode searching(const View& view, const SearchOptions& options, std::size_t queries) const;
  std::vector<ScoredRow> search_rows(const Scope& scope, const float* query,
                                     const SearchOptions& options, Interrupt* interrupt);
  std::vector<ScoredRow> complete(const Scope& scope, const float* query,
                                  const SearchOptions& options, const GraphSearchOptions& graph,
                                  GraphResult&& result);
  void search_turns(const Scope& scope, std::span<const float> queries,
                    const SearchOptions& options, std::span<SearchResult> out);
  void search_scope(const Scope& scope, std::span<const float> queries,
                    const SearchOptions& options, std::span<SearchResult> out,
                    Interrupt* interrupt);
  SearchResult finish_search(std::shared_ptr<const View> view,
                             std::span<const ScoredRow> rows) const;

  // core_filter.cpp
  Matching match(std::span<const std::string_view> wheres, Interrupt* interrupt = nullptr);
  // state_mutex_ is held
  FilterCache::Entry match_now(std::string_view where, const std::shared_ptr<const View>& view,
                               const MetaStore::ReadTxn& store);
  FilterStep filter_step(const FilterCache::Entry& filter, const View& view) const;  // likewise
  std::shared_ptr<const PendingChanges> frozen_changes() const;                      // likewise
  void note_edit(Sequence sequence, Row row);                                        // likewise
  std::vector<Row> last_edits(std::size_t n) const;                                  // likewise
  class GroupSearch;
  SearchResult best_groups(const float* query, std::size_t dim, const SearchOptions& options,
                           Interrupt* interrupt);
  void with_documents(const std::function<void(const RowDocuments& documents)>& look) const;
  FilterCache::Entry match_in(std::string_view where, const RowDocuments& documents,
                              Interrupt* interrupt);
  Scope scope(std::string_view where, bool include_deleted, Interrupt* interrupt = nullptr);
  Scope scope(const Matching& matching, std::size_t filter, std::string_view where,
              bool include_deleted);
  std::vector<std::string_view> matching_ids(const Matching& matching) const;

  // Runs read(transaction) on the store: a fresh snapshot, or the pinned one of a reader.
  template <typename Read>
  auto with_store(Read&& read) const;

  // core_records.cpp; state_mutex_ is held
  std::optional<Row> find_row(const MetaStore::ReadTxn& store, std::string_view id) const;
  Record read_record(const MetaStore::ReadTxn& store, const View& view, std::string_view id,
                     Row row, const RecordOptions& options) const;
  void scroll_all(const MetaStore::ReadTxn& store, std::string_view after, std::size_t page,
                  const std::function<bool(std::string_view id, Row row)>& take) const;
  std::string metadata_of(const MetaStore::ReadTxn& store, Row row) const;

  const std::string path_;
  const OpenOptions options_;
  FileSystem& files_;
  Metric metric_ = Metric::kCosine;
  GraphParams graph_params_;
  std::atomic<Mode> mode_{Mode::kAuto};
  std::unique_ptr<DirectoryLock> lock_;
  // Changed under checkpoint_mutex_, write_mutex_ and state_mutex_ together: any of them guards it.
  std::shared_ptr<MetaStore> meta_;
  WalPlace applied_log_;                // of the store as it was opened
  std::optional<FileInfo> store_file_;  // metadata.db as it was opened; guarded as meta_

  std::mutex maintenance_mutex_;      // one snapshot, restore, backup or compaction at a time
  std::mutex checkpoint_mutex_;       // one checkpoint at a time
  Sequence previous_checkpoint_ = 0;  // guarded by checkpoint_mutex_: log up to here may go

  mutable std::mutex write_mutex_;  // guards what follows
  Manifest manifest_;
  std::shared_ptr<RowFiles> row_files_;  // for write_frozen() guarded by checkpoint_mutex_ too
  std::unique_ptr<WalWriter> wal_;
  std::shared_ptr<RowBuffer> buffer_;
  std::shared_ptr<RowBuffer> spare_buffer_;  // memory for the next one; nobody else has it
  std::string log_entry_;                    // memory for the one being made
  Row next_row_ = 0;                         // rows reserved, published or not
  std::deque<Change*> in_flight_;  // logged, not yet synced, in sequence order ("disk" only)
  std::set<std::string, std::less<>> in_flight_ids_;  // what they change
  std::condition_variable published_;  // in_flight_ became shorter, or a checkpoint ended
  bool freezing_ = false;              // a checkpoint waits for in_flight_ to empty: no new batches
  bool held_ = false;                  // a Standstill: no new batches
  bool checkpoint_failed_ = false;     // the last one did, and may be tried again

  mutable std::shared_mutex state_mutex_;  // guards what follows; Views are swapped under it too
  bool compacting_ = false;                // then touched_rows_ notes
  std::vector<Row> touched_rows_;          // rows whose metadata or expiry changed
  PendingChanges active_;
  std::shared_ptr<const Frozen> frozen_;
  std::deque<std::pair<Sequence, Row>> recent_edits_;  // rows whose metadata changed in place
  Sequence edits_after_ = 0;                           // all such changes above it are there
  std::set<std::pair<std::int64_t, Row>> due_;         // what expires up to due_until_, in order
  std::pair<std::int64_t, Row> due_until_{-1, 0};
  std::atomic<std::int64_t> next_due_{-1};  // milliseconds; before the first look: at once

  mutable std::mutex view_mutex_;
  std::shared_ptr<const View> view_;  // guarded by view_mutex_
  std::shared_ptr<Indexer> indexer_;  // guarded by view_mutex_; null while there is no dimension

  // Read-only: the state this core shows, pinned in the store for as long as it is open.
  const Core* before_ = nullptr;  // while starting: the core whose files may be shared
  mutable std::mutex pinned_mutex_;
  std::optional<MetaStore::ReadTxn> pinned_;  // guarded by pinned_mutex_

  std::atomic<Sequence> applied_{0};        // in the metadata store
  std::atomic<Row> applied_rows_{0};        // published by it
  std::atomic<bool> checkpointing_{false};  // changes are frozen and not yet in the store
  std::atomic<bool> failed_{false};
  mutable std::mutex failure_mutex_;
  std::string failure_;           // guarded by failure_mutex_: why writes are refused
  std::string checkpoint_error_;  // guarded by failure_mutex_: of the last one in the background
  std::string index_error_;       // guarded by failure_mutex_: of the last piece of linking
  std::string snapshot_error_;    // guarded by failure_mutex_: of the last automatic snapshot
  std::string tuning_error_;      // guarded by failure_mutex_: of the last measuring

  std::unique_ptr<BackgroundJob> checkpoint_job_;
  std::unique_ptr<BackgroundJob> columns_job_;
  std::unique_ptr<BackgroundJob> index_job_;
  std::unique_ptr<BackgroundJob> compact_job_;
  Interrupt compact_stop_;
  std::unique_ptr<BackgroundJob> snapshot_job_;

  FilterCache filters_;
  QueryRing queries_;
  std::atomic<bool> recall_wanted_{false};       // a search has named one
  std::atomic<std::uint32_t> wanted_hits_{0};    // bit i: step i of kMeasuredHits was asked for
  std::atomic<std::uint64_t> measured_upto_{0};  // queries_.entered() when last measured
  std::atomic<bool> calibrating_{false};
  mutable std::mutex calibrator_mutex_;     // one measurement at a time; taken before any above
  std::unique_ptr<Calibrator> calibrator_;  // guarded by calibrator_mutex_: at work in pieces
  std::chrono::steady_clock::time_point measured_at_{};  // guarded by calibrator_mutex_
  std::unique_ptr<BackgroundJob> tuning_job_;

  std::shared_ptr<MemoryBudget> memory_;  // never null
  std::unique_ptr<BackgroundJob> prefault_job_;
  std::vector<std::span<const std::uint8_t>> to_bring_in_;  // prefault_job_'s, of the view below
  std::shared_ptr<const IndexView> brought_in_;
  std::atomic<Row> loaded_rows_{0};                    // rows there were when many had come
  std::chrono::steady_clock::time_point loaded_at_{};  // index_job_'s: and when that was
  struct LockedRows {
    Row coded = 0;
    Row linked = 0;
    Row short_coded = 0;
    const void* short_codes = nullptr;
    bool operator==(const LockedRows&) const = default;
  };
  LockedRows locked_rows_;  // index_job_'s: when last locked
  bool lock_told_ = false;  // index_job_'s: that memory cannot be locked any more
  Interrupt tuning_stop_;
};

template <typename Read>
auto Core::with_store(Read&& read) const {
  if (pinned_) {
    const std::lock_guard lock(pinned_mutex_);
    return read(*pinned_);
  }
  return read(meta_->read());
}

template <typename Step>
auto Core::writing(Step&& step) {
  try {
    return step();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kStorage && !is_no_space(error.os_error())) fail(error.what());
    throw;
  }
}

// A change that cannot fail is made in the View itself when nobody else holds it: new references
// can only be had under view_mutex_, and counting one up orders the change after the last reader's
// release.
template <typename ChangeView>
void Core::update_view(ChangeView&& change) {
  const std::lock_guard lock(view_mutex_);
  if constexpr (noexcept(change(std::declval<View&>()))) {
    const std::shared_ptr<const View> mine = view_;
    if (mine.use_count() == 2) return change(const_cast<View&>(*mine));  // was made without const
  }
  auto next = std::make_shared<View>(*view_);
  change(*next);
  view_ = std::move(next);
}

}  // namespace srvdb
