// Core: compaction, which drops rows that are gone for good.
//
// A new generation is made aside from the last checkpoint: kept rows in their order, their ids,
// metadata, moments of expiry and soft-delete bits, the change log, codes and links. Searches and
// writes go on meanwhile; what they add is copied in rounds, all of it, gone or not. Then writers
// wait while the last of it and every later change of the copied rows is brought over, and the
// generations are switched (core_generation.cpp): the manifest is the commit point. Until then a
// failure leaves nothing but a directory that is removed.

#include <algorithm>
#include <cstring>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/base/events.h"
#include "srvdb/base/planted_bugs.h"
#include "srvdb/database/column_writer.h"
#include "srvdb/database/core.h"
#include "srvdb/database/row_chunks.h"
#include "srvdb/index/row_mapping.h"

namespace srvdb {
namespace {

constexpr std::size_t kPieceBytes = 1u << 20;  // of rows copied between two looks at the interrupt
constexpr std::size_t kPieceEntries = 32u << 10;  // of a tree, written in one transaction
constexpr std::size_t kPieceText = 8u << 20;      // bytes of the same
constexpr Row kShortRest = 20'000;                // rows that writers may be kept waiting for
constexpr int kMostRounds = 8;

std::mutex& automatic_mutex() {
  static std::mutex mutex;  // one automatic compaction at a time in the process
  return mutex;
}

}  // namespace

class Core::Compaction {
 public:
  Compaction(Core& core, const Progress& progress, Interrupt* interrupt)
      : core_(core), files_(core.files_), progress_(progress), interrupt_(interrupt) {}

  // Bytes given back.
  std::int64_t run();

 private:
  // One row in the old and in the new generation.
  struct Pair {
    Row old = kNoRow;
    Row now = kNoRow;
  };
  void start();
  void copy_kept_rows();
  void copy_index();
  void copy_store();
  void copy_ids(const MetaStore::ReadTxn& from);
  void copy_metadata(const MetaStore::ReadTxn& from);
  void copy_expiry(const MetaStore::ReadTxn& from);
  void copy_log(const MetaStore::ReadTxn& from);
  void catch_up();
  void copy_new_rows(Row upto);
  void finish(const Standstill& still);
  void carry(MetaStore::WriteTxn& to, const MetaStore::ReadTxn& from, Row old);
  void carry_new_rows(MetaStore::WriteTxn& to, const MetaStore::ReadTxn& from);
  void drop_gone(MetaStore::WriteTxn& to);
  void read_new_rows(ColumnWriter& columns, const MetaStore::ReadTxn& from) const;
  void bring_over(MetaStore::WriteTxn& to, const MetaStore::ReadTxn& from,
                  std::span<const Row> touched);
  void put_state(MetaStore::WriteTxn& to, const MetaStore::ReadTxn& from);
  void put_rows(std::span<const Row> old_rows);
  Row to_new(Row old) const {
    return old < mapping_.old_rows() ? mapping_.to_new(old)
                                     : mapping_.new_rows() + (old - mapping_.old_rows());
  }
  void report();

