// Core: changing rows that exist, and showing changes of every kind.

#include <algorithm>
#include <cstring>
#include <utility>

#include "srvdb/base/clock.h"
#include "srvdb/base/error.h"
#include "srvdb/base/planted_bugs.h"
#include "srvdb/database/batch_check.h"
#include "srvdb/database/core.h"

namespace srvdb {
namespace {

constexpr auto kCheckpointIdle = std::chrono::milliseconds(1000);
constexpr std::size_t kListedIds = 20;  // of those that were not found

[[noreturn]] void throw_not_found(std::span<const Update> updates,
                                  const std::vector<std::size_t>& missing,
                                  const std::vector<bool>& soft) {
  std::string text = "nothing was updated; ";
  text.append(std::to_string(missing.size())).append(missing.size() == 1 ? " id" : " ids");
  text.append(" not found: ");
  for (std::size_t i = 0; i < missing.size() && i < kListedIds; ++i) {
    if (i > 0) text.append(", ");
    text.append(quoted(updates[missing[i]].id));
    if (soft[missing[i]]) text.append(" (soft-deleted: restore it first)");
  }
  if (missing.size() > kListedIds) text.append(", …");
  std::vector<std::string> ids;
  ids.reserve(missing.size());
  for (const std::size_t i : missing) ids.emplace_back(updates[i].id);
  throw MissingIdsError(text, std::move(ids));
}

// What a record of an update holds beside the rows.
void describe(std::span<const Update> updates, RecordBuilder& record) {
  std::vector<bool> has_row;
  std::vector<std::optional<std::string_view>> texts;
  std::vector<std::int64_t> moments;
  bool any_row = false;
  bool any_text = false;
  bool any_moment = false;
  for (const Update& update : updates) {
    has_row.push_back(update.row != nullptr);
    texts.push_back(update.metadata);
    moments.push_back(update.expires_at.value_or(kUnchangedExpiry));
    any_row = any_row || update.row != nullptr;
    any_text = any_text || update.metadata;
    any_moment = any_moment || update.expires_at;
  }
  if (any_text) record.metadata(texts);
  if (any_moment) record.expiry(moments);
  if (any_row) record.row_mask(has_row);
}

}  // namespace

// {"embeddings": 2, "metadatas": 1, "expiries": 1}
std::string Core::update_details(std::span<const Update> updates) {
  std::size_t rows = 0;
  std::size_t texts = 0;
  std::size_t moments = 0;
  for (const Update& update : updates) {
    rows += update.row != nullptr ? 1 : 0;
    texts += update.metadata ? 1 : 0;
    moments += update.expires_at ? 1 : 0;
  }
  std::string out = "{\"embeddings\": ";
  out.append(std::to_string(rows)).append(", \"metadatas\": ").append(std::to_string(texts));
  out.append(", \"expiries\": ").append(std::to_string(moments)).append("}");
  return out;
}

// ---- deleting, soft-deleting, restoring --------------------------------------------------------

// The change that an operation on ids makes now; `targets` are those of them that it concerns.
Core::Change Core::target_change(RecordType type, std::span<const std::string_view> ids,
                                 std::vector<std::string_view>& targets,
                                 const RowBitmap* only) const {
  Change change;
  change.type = type;
  for (const Target& target : find_targets(ids)) {
    if (only != nullptr && (target.soft || !only->test(target.row))) continue;
    if (type == RecordType::kSoftDelete && target.soft) continue;
    if (type == RecordType::kRestore && !target.soft) continue;
    targets.push_back(ids[target.index]);
    auto& rows = type == RecordType::kSoftDelete ? change.soft_deleted
                 : type == RecordType::kRestore  ? change.restored
                                                 : change.retired;
    rows.push_back(target.row);
  }
  change.ids = targets;
  change.first_row = next_row_;
  return change;
}

std::size_t Core::change_targets(RecordType type, std::span<const std::string_view> ids) {
  if (ids.size() > kMaxBatchRows) {
    throw Error(ErrorCode::kInvalidInput, "one call takes at most " +
                                              std::to_string(kMaxBatchRows) + " ids, got " +
                                              std::to_string(ids.size()));
  }
  if (ids.empty()) return 0;
  expire_due();
  return write_targets(type, ids, {});
}

// With a filter only those of the ids are changed that match it when it is their turn.
std::size_t Core::write_targets(RecordType type, std::span<const std::string_view> ids,
                                std::string_view where) {
  std::unique_lock lock = writer_turn(ids);
  Matching matching;
  if (!where.empty()) matching = match({&where, 1});
  std::vector<std::string_view> targets;
  Change change = target_change(type, ids, targets, where.empty() ? nullptr : &matching.rows());
  if (targets.empty()) return 0;
  RecordBuilder record;
  record.targets(targets);
  log(change, record);
  finish(change, lock);
  return targets.size();
}

Sequence Core::log_event(LogOperation operation, std::string_view details) {
  std::unique_lock lock = writer_turn({});
  Change change;
  change.type = RecordType::kEvent;
  change.operation = operation;
  change.details = details;
  change.first_row = next_row_;
  RecordBuilder record;
  record.event({static_cast<std::uint8_t>(operation), details});
  log(change, record);
  finish(change, lock);
  return change.sequence;
}

// The entry of the trimming itself stays, whatever `before` is.
std::uint64_t Core::trim_change_log(Sequence before) {
  before = std::min(before, view()->sequence + 1);
  const std::uint64_t trimmed = count_log_before(before);
  if (trimmed == 0) return 0;
  std::string details = "{\"before\": ";
  details.append(std::to_string(before)).append("}");
  log_event(LogOperation::kTrimChangeLog, details);
  return trimmed;
}

// ---- updating ----------------------------------------------------------------------------------

// Old rows of the ids, all of which must be live.
Core::Change Core::update_change(std::span<const Update> updates) const {
  std::vector<std::string_view> ids;
  for (const Update& update : updates) ids.push_back(update.id);
  Change change;
  change.type = RecordType::kUpdate;
  change.updated.resize(updates.size());
  std::vector<bool> soft(updates.size());
  for (const Target& target : find_targets(ids)) {
    soft[target.index] = target.soft;
    if (!target.soft) change.updated[target.index].old = target.row;
  }
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < updates.size(); ++i) {
    if (change.updated[i].old == kNoRow) missing.push_back(i);
  }
  if (!missing.empty()) throw_not_found(updates, missing, soft);
  change.first_row = next_row_;
  for (std::size_t i = 0; i < updates.size(); ++i) {
    UpdatedRow& row = change.updated[i];
    row.now = row.old;
    if (updates[i].row == nullptr) continue;
    row.now = next_row_ + change.new_rows++;
    change.retired.push_back(row.old);
  }
  carry_over(change, updates);
  return change;
}

