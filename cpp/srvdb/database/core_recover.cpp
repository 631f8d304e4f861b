// Core: replaying the log above the last checkpoint.

#include <algorithm>
#include <cstring>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/base/events.h"
#include "srvdb/base/planted_bugs.h"
#include "srvdb/database/core.h"
#include "srvdb/storage/wal_format.h"
#include "srvdb/storage/wal_tail.h"

namespace srvdb {
namespace {

// Says that the log was cut. Whole records behind a damaged one may have been acknowledged at "os":
// they were never known to be on disk, so the damage cannot be told from a loss of power.
void tell_cut(const std::string& path, const WalEnd& end) {
  std::string text = path + ": the log ";
  if (end.lost_records == 0) {
    text.append("ended in the middle of a write; it was cut: ").append(end.reason);
    post_event(Event::Level::kInfo, std::move(text));
    return;
  }
  text.append("is damaged before its end; ").append(std::to_string(end.lost_records));
  text.append(" whole records (").append(std::to_string(end.lost_bytes));
  text.append(" bytes) behind the damage, never known to be on disk, were cut: ")
      .append(end.reason);
  post_event(Event::Level::kWarning, std::move(text));
}

}  // namespace

// The last segment on disk; nothing when the directory holds anything but segments.
WalPlace Core::end_of_log() const {
  const std::string directory = path_ + "/wal";
  WalPlace out;
  std::string last;
  for (const std::string& name : files_.list_dir(directory)) {
    const std::optional<Sequence> first = wal_segment_first(name);
    if (!first) return {};
    if (*first < out.first) continue;
    out.first = *first;
    last = name;
  }
  const auto info = last.empty() ? std::nullopt : files_.info(directory + "/" + last);
  if (!info) return {};
  out.bytes = info->size;
  return out;
}

// Replays the log above the last checkpoint: a writer into the files, ending with a checkpoint; a
// reader into memory.
void Core::recover() {
  const std::string directory = path_ + "/wal";
  if (!files_.exists(directory)) {
    throw Error(ErrorCode::kCorruption, directory + " is missing");
  }
  if (!options_.read_only) settle_wal_tail(files_, directory);
  const WalPlace end = end_of_log();
  if (end.first != 0 && end == applied_log_ && end.first <= applied_) {
    if (options_.read_only) return;
    wal_ = std::make_unique<WalWriter>(files_, directory, applied_ + 1, wal_options());
    wal_->mark_durable(applied_);
    return;
  }
  WalReader reader(files_, directory, applied_);
  while (const std::optional<WalRecord> record = reader.next()) {
    if (planted(Bug::kSkipARecord) && record->sequence % 8 == 0) continue;
    const std::string bad = replay(*record);
    if (!bad.empty()) {
      reader.reject(bad);
      break;
    }
  }
  const Sequence last = view()->sequence;
  if (options_.read_only) return;
  flush_buffer();
  if (reader.end().torn) {
    cut_wal(files_, directory, reader.end());
    tell_cut(path_, reader.end());
  }
  wal_ = std::make_unique<WalWriter>(files_, directory, last + 1, wal_options());
  wal_->mark_durable(applied_);
  if (last == applied_) return;
  if (row_files_ && row_files_->file_rows() > next_row_) {  // none before there is a dimension
    row_files_->truncate_to({next_row_, row_files_->id_bytes()});
  }
  checkpoint();
}

// Applies one record; says what is wrong when its direct rows are not what was logged.
std::string Core::replay(const WalRecord& raw) {
  const DecodedRecord record = decode_record(raw.payload);
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::kCorruption,
                path_ + "/wal: record " + std::to_string(raw.sequence) + " " + why);
  };
  Change change;
  change.type = static_cast<RecordType>(raw.type);
  change.first_row = next_row_;
  std::vector<std::string_view> texts;  // what the change borrows
  std::vector<std::string_view> targets;
  switch (change.type) {
    case RecordType::kAdd:
    case RecordType::kUpsert: {
      const std::size_t n = record.ids.size();
      change.ids = record.ids;
      change.new_rows = static_cast<Row>(n);
      for (const auto& text : record.metadata) texts.push_back(text.value_or(std::string_view()));
      if (!texts.empty() && texts.size() != n) refuse("has a wrong number of texts");
      if (!record.expiry.empty() && record.expiry.size() != n) refuse("has too few moments");
      change.metadata = texts;
      change.expires_at = record.expiry;
      std::string bad = replay_rows(record, record.ids, refuse);
      if (!bad.empty()) return bad;
      find_existing(change.ids, [&](std::size_t, Row row) { change.retired.push_back(row); });
      break;
    }
    case RecordType::kDelete:
    case RecordType::kSoftDelete:
    case RecordType::kRestore:
      change = target_change(change.type, record.targets, targets, nullptr);
      break;
    case RecordType::kUpdate: {
      std::string bad = replay_update(record, change, refuse);
      if (!bad.empty()) return bad;
      break;
    }
    case RecordType::kEvent:
      if (!record.event) refuse("is an event without a description");
      change.operation = static_cast<LogOperation>(record.event->operation);
      change.details = record.event->details;
      break;
    default:
      throw Error(ErrorCode::kVersion, path_ + "/wal: record " + std::to_string(raw.sequence) +
                                           " is of type " + std::to_string(raw.type) +
                                           ", which this version does not know");
  }
  if (change.type != RecordType::kEvent) change.operation = static_cast<LogOperation>(change.type);
  change.sequence = raw.sequence;
  change.time_us = record.time_us;
  std::sort(change.retired.begin(), change.retired.end());
  change.retired.erase(std::unique(change.retired.begin(), change.retired.end()),
                       change.retired.end());
  next_row_ += change.new_rows;
  publish(change);
  return {};
}