  Core& core_;
  FileSystem& files_;
  const Progress& progress_;
  Interrupt* const interrupt_;
  std::shared_ptr<const View> view_;  // of the last checkpoint when it began
  RowMapping mapping_;                // of the rows below mapping_.old_rows(); later ones follow
  Row copied_ = 0;                    // old rows that are in the new files, or dropped
  Row carried_ = 0;                   // old rows whose ids and metadata are in the new store
  Sequence log_copied_ = 0;
  std::size_t total_ = 0;
  NextGeneration next_;
  std::string directory_;
};

std::int64_t Core::compact(const Progress& progress, Interrupt* interrupt) {
  const std::lock_guard one(maintenance_mutex_);
  expire_due();
  if (view()->gone.empty()) return 0;
  const auto note = [this](bool on) {
    const std::unique_lock state(state_mutex_);
    touched_rows_.clear();
    compacting_ = on;
  };
  note(true);
  const auto stop_noting = [&] { note(false); };
  try {
    checkpoint();
    meta_->reserve_map();  // it cannot grow while the transactions of the copying last
    const std::int64_t bytes = Compaction(*this, progress, interrupt).run();
    stop_noting();
    return bytes;
  } catch (...) {
    stop_noting();
    throw;
  }
}

std::int64_t Core::Compaction::run() {
  start();
  const std::string old_directory = core_.generation_path(view_->generation);
  try {
    copy_kept_rows();
    copy_store();
    copy_index();
    catch_up();
    const Standstill still(core_);
    finish(still);
    const std::uint64_t before = tree_bytes(files_, old_directory).own;
    const std::uint64_t after = tree_bytes(files_, directory_).total;
    core_.switch_generation(still, std::move(next_));
    return static_cast<std::int64_t>(before) - static_cast<std::int64_t>(after);
  } catch (...) {
    // A core that has failed may have either generation on disk.
    if (!core_.failed_ && core_.view()->generation == view_->generation) {
      next_ = {};
      try {
        remove_tree(files_, directory_);
      } catch (const std::exception& error) {
        post_event(Event::Level::kInfo, directory_ + " stays for now: " + error.what());
      }
    }
    throw;
  }
}

void Core::Compaction::report() {
  check(interrupt_);
  if (progress_) progress_(std::min<std::size_t>(copied_, total_), total_);
}

void Core::Compaction::start() {
  view_ = core_.view();
  Manifest manifest;
  {
    const std::lock_guard lock(core_.write_mutex_);
    manifest = core_.manifest_;
  }
  next_.generation = manifest.generation + 1;
  next_.dimension = manifest.spaces[0].dimension;
  directory_ = core_.generation_path(next_.generation);
  remove_tree(files_, directory_);
  files_.make_dir(directory_);
  next_.rows =
      RowFiles::create(files_, directory_, manifest.uuid, next_.generation, next_.dimension);
  manifest.generation = next_.generation;
  next_.meta = core_.open_meta(manifest, true);
  const FieldCatalogue fields = core_.with_store(
      [](const MetaStore::ReadTxn& store) { return FieldCatalogue(store).fresh(); });
  next_.meta->update([&](MetaStore::WriteTxn& to) { fields.put(to, FieldCatalogue()); });
}

// ---- rows --------------------------------------------------------------------------------------

// Rows of the old files, in order, to the end of the new ones; each is checked on the way.
void Core::Compaction::put_rows(std::span<const Row> old_rows) {
  const RowFilesView& from = view_->file->files();
  const std::size_t dim = next_.dimension;
  std::vector<float> values(old_rows.size() * dim);
  std::vector<RowFix> fixes(old_rows.size());
  std::vector<std::string_view> ids(old_rows.size());
  for (std::size_t i = 0; i < old_rows.size(); ++i) {
    const Row row = old_rows[i];
    from.verify(row);
    std::memcpy(values.data() + i * dim, from.row(row), dim * sizeof(float));
    fixes[i] = from.vectors().fix(row);
    ids[i] = from.id(row);
  }
  next_.rows->append(next_.rows->rows(), values, fixes, ids);
}

void Core::Compaction::copy_kept_rows() {
  Row rows = 0;
  core_.with_store([&](const MetaStore::ReadTxn& store) {
    // What the store says: more may be in the view by now.
    rows = store.state().published_rows;
    const std::string path = core_.generation_path(view_->generation) + "/metadata.db";
    mapping_ = RowMapping(Core::load_rows(RowSet::kGone, store, rows, path), rows);
  });
  view_ = core_.view();
  total_ = rows;
  const std::size_t piece =
      std::max<std::size_t>(1, kPieceBytes / (next_.dimension * sizeof(float)));
  std::vector<Row> old_rows;
  for (Row row = 0; row < rows; ++row) {
    if (mapping_.kept(row)) old_rows.push_back(row);
    if (old_rows.size() < piece && row + 1 < rows) continue;
    put_rows(old_rows);
    old_rows.clear();
    copied_ = row + 1;
    report();
  }
  copied_ = carried_ = rows;
}

void Core::Compaction::copy_new_rows(Row upto) {
  const std::size_t piece =
      std::max<std::size_t>(1, kPieceBytes / (next_.dimension * sizeof(float)));
  std::vector<Row> old_rows;
  while (copied_ < upto) {
    old_rows.clear();
    while (copied_ < upto && old_rows.size() < piece) old_rows.push_back(copied_++);
    put_rows(old_rows);
    check(interrupt_);
  }
}

// ---- the metadata store ------------------------------------------------------------------------

// In pieces, each in a transaction of its own: none of them counts before the switch.
void Core::Compaction::copy_store() {
  core_.with_store([&](const MetaStore::ReadTxn& from) {
    copy_ids(from);
    copy_metadata(from);
    copy_expiry(from);
    copy_log(from);
  });
}

void Core::Compaction::copy_ids(const MetaStore::ReadTxn& from) {
  std::string after;
  for (;;) {
    const std::vector<IdRow> found = from.scan_ids(after, kPieceEntries);
    if (found.empty()) return;
    std::vector<IdRow> ids;
    for (const IdRow& entry : found) {
      if (mapping_.kept(entry.row)) ids.push_back({entry.id, mapping_.to_new(entry.row)});
    }
    next_.meta->update([&](MetaStore::WriteTxn& to) { to.put_ids(ids); });
    after = found.back().id;
    report();
  }
}

void Core::Compaction::copy_metadata(const MetaStore::ReadTxn& from) {
  std::vector<std::pair<Row, std::string_view>> piece;
  std::size_t bytes = 0;
  const auto flush = [&] {
    ColumnWriter columns(FieldCatalogue(next_.meta->read()));
    for (const auto& [row, text] : piece) columns.add(row, text);
    next_.meta->update([&](MetaStore::WriteTxn& to) {
      for (const auto& [row, text] : piece) to.put_metadata(row, text);
      columns.apply(to);
    });
    piece.clear();
    bytes = 0;
    report();
  };
  from.for_each_metadata([&](Row row, std::string_view text) {
    if (!mapping_.kept(row)) return;
    piece.emplace_back(mapping_.to_new(row) + (planted(Bug::kMixUpRows) ? 1 : 0), text);
    bytes += text.size();
    if (piece.size() >= kPieceEntries || bytes >= kPieceText) flush();
  });
  flush();
}

void Core::Compaction::copy_expiry(const MetaStore::ReadTxn& from) {
  std::vector<std::pair<Row, std::int64_t>> piece;
  const auto flush = [&] {
    next_.meta->update([&](MetaStore::WriteTxn& to) {
      for (const auto& [row, moment] : piece) to.set_expiry(row, moment);
    });
    piece.clear();
    report();
  };
  from.for_each_expiry([&](Row row, std::int64_t moment) {
    if (!mapping_.kept(row)) return;
    piece.emplace_back(mapping_.to_new(row), moment);
    if (piece.size() >= kPieceEntries) flush();
  });
  if (!piece.empty()) flush();
}

// Entries above those copied before.
void Core::Compaction::copy_log(const MetaStore::ReadTxn& from) {
  log_copied_ = carry_log(from, *next_.meta, log_copied_, [&] { report(); });
}

// ---- codes and graph ---------------------------------------------------------------------------

void Core::Compaction::copy_index() {
  const std::shared_ptr<Indexer> indexer = core_.indexer();
  next_.derived =
      indexer->write_compacted(directory_, next_.generation, mapping_,
                               {.threads = 1, .interrupt = interrupt_, .source = core_.memory_});
}

// ---- what came meanwhile -----------------------------------------------------------------------

// Until so few rows are left that writers can wait for them, or they come faster than they are
// copied.
void Core::Compaction::catch_up() {
  for (int round = 0; round < kMostRounds; ++round) {
    if (core_.view()->rows - copied_ <= kShortRest) break;
    core_.checkpoint();
    view_ = core_.view();
    copy_new_rows(std::min(core_.applied_rows_.load(), view_->file_rows()));
    core_.with_store([&](const MetaStore::ReadTxn& from) {
      copy_log(from);
      ColumnWriter columns(FieldCatalogue(next_.meta->read()));
      read_new_rows(columns, from);
      next_.meta->update([&](MetaStore::WriteTxn& to) {
        carry_new_rows(to, from);
        columns.apply(to);
      });
    });
    carried_ = copied_;
  }
  next_.rows->sync();
}

// Nothing changes any more: everything is in the old store and in the old files.
void Core::Compaction::finish(const Standstill&) {
  view_ = core_.view();
  copy_new_rows(view_->rows);
  next_.rows->sync();
  core_.with_store([&](const MetaStore::ReadTxn& from) {
    copy_log(from);
    ColumnWriter columns(FieldCatalogue(next_.meta->read()));
    read_new_rows(columns, from);
    const std::vector<Row> touched = core_.touched_rows();
    for (const Row old : touched) {
      if (old < carried_ && to_new(old) != kNoRow && !view_->gone.test(old)) {
        columns.replace(to_new(old), from.metadata(old).value_or(std::string_view()));
      }
    }
    next_.meta->update([&](MetaStore::WriteTxn& to) {
      bring_over(to, from, touched);
      columns.apply(to);
    });
  });
  if (!planted(Bug::kPublishUnsyncedGeneration)) files_.sync_dir(directory_);
  files_.sync_dir(core_.path_);
}

void Core::Compaction::carry(MetaStore::WriteTxn& to, const MetaStore::ReadTxn& from, Row old) {
  if (view_->gone.test(old)) return;
  const Row now = to_new(old);
  to.put_metadata(now, from.metadata(old).value_or(std::string_view()));
  to.set_expiry(now, from.expires_at(old));
}

// What the columns of the new store are to say of the rows that carry_new_rows() carries.
void Core::Compaction::read_new_rows(ColumnWriter& columns, const MetaStore::ReadTxn& from) const {
  from.for_each_metadata(
      [&](Row old, std::string_view text) {
        if (!view_->gone.test(old)) columns.add(to_new(old), text);
      },
      carried_, copied_);
}

// Of an id that has had several rows the last one stays: rows come in order.
void Core::Compaction::carry_new_rows(MetaStore::WriteTxn& to, const MetaStore::ReadTxn& from) {
  for (Row old = carried_; old < copied_; ++old) {
    if (view_->gone.test(old)) continue;
    carry(to, from, old);
    to.put_id(view_->id(old), to_new(old));
  }
}

// Rows that were copied and are gone by now.
void Core::Compaction::drop_gone(MetaStore::WriteTxn& to) {
  std::vector<Row> gone;
  for (const Row old : view_->gone.rows()) {
    const Row now = to_new(old);
    if (now == kNoRow) continue;
    gone.push_back(now);
    to.erase_metadata(now);
    to.set_expiry(now, std::nullopt);
    const std::string_view id = view_->id(old);
    if (to.find_id(id) == now) to.erase_id(id);
  }
  put_all_chunks(to, RowSet::kGone, RowBitmap().with_rows(gone));
}

void Core::Compaction::bring_over(MetaStore::WriteTxn& to, const MetaStore::ReadTxn& from,
                                  std::span<const Row> touched) {
  for (const Row old : touched) {
    if (old < carried_ && to_new(old) != kNoRow) carry(to, from, old);
  }
  carry_new_rows(to, from);
  drop_gone(to);
  std::vector<Row> soft;
  for (const Row old : view_->soft.rows()) soft.push_back(to_new(old));
  put_all_chunks(to, RowSet::kSoft, RowBitmap().with_rows(soft));
  from.for_each_position(
      [&](std::string_view source, std::uint64_t position) { to.set_position(source, position); });
  put_state(to, from);
}

void Core::Compaction::put_state(MetaStore::WriteTxn& to, const MetaStore::ReadTxn& from) {
  MetaState state;
  state.published_rows = next_.rows->rows();
  state.id_bytes = next_.rows->id_bytes();
  state.live_count = view_->live();
  std::string details = "{\"rows\": ";
  details.append(std::to_string(state.published_rows)).append(", \"dropped\": ");
  details.append(std::to_string(view_->rows - state.published_rows)).append("}");
  core_.continue_history(to, from, state, LogOperation::kCompact, details);
}

std::vector<Row> Core::touched_rows() const {
  const std::shared_lock state(state_mutex_);
  return touched_rows_;
}

// ---- unasked -----------------------------------------------------------------------------------

// True when so many rows are gone that the database asks for it.
bool Core::worth_compacting() const {
  if (options_.auto_compact_share <= 0 || options_.read_only || failed_) return false;
  const std::shared_ptr<const View> view = this->view();
  const double gone = static_cast<double>(view->gone.count());
  const double row_bytes = static_cast<double>(view->dim * sizeof(float) + sizeof(RowFix));
  return gone >= options_.auto_compact_share * static_cast<double>(view->rows) &&
         gone * row_bytes >= static_cast<double>(options_.auto_compact_bytes);
}

bool Core::background_compact() {
  constexpr auto kRetry = std::chrono::seconds(30);
  if (!worth_compacting()) return false;
  const std::unique_lock turn(automatic_mutex(), std::try_to_lock);
  if (!turn) {
    compact_job_->wake_after(std::chrono::seconds(1));
    return false;
  }
  try {
    compact(nullptr, &compact_stop_);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInterrupted || failed_) return false;
    post_event(Event::Level::kWarning, path_ + " could not be compacted: " + error.what());
    compact_job_->wake_after(kRetry);
  }
  return false;
}

}  // namespace srvdb