// What a new row takes from the old one, unless it is given.
void Core::carry_over(Change& change, std::span<const Update> updates) const {
  const std::shared_lock state(state_mutex_);
  with_store([&](const MetaStore::ReadTxn& store) {
    for (std::size_t i = 0; i < updates.size(); ++i) {
      UpdatedRow& row = change.updated[i];
      if (updates[i].metadata) row.metadata = std::string(*updates[i].metadata);
      row.expires_at = updates[i].expires_at;
      if (row.now == row.old) continue;
      if (!row.metadata) row.metadata = metadata_of(store, row.old);
      if (!row.expires_at) row.expires_at = expiry_of(store, row.old);
    }
  });
}

std::size_t Core::update(std::span<const Update> updates, std::size_t dim) {
  check_updates(updates, dim);
  if (updates.empty()) return 0;
  expire_due();
  std::vector<std::string_view> ids;
  for (const Update& update : updates) ids.push_back(update.id);
  std::unique_lock lock = writer_turn(ids);
  write_update(updates, dim, lock);
  return updates.size();
}

// Of ids that are the caller's turn to change.
void Core::write_update(std::span<const Update> updates, std::size_t dim,
                        std::unique_lock<std::mutex>& lock) {
  std::vector<std::string_view> ids;
  for (const Update& update : updates) ids.push_back(update.id);
  Change change = update_change(updates);
  change.ids = ids;
  change.details = update_details(updates);
  const std::size_t stored = manifest_.spaces[0].dimension;
  if (change.new_rows > 0 && dim != stored) {
    throw Error(ErrorCode::kDimension, "expected vectors of dimension " + std::to_string(stored) +
                                           ", got " + std::to_string(dim));
  }
  std::vector<std::string_view> row_ids;
  std::vector<float> rows;
  for (const Update& update : updates) {
    if (update.row == nullptr) continue;
    row_ids.push_back(update.id);
    rows.insert(rows.end(), update.row, update.row + dim);
  }
  RecordBuilder record;
  record.targets(ids);
  describe(updates, record);
  try {
    if (!row_ids.empty()) store_rows({row_ids, rows.data(), dim, {}}, record);
    log(change, record);
  } catch (...) {
    if (!row_ids.empty()) forget_rows(row_ids);
    throw;
  }
  next_row_ += change.new_rows;
  finish(change, lock);
}

