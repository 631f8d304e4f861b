// Core: one write, from the caller's batch to the View.

#include <algorithm>
#include <cstring>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/database/core.h"
#include "srvdb/database/json.h"
#include "srvdb/distance/metric.h"

namespace srvdb {
namespace {

constexpr std::size_t kDirectBytes = 1u << 20;    // batches from here on go straight to vectors.bin
constexpr std::size_t kPendingIds = 128u << 10;   // a checkpoint is due at so many pending ids,
constexpr std::size_t kPendingBytes = 12u << 20;  // or at so many bytes of ids and metadata,
constexpr std::uint64_t kCheckpointLogBytes = 64u << 20;  // or of log
constexpr auto kCheckpointIdle = std::chrono::milliseconds(1000);

std::string quoted(std::string_view id) {
  constexpr std::size_t kShown = 80;
  return id.size() <= kShown ? "'" + std::string(id) + "'"
                             : "'" + std::string(id.substr(0, kShown)) + "…'";
}

// "item 3: ", for messages about one row of a batch.
std::string item(const Batch& batch, std::size_t index) {
  return "item " + std::to_string(batch.first_item + index) + ": ";
}

std::uint64_t total_bytes(std::span<const std::string_view> texts) {
  std::uint64_t bytes = 0;
  for (const std::string_view text : texts) bytes += text.size();
  return bytes;
}

// A batch of which only some items are left, in memory of its own.
struct Compacted {
  std::vector<std::string_view> ids;
  std::vector<std::string_view> metadata;
  std::vector<float> rows;
};

}  // namespace

void Core::check_writable() const {
  if (!failed_) return;
  const std::lock_guard lock(failure_mutex_);
  throw Error(ErrorCode::kReadOnly, path_ + " has turned read-only: " + failure_);
}

void Core::fail(const std::string& why) {
  const std::lock_guard lock(failure_mutex_);
  if (failure_.empty()) failure_ = why;
  failed_ = true;
}

std::size_t Core::chunk_rows(std::size_t dim) const {
  constexpr std::size_t kChunkBytes = 16u << 20;
  return std::clamp<std::size_t>(kChunkBytes / (std::max<std::size_t>(dim, 1) * sizeof(float)), 1,
                                 32768);
}

// ---- what can be checked without looking at the database ---------------------------------------

void Core::check_batch(const Batch& batch) const {
  const std::size_t n = batch.ids.size();
  if (batch.dim == 0 || batch.dim > kMaxDimension) {
    throw Error(ErrorCode::kDimension, "dimension must be 1.." + std::to_string(kMaxDimension) +
                                           ", got " + std::to_string(batch.dim));
  }
  if (!batch.metadata.empty() && batch.metadata.size() != n) {
    throw Error(ErrorCode::kInvalidInput, "expected one metadata for each of " + std::to_string(n) +
                                              " ids, got " + std::to_string(batch.metadata.size()));
  }
  std::size_t bytes = n * batch.dim * sizeof(float);  // n <= 2^32, dim <= 2^16: cannot overflow
  for (std::size_t i = 0; i < n; ++i) {
    const std::string_view id = batch.ids[i];
    if (id.empty() || id.size() > kMaxIdBytes) {
      throw Error(ErrorCode::kInvalidInput, item(batch, i) + "an id must have 1.." +
                                                std::to_string(kMaxIdBytes) + " bytes, got " +
                                                std::to_string(id.size()));
    }
    bytes += id.size();
  }
  for (std::size_t i = 0; i < batch.metadata.size(); ++i) {
    const std::string_view text = batch.metadata[i];
    if (text.size() > kMaxMetadataBytes) {
      throw Error(ErrorCode::kInvalidInput, item(batch, i) + "metadata must have at most " +
                                                std::to_string(kMaxMetadataBytes) +
                                                " bytes as JSON, got " +
                                                std::to_string(text.size()));
    }
    bytes += text.size();
    if (batch.metadata_is_valid || text.empty()) continue;
    if (const auto problem = json_object_problem(text)) {
      throw Error(ErrorCode::kInvalidInput, item(batch, i) + "metadata " + *problem);
    }
  }
  if (n > kMaxBatchRows || bytes > kMaxBatchBytes) {
    throw Error(ErrorCode::kInvalidInput,
                "one batch takes at most " + std::to_string(kMaxBatchRows) + " rows and " +
                    std::to_string(kMaxBatchBytes) + " bytes, got " + std::to_string(n) +
                    " rows and " + std::to_string(bytes) +
                    " bytes: use add_batch, which writes chunk by chunk");
  }
}

std::vector<RowFix> Core::check_rows(const Batch& batch) const {
  std::vector<RowFix> fixes(batch.ids.size());
  for (std::size_t i = 0; i < fixes.size(); ++i) {
    const float* const row = batch.rows + i * batch.dim;
    const RowCheck checked = check_row(row, batch.dim);
    if (checked.first_bad >= 0) {
      const auto at = static_cast<std::size_t>(checked.first_bad);
      throw Error(ErrorCode::kInvalidInput, item(batch, i) + "component " + std::to_string(at) +
                                                " of the embedding of " + quoted(batch.ids[i]) +
                                                " must be finite, got " + std::to_string(row[at]));
    }
    fixes[i] = make_row_fix({row, batch.dim}, round_up_to_float(checked.norm));
  }
  return fixes;
}

// ---- look-ups under the write lock -------------------------------------------------------------

std::optional<Row> Core::find_pending(std::string_view id) const {
  if (!in_flight_ids_.empty()) {
    if (const auto at = in_flight_ids_.find(id); at != in_flight_ids_.end()) return at->second;
  }
  if (const auto row = active_.find(id)) return row;
  return frozen_ ? frozen_->changes.find(id) : std::nullopt;
}

// Calls found(index, row) for each of the ids that exists, in no particular order. Only the writer
// changes the pending sides, and it is the one that asks: the write lock is enough.
void Core::find_existing(std::span<const std::string_view> ids,
                         const std::function<void(std::size_t, Row)>& found) const {
  const bool store_has_ids = applied_ > 0;
  const bool anything_pending = !active_.empty() || frozen_ || !in_flight_ids_.empty();
  std::vector<std::string_view> unknown;
  std::vector<std::uint32_t> index;
  for (std::size_t i = 0; i < ids.size() && (anything_pending || store_has_ids); ++i) {
    if (const auto row = anything_pending ? find_pending(ids[i]) : std::nullopt) {
      if (*row != kNoRow) found(i, *row);
    } else if (store_has_ids) {
      unknown.push_back(ids[i]);
      index.push_back(static_cast<std::uint32_t>(i));
    }
  }
  if (unknown.empty()) return;
  const std::vector<std::uint32_t> order = sort_ids(unknown.size(), unknown.data());
  std::vector<std::string_view> sorted;
  sorted.reserve(order.size());
  for (const std::uint32_t i : order) sorted.push_back(unknown[i]);
  with_store([&](const MetaStore::ReadTxn& store) {
    store.find_existing(sorted, [&](std::size_t i, Row row) { found(index[order[i]], row); });
  });
}

// Rows that the batch replaces; refuses ids that exist unless it is an upsert.
std::vector<Row> Core::look_up(const Batch& batch, bool upsert) const {
  std::vector<Row> replaced;
  std::size_t first = batch.ids.size();
  find_existing(batch.ids, [&](std::size_t i, Row row) {
    first = std::min(first, i);
    replaced.push_back(row);
  });
  if (!upsert && !replaced.empty()) {
    throw Error(ErrorCode::kDuplicateId, item(batch, first) + "id " + quoted(batch.ids[first]) +
                                             " already exists (upsert replaces)");
  }
  return replaced;
}

// ---- the write ---------------------------------------------------------------------------------

std::size_t Core::write(const Batch& batch, bool upsert) {
  check_batch(batch);
  const std::size_t n = batch.ids.size();
  if (n == 0) return 0;

  // Equal ids inside the batch.
  const std::vector<std::uint32_t> order = sort_ids(n, batch.ids.data());
  std::vector<bool> drop;
  for (std::size_t i = 1; i < n; ++i) {
    if (batch.ids[order[i]] != batch.ids[order[i - 1]]) continue;
    if (!upsert) {
      throw Error(ErrorCode::kDuplicateId, item(batch, order[i]) + "id " +
                                               quoted(batch.ids[order[i]]) +
                                               " stands in the batch already, as item " +
                                               std::to_string(batch.first_item + order[i - 1]));
    }
    if (drop.empty()) drop.resize(n);
    drop[order[i - 1]] = true;  // the last one wins
  }
  if (!drop.empty()) {
    Compacted kept;
    for (std::size_t i = 0; i < n; ++i) {
      if (drop[i]) continue;
      kept.ids.push_back(batch.ids[i]);
      if (!batch.metadata.empty()) kept.metadata.push_back(batch.metadata[i]);
      const float* const row = batch.rows + i * batch.dim;
      kept.rows.insert(kept.rows.end(), row, row + batch.dim);
    }
    return write({kept.ids, kept.rows.data(), batch.dim, kept.metadata, batch.first_item, true},
                 true);
  }

  const std::vector<RowFix> fixes = check_rows(batch);
  std::unique_lock lock = writer_turn();
  set_dimension(batch.dim);
  Change change;
  change.retired = look_up(batch, upsert);
  if (n > kMaxRows - next_row_) {
    throw Error(ErrorCode::kInvalidInput, "a database holds at most " + std::to_string(kMaxRows) +
                                              " rows, live and replaced ones together");
  }
  change.ids = batch.ids;
  change.metadata = batch.metadata;
  change.first_row = next_row_;
  RecordBuilder record;
  record.ids(batch.ids);
  if (!batch.metadata.empty()) record.metadata(batch.metadata);
  store_rows(batch, fixes, record);
  const std::uint64_t id_bytes = row_files_->id_bytes() - (buffer_ ? 0 : total_bytes(batch.ids));
  try {
    change.sequence = log(RecordType::kAdd, record);
  } catch (...) {
    // Nothing refers to the rows yet: what was written of them will be overwritten.
    if (buffer_ && buffer_->first_row() + buffer_->size() > next_row_) {
      buffer_->shrink(next_row_ - buffer_->first_row());
    } else if (row_files_->rows() > next_row_) {
      row_files_->truncate_to({next_row_, id_bytes});
      update_view(
          [&](View& view) { view.file = std::make_shared<const FileRows>(row_files_->view()); });
    }
    throw;
  }
  next_row_ += static_cast<Row>(n);
  finish(change, lock);
  return n;
}

std::size_t Core::remove(std::span<const std::string_view> ids) {
  if (ids.size() > kMaxBatchRows) {
    throw Error(ErrorCode::kInvalidInput, "one call removes at most " +
                                              std::to_string(kMaxBatchRows) + " ids, got " +
                                              std::to_string(ids.size()));
  }
  if (ids.empty()) return 0;
  std::unique_lock lock = writer_turn();
  std::vector<std::pair<std::size_t, Row>> existing;
  find_existing(ids, [&](std::size_t i, Row row) { existing.emplace_back(i, row); });
  std::sort(existing.begin(), existing.end(), [&](const auto& a, const auto& b) {
    return a.second != b.second ? a.second < b.second : a.first < b.first;
  });
  existing.erase(std::unique(existing.begin(), existing.end(),
                             [](const auto& a, const auto& b) { return a.second == b.second; }),
                 existing.end());  // an id given twice
  if (existing.empty()) return 0;
  std::vector<std::string_view> targets;
  Change change;
  for (const auto& [i, row] : existing) {
    targets.push_back(ids[i]);
    change.retired.push_back(row);
  }
  change.ids = targets;
  change.removes = true;
  change.first_row = next_row_;
  RecordBuilder record;
  record.targets(targets);
  change.sequence = log(RecordType::kDelete, record);
  finish(change, lock);
  return targets.size();
}

// Fixes the dimension with the first batch: files first, then the manifest that names it.
void Core::set_dimension(std::size_t dim) {
  const std::size_t stored = manifest_.spaces[0].dimension;
  if (stored != 0) {
    if (stored == dim) return;
    throw Error(ErrorCode::kDimension, "expected vectors of dimension " + std::to_string(stored) +
                                           ", got " + std::to_string(dim));
  }
  Manifest manifest = manifest_;
  manifest.spaces[0].dimension = static_cast<std::uint32_t>(dim);
  const std::string directory = generation_path();
  for (const char* name : {"vectors.bin", "rows.fix", "ids.bin", "ids.fix"}) {
    const std::string file = directory + "/" + name;
    if (files_.exists(file)) files_.remove(file);  // of a first batch that never came to be
  }
  std::unique_ptr<RowFiles> files = RowFiles::create(
      files_, directory, manifest.uuid, manifest.generation, manifest.spaces[0].dimension);
  files->sync();
  files_.sync_dir(directory);
  write_manifest(files_, path_, manifest);
  manifest_ = std::move(manifest);
  row_files_ = std::move(files);
  buffer_ = nullptr;
  update_view([&](View& view) {
    view.dim = dim;
    view.file = std::make_shared<const FileRows>(row_files_->view());
  });
  start_indexer();
}

std::unique_ptr<RowBuffer> Core::new_buffer(Row first_row) const {
  const std::size_t dim = manifest_.spaces[0].dimension;
  const std::size_t by_bytes =
      std::max<std::size_t>(1, options_.buffer_bytes / (dim * sizeof(float)));
  return std::make_unique<RowBuffer>(first_row, std::min(by_bytes, options_.flush_rows), dim);
}

// Puts the rows where they wait for a checkpoint, and says so in the record: a small batch into the
// buffer (and its rows into the record), a large one straight into the files.
void Core::store_rows(const Batch& batch, std::span<const RowFix> fixes, RecordBuilder& record) {
  const std::size_t n = batch.ids.size();
  const std::size_t bytes = n * batch.dim * sizeof(float);
  const auto dim = static_cast<std::uint32_t>(batch.dim);
  if (!buffer_ || !buffer_->has_room(n)) {
    flush_buffer();
    buffer_ = new_buffer(next_row_);
    update_view([&](View& view) { view.buffer = buffer_; });
  }
  const auto count = static_cast<std::uint32_t>(n);
  if (bytes < kDirectBytes && n <= buffer_->capacity()) {
    for (std::size_t i = 0; i < n; ++i) {
      buffer_->push(batch.rows + i * batch.dim, fixes[i], batch.ids[i]);
    }
    record.rows(
        {0, dim, next_row_, count, {reinterpret_cast<const std::uint8_t*>(batch.rows), bytes}});
    return;
  }
  flush_buffer();
  row_files_->append(next_row_, {batch.rows, n * batch.dim}, fixes, batch.ids);
  if (options_.durability == Durability::kDisk) row_files_->sync();
  record.direct_rows({0, dim, next_row_, count, direct_rows_crc(fixes)});
  buffer_ = nullptr;
  update_view([&](View& view) {
    view.file = std::make_shared<const FileRows>(row_files_->view());
    view.buffer = nullptr;
  });
  index_job_->wake();
}

Sequence Core::log(RecordType type, RecordBuilder& record) {
  try {
    return wal_->append(static_cast<std::uint8_t>(type), record.parts());
  } catch (const Error& error) {
    if (wal_->poisoned()) fail(error.what());
    throw;
  }
}

// Syncs as asked, publishes in sequence order. The change is the caller's and lives until it is
// published.
void Core::finish(Change& change, std::unique_lock<std::mutex>& lock) {
  if (options_.durability != Durability::kDisk) {
    publish(change);
    return;
  }
  in_flight_.push_back(&change);
  for (std::size_t i = 0; i < change.ids.size(); ++i) {
    in_flight_ids_[std::string(change.ids[i])] =
        change.removes ? kNoRow : change.first_row + static_cast<Row>(i);
  }
  lock.unlock();
  std::exception_ptr error;
  try {
    wal_->sync(change.sequence);  // shared with everybody who waits at the time
  } catch (const Error& e) {
    fail(e.what());
    error = std::current_exception();
  }
  lock.lock();
  if (error) {  // the outcome is unknown: nothing that was in flight is shown
    std::erase(in_flight_, &change);
    published_.notify_all();
    std::rethrow_exception(error);
  }
  // Whoever comes first publishes for all that have been synced.
  const Sequence durable = wal_->durable_sequence();
  while (!in_flight_.empty() && in_flight_.front()->sequence <= durable) {
    publish(*in_flight_.front());
    in_flight_.pop_front();
  }
  if (in_flight_.empty()) in_flight_ids_.clear();
  published_.notify_all();
  published_.wait(lock, [&] {
    return std::find(in_flight_.begin(), in_flight_.end(), &change) == in_flight_.end();
  });
}

void Core::publish(const Change& change) {
  bool first_pending = false;
  {
    const std::unique_lock state(state_mutex_);
    first_pending = active_.empty();
    active_.reserve(change.ids.size());
    for (std::size_t i = 0; i < change.ids.size(); ++i) {
      if (change.removes) {
        active_.erase(change.ids[i]);
      } else {
        active_.put(change.ids[i], change.first_row + static_cast<Row>(i),
                    change.metadata.empty() ? std::string_view() : change.metadata[i]);
      }
    }
    for (const Row row : change.retired) active_.retire(row);
    update_view([&](View& view) {
      view.sequence = change.sequence;
      if (!change.removes) view.rows = change.first_row + static_cast<Row>(change.ids.size());
      if (!change.retired.empty()) view.retired = view.retired.with_rows(change.retired);
    });
  }
  if (!wal_) return;  // replaying: the checkpoint comes at the end
  if (pending_is_full()) {
    checkpoint_job_->wake();
  } else if (first_pending) {
    checkpoint_job_->wake_after(kCheckpointIdle);
  }
}

// Writes the buffer's rows to the files; nothing is synced. On failure everything is as before.
void Core::flush_buffer() {
  if (!buffer_ || buffer_->size() == 0) return;
  const std::size_t n = buffer_->size();
  const std::size_t dim = manifest_.spaces[0].dimension;
  std::vector<std::string_view> ids(n);
  for (std::size_t i = 0; i < n; ++i)
    ids[i] = buffer_->id(buffer_->first_row() + static_cast<Row>(i));
  row_files_->append(buffer_->first_row(), {buffer_->rows(), n * dim}, {buffer_->fixes(), n}, ids);
  if (options_.durability == Durability::kMemory) wal_->flush();
  buffer_ = nullptr;
  update_view([&](View& view) {
    view.file = std::make_shared<const FileRows>(row_files_->view());
    view.buffer = nullptr;
  });
  index_job_->wake();
}

bool Core::pending_is_full() const {
  return active_.size() >= kPendingIds || active_.memory_bytes() >= kPendingBytes ||
         wal_->segment_bytes() >= kCheckpointLogBytes;
}

// The write lock, once there is room: when one side waits to be written out and the other is full
// as well, the writer waits for the checkpoint, so that memory stays bounded. A checkpoint that
// failed is tried again here, so that the caller learns why.
std::unique_lock<std::mutex> Core::writer_turn() {
  std::unique_lock lock(write_mutex_);
  check_writable();
  while (freezing_ || (frozen_ && pending_is_full())) {
    if (checkpoint_failed_) {
      lock.unlock();
      checkpoint();
      lock.lock();
    } else {
      published_.wait(lock);
    }
    check_writable();
  }
  return lock;
}

}  // namespace srvdb
