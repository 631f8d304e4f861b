// Core: moving what is pending into the metadata store, and what is derived onto disk.

#include <algorithm>
#include <set>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/base/planted_bugs.h"
#include "srvdb/database/column_writer.h"
#include "srvdb/database/core.h"
#include "srvdb/database/row_chunks.h"

namespace srvdb {
namespace {

constexpr auto kCheckpointRetry = std::chrono::seconds(5);

// Rows that are gone keep what their columns say, as nobody sees them.
void put_columns(ColumnWriter& columns, const PendingChanges& changes, const RowBitmap& gone) {
  for (const auto& [row, text] : changes.metadata_by_row()) {
    if (!gone.test(row)) columns.add(row, text);
  }
  if (planted(Bug::kForgetColumnUpdate)) return;
  for (const auto& [row, text] : changes.edited_metadata()) {
    if (!gone.test(row)) columns.replace(row, text);
  }
}

}  // namespace

// Takes the active side out of the way; the next one starts empty. Null when there is nothing to
// do.
std::shared_ptr<const Core::Frozen> Core::freeze() {
  std::unique_lock lock(write_mutex_);
  if (frozen_) return frozen_;  // an earlier checkpoint failed: its changes come first
  freezing_ = true;
  published_.wait(lock, [&] { return in_flight_.empty(); });
  freezing_ = false;
  published_.notify_all();
  const std::shared_ptr<const View> view = this->view();
  {
    const std::shared_lock state(state_mutex_);
    if (view->sequence == applied_ && active_.empty()) return nullptr;
  }
  flush_buffer();
  const WalPlace log_end = wal_->rotate();
  auto frozen = std::make_shared<Frozen>();
  frozen->upto = view->sequence;
  frozen->log_end = log_end;
  frozen->rows = view->rows;
  frozen->id_bytes = row_files_ ? row_files_->id_bytes() : 0;
  const std::unique_lock state(state_mutex_);
  const std::shared_ptr<const View> last = this->view();  // rows may have expired meanwhile
  frozen->gone = last->gone;
  frozen->soft = last->soft;
  frozen->live = last->live();
  frozen->changes = std::exchange(active_, PendingChanges());
  frozen_ = frozen;
  checkpointing_ = true;
  return frozen;
}

// Rows are on disk before the transaction that publishes them commits; the disk works on them while
// the transaction is being made.
void Core::write_frozen(const Frozen& frozen) {
  if (row_files_) row_files_->start_sync();
  const PendingChanges& changes = frozen.changes;
  LargeVector<IdRow> ids;
  std::vector<std::string_view> removed;
  ids.reserve(changes.size());
  for (const auto& [id, row] : changes.sorted()) {
    if (row != kNoRow) {
      ids.push_back({id, row});
    } else {
      removed.push_back(id);
    }
  }
  ColumnWriter columns(FieldCatalogue(meta_->read()));
  put_columns(columns, changes, frozen.gone);
  meta_->update([&](MetaStore::WriteTxn& txn) {
    txn.put_ids(ids);
    for (const std::string_view id : removed) txn.erase_id(id);
    for (const auto& [row, text] : changes.metadata_by_row()) {
      if (!frozen.gone.test(row)) txn.put_metadata(row, text);
    }
    for (const auto& [row, text] : changes.edited_metadata()) {
      if (!frozen.gone.test(row)) txn.put_metadata(row, text);
    }
    columns.apply(txn);
    for (const auto& [row, moment] : changes.expiry_by_row()) {
      if (!frozen.gone.test(row)) {
        txn.set_expiry(row, moment == 0 ? std::nullopt : std::optional(moment));
      }
    }
    for (const Row row : changes.retired()) {
      txn.erase_metadata(row);
      txn.set_expiry(row, std::nullopt);
    }
    if (!planted(Bug::kLoseTombstone)) {
      put_chunks(txn, RowSet::kGone, frozen.gone, changes.retired());
    }
    if (!planted(Bug::kForgetSoftDeletes)) {
      put_chunks(txn, RowSet::kSoft, frozen.soft, changes.soft_touched());
    }
    for (const auto& [sequence, entry] : changes.log()) {
      if (planted(Bug::kForgetLogEntry) && sequence % 8 == 0) continue;
      txn.put_log(sequence, as_byte_span(entry));
    }
    if (changes.log_trimmed_before() > 0) txn.erase_log_before(changes.log_trimmed_before());
    if (row_files_ && !planted(Bug::kSkipRowSync)) sync_rows();
    MetaState state;
    state.applied_sequence = frozen.upto;
    state.published_rows = frozen.rows;
    state.id_bytes = frozen.id_bytes;
    state.live_count = frozen.live;
    state.log_segment = frozen.log_end.first;
    state.log_bytes = frozen.log_end.bytes;
    txn.set_state(state);
  });
}

// Returns when everything published before the call is in the metadata store and on disk.
void Core::checkpoint() {
  const std::lock_guard one(checkpoint_mutex_);
  const Sequence wanted = view()->sequence;
  do {
    check_writable();
    try {
      const std::shared_ptr<const Frozen> frozen = freeze();
      if (!frozen) return;
      if (planted(Bug::kDropLogEarly)) wal_->remove_through(frozen->upto);
      write_frozen(*frozen);
      wal_->mark_durable(frozen->upto);
      const std::lock_guard lock(write_mutex_);
      {
        const std::unique_lock state(state_mutex_);
        applied_ = frozen->upto;
        applied_rows_ = frozen->rows;
        frozen_ = nullptr;
        checkpointing_ = false;
      }
      checkpoint_failed_ = false;
      published_.notify_all();
      wal_->remove_through(previous_checkpoint_);
      previous_checkpoint_ = frozen->upto;
    } catch (const std::exception& error) {
      // Without room or memory the changes wait for the next try; after any other failure nothing
      // more is written.
      const Error* const known = dynamic_cast<const Error*>(&error);
      if (known != nullptr && !is_no_space(known->os_error())) fail(error.what());
      const std::lock_guard lock(write_mutex_);
      checkpoint_failed_ = true;
      published_.notify_all();
      throw;
    }
  } while (applied_ < wanted);
}

bool Core::background_checkpoint() {
  try {
    checkpoint();
    const std::lock_guard lock(failure_mutex_);
    checkpoint_error_.clear();
    if (worth_compacting()) compact_job_->wake();
  } catch (const std::exception& error) {
    if (!failed_) checkpoint_job_->wake_after(kCheckpointRetry);
    const std::lock_guard lock(failure_mutex_);
    checkpoint_error_ = error.what();
  }
  return false;
}

void Core::persist() {
  if (options_.read_only) return;
  check_writable();
  checkpoint();
}

Row Core::checkpointed_rows() {
  checkpoint();
  return applied_rows_;
}

void Core::store_derived(std::uint64_t generation, std::vector<ManifestDerived> derived) {
  const std::lock_guard lock(write_mutex_);
  if (generation != manifest_.generation || derived == manifest_.derived) return;
  check_writable();  // after a failure the manifest may be another one than this core knows
  Manifest manifest = manifest_;
  manifest.derived = std::move(derived);
  replace_manifest(std::move(manifest));
}

void Core::optimize(std::size_t threads, const Progress& progress, Interrupt* interrupt) {
  if (options_.read_only) return;
  {
    const std::unique_lock lock = writer_turn({});
    flush_buffer();
  }
  while (const std::shared_ptr<Indexer> indexer = this->indexer()) {
    try {
      try {
        indexer->optimize(threads, progress, interrupt);
      } catch (const DerivedDamage& damage) {
        indexer->drop_codes(damage);  // and once more, from the rows
        indexer->optimize(threads, progress, interrupt);
      }
      indexer->save(true);
      calibrate(threads, interrupt);
    } catch (const Error&) {
      // Another generation took this one's place: its own is what matters.
      if (indexer != this->indexer() && (interrupt == nullptr || !interrupt->stopped())) continue;
      throw;
    }
    if (indexer == this->indexer()) break;
  }
  if (!indexer()) checkpoint();
  index_job_->wake();  // rows that came meanwhile
}

void Core::set_mode(Mode mode) {
  const std::unique_lock lock = writer_turn({});
  if (mode_.load() == mode) return;
  Manifest manifest = manifest_;
  manifest.mode = stored_number(mode);
  replace_manifest(std::move(manifest));
  mode_ = mode;
  if (const std::shared_ptr<Indexer> indexer = this->indexer()) {
    indexer->set_mode(mode);
    index_job_->wake();
  }
}

}  // namespace srvdb