std::string Core::replay_rows(const DecodedRecord& record, std::span<const std::string_view> ids,
                              const Refuse& refuse) {
  if (!row_files_) refuse("comes before the database has a dimension");
  if (record.rows.size() + record.direct_rows.size() != 1) refuse("must have one list of rows");
  if (!record.direct_rows.empty()) return replay_direct(record.direct_rows[0], ids, refuse);
  replay_inline(record.rows[0], ids, refuse);
  return {};
}

std::string Core::replay_update(const DecodedRecord& record, Change& change, const Refuse& refuse) {
  const std::size_t n = record.targets.size();
  const auto fits = [n](std::size_t size) { return size == 0 || size == n; };
  if (!fits(record.metadata.size()) || !fits(record.expiry.size()) ||
      !fits(record.row_mask.size())) {
    refuse("has lists of different lengths");
  }
  static constexpr float kSomeRow = 0;  // the vectors come with the record, not with the update
  std::vector<Update> updates(n);
  std::vector<std::string_view> row_ids;
  for (std::size_t i = 0; i < n; ++i) {
    updates[i].id = record.targets[i];
    if (!record.metadata.empty()) updates[i].metadata = record.metadata[i];
    if (!record.expiry.empty() && record.expiry[i] != kUnchangedExpiry) {
      updates[i].expires_at = record.expiry[i];
    }
    if (record.row_mask.empty() || !record.row_mask[i]) continue;
    updates[i].row = &kSomeRow;
    row_ids.push_back(record.targets[i]);
  }
  try {
    change = update_change(updates);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound) throw;
    refuse("changes rows that are not there");
  }
  change.ids = record.targets;
  change.details = update_details(updates);
  return row_ids.empty() ? std::string() : replay_rows(record, row_ids, refuse);
}

void Core::replay_inline(const InlineRows& rows, std::span<const std::string_view> ids,
                         const Refuse& refuse) {
  const std::size_t dim = manifest_.spaces[0].dimension;
  if (rows.dimension != dim || rows.first_row != next_row_ || rows.count != ids.size()) {
    refuse("has rows that do not follow those before");
  }
  std::vector<float> values(std::size_t{rows.count} * dim);
  std::memcpy(values.data(), rows.bytes.data(), values.size() * sizeof(float));
  std::vector<RowFix> fixes(rows.count);
  for (std::size_t i = 0; i < fixes.size(); ++i) {
    const std::span<const float> row(values.data() + i * dim, dim);
    fixes[i] = make_row_fix(row, round_up_to_float(check_row(row.data(), dim).norm));
  }
  place_replayed(values, fixes, ids);
}

std::string Core::replay_direct(const DirectRows& rows, std::span<const std::string_view> ids,
                                const Refuse& refuse) {
  const std::size_t dim = manifest_.spaces[0].dimension;
  if (rows.dimension != dim || rows.first_row != next_row_ || rows.count != ids.size()) {
    refuse("has rows that do not follow those before");
  }
  if (row_files_->direct_crc(rows.first_row, rows.count) != rows.crc) {
    return "rows " + std::to_string(rows.first_row) + ".." +
           std::to_string(rows.first_row + rows.count) +
           " of vectors.bin are not those that were logged";
  }
  if (!options_.read_only) {
    flush_buffer();
    row_files_->append_ids(rows.first_row, ids);
    show_rows(nullptr);
    return {};
  }
  const StridedView written = row_files_->written(rows.first_row + rows.count);
  std::vector<RowFix> fixes(rows.count);
  for (Row i = 0; i < rows.count; ++i) fixes[i] = written.fix(rows.first_row + i);
  const auto* const first = reinterpret_cast<const float*>(written.at(rows.first_row));
  place_replayed({first, std::size_t{rows.count} * dim}, fixes, ids);
  return {};
}

// A writer puts replayed rows into its append buffer, and so into the files; a reader into a buffer
// that takes the place of its last one.
void Core::place_replayed(std::span<const float> values, std::span<const RowFix> fixes,
                          std::span<const std::string_view> ids) {
  const std::size_t dim = manifest_.spaces[0].dimension;
  if (!options_.read_only) {
    if (!buffer_ || !buffer_->has_room(ids.size())) {
      flush_buffer();
      begin_buffer(std::max(buffer_capacity(), ids.size()));
    }
    for (std::size_t i = 0; i < ids.size(); ++i) {
      buffer_->push(values.data() + i * dim, fixes[i], ids[i]);
    }
    return;
  }
  const std::size_t before = buffer_ ? buffer_->size() : 0;
  if (!buffer_ || !buffer_->has_room(fixes.size())) {
    const Row first = applied_rows_;
    const auto larger =
        std::make_shared<RowBuffer>(first, std::max(2 * before, before + fixes.size()), dim);
    for (std::size_t i = 0; i < before; ++i) {
      const Row row = first + static_cast<Row>(i);
      larger->push(buffer_->row(row), buffer_->fixes()[i], buffer_->id(row));
    }
    buffer_ = larger;
  }
  for (std::size_t i = 0; i < fixes.size(); ++i) {
    buffer_->push(values.data() + i * dim, fixes[i], ids[i]);
  }
  update_view([&](View& view) { view.buffer = buffer_; });
}

}  // namespace srvdb