// ---- showing a change --------------------------------------------------------------------------

void Core::publish(const Change& change) {
  fill_log_entry(log_entry_, change.time_us, change.operation, change.details, change.ids);
  bool first_pending = false;
  {
    const std::unique_lock state(state_mutex_);
    first_pending = active_.empty();
    active_.add_log(change.sequence, log_entry_);
    put_pending(change);
    show(change);
    watch_expiry(change);
  }
  if (!wal_) return;  // replaying: the checkpoint comes at the end
  if (change.new_rows > 0 && change.first_row < row_files_->rows()) {
    index_job_->wake();  // only now may they be linked
  }
  if (pending_is_full(1)) {
    checkpoint_job_->wake();
  } else if (first_pending && options_.background) {
    checkpoint_job_->wake_after(kCheckpointIdle);
  }
}

// What the next checkpoint is to write.
void Core::put_pending(const Change& change) {
  active_.reserve(change.ids.size());
  if (change.adds()) {
    for (std::size_t i = 0; i < change.ids.size(); ++i) {
      const Row row = change.first_row + static_cast<Row>(i);
      active_.put(change.ids[i], row,
                  change.metadata.empty() ? std::string_view() : change.metadata[i]);
      if (!change.expires_at.empty() && change.expires_at[i] != 0) {
        active_.set_expiry(row, change.expires_at[i]);
      }
    }
  } else if (change.type == RecordType::kDelete) {
    for (const std::string_view id : change.ids) active_.erase(id);
  } else if (change.type == RecordType::kUpdate) {
    for (std::size_t i = 0; i < change.ids.size(); ++i) {
      const UpdatedRow& row = change.updated[i];
      const std::string_view text = row.metadata ? *row.metadata : std::string_view();
      if (row.now != row.old) {
        active_.put(change.ids[i], row.now, text);
      } else {
        if (row.metadata) {
          active_.set_metadata(row.now, text);
          note_edit(change.sequence, row.now);
        }
        if (compacting_) touched_rows_.push_back(row.now);
      }
      if (row.expires_at && (*row.expires_at != 0 || row.now == row.old)) {
        active_.set_expiry(row.now, *row.expires_at);
      }
    }
  } else if (change.operation == LogOperation::kTrimChangeLog) {
    const std::size_t number = change.details.find_first_of("0123456789");
    if (number != std::string::npos) {
      active_.trim_log(std::strtoull(change.details.c_str() + number, nullptr, 10));
    }
  }
  if (change.retired.empty() && change.soft_deleted.empty() && change.restored.empty()) return;
  const RowBitmap& soft = view()->soft;
  for (const Row row : change.retired) {
    active_.retire(row);
    if (soft.test(row)) active_.touch_soft(row);
  }
  for (const Row row : change.soft_deleted) active_.touch_soft(row);
  for (const Row row : change.restored) active_.touch_soft(row);
}

void Core::show(const Change& change) {
  const auto show_rows = [&](View& view) noexcept {
    view.sequence = change.sequence;
    view.rows = change.first_row + change.new_rows;
    if (planted(Bug::kShowHalfABatch)) view.rows -= change.new_rows / 2;
  };
  if (change.retired.empty() && change.soft_deleted.empty() && change.restored.empty()) {
    update_view(show_rows);
    return;
  }
  update_view([&](View& view) {
    show_rows(view);
    if (!change.retired.empty()) {
      view.gone = view.gone.with_rows(change.retired);
      view.hidden = view.hidden.with_rows(change.retired);
      if (!view.soft.empty()) view.soft = view.soft.without_rows(change.retired);
    }
    if (!change.soft_deleted.empty()) {
      view.soft = view.soft.with_rows(change.soft_deleted);
      view.hidden = view.hidden.with_rows(change.soft_deleted);
    }
    if (!change.restored.empty()) {
      view.soft = view.soft.without_rows(change.restored);
      view.hidden = view.hidden.without_rows(change.restored);
    }
  });
}

}  // namespace srvdb
