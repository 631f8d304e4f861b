// Core: one write, from the caller's batch to the View.

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "srvdb/base/clock.h"
#include "srvdb/base/error.h"
#include "srvdb/base/planted_bugs.h"
#include "srvdb/database/batch_check.h"
#include "srvdb/database/core.h"

namespace srvdb {
namespace {

constexpr std::size_t kPieceBytes = 512u << 10;   // of rows on their way to vectors.bin
constexpr std::size_t kDirectBytes = 1u << 20;    // batches from here on go straight to vectors.bin
constexpr std::size_t kPendingIds = 128u << 10;   // a checkpoint is due at so many pending ids,
constexpr std::size_t kPendingBytes = 12u << 20;  // or at so many bytes of ids and metadata,
constexpr std::uint64_t kCheckpointLogBytes = 64u << 20;  // or of log
constexpr std::size_t kSpareBufferBytes = 16u << 20;      // larger append buffers are not kept
constexpr std::size_t kBufferedIdBytes = 40;  // what the append buffer is taken to hold for an id

std::uint64_t total_bytes(std::span<const std::string_view> texts) {
  std::uint64_t bytes = 0;
  for (const std::string_view text : texts) bytes += text.size();
  return bytes;
}

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
                                 memory_->pending_ids(32768));
}

// ---- look-ups under the write lock -------------------------------------------------------------

std::optional<Row> Core::find_pending(std::string_view id) const {
  if (const auto row = active_.find(id)) return row;
  return frozen_ ? frozen_->changes.find(id) : std::nullopt;
}

// Calls found(index, row) for each of the ids that exists, in no particular order. None of them is
// in flight (writer_turn).
void Core::find_existing(std::span<const std::string_view> ids,
                         const std::function<void(std::size_t, Row)>& found) const {
  const std::shared_lock state(state_mutex_);
  const bool store_has_ids = applied_ > 0;
  const bool anything_pending = !active_.empty() || frozen_;
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

// Whether no row has the id.
bool Core::is_new(std::string_view id) const {
  const std::shared_lock state(state_mutex_);
  if (const auto row = find_pending(id)) return *row == kNoRow;
  if (applied_ == 0) return true;
  return with_store([&](const MetaStore::ReadTxn& store) { return !store.find_id(id); });
}

// The ids that exist, in order of their rows, each row once.
std::vector<Core::Target> Core::find_targets(std::span<const std::string_view> ids) const {
  const std::shared_ptr<const View> view = this->view();
  std::vector<Target> out;
  find_existing(ids, [&](std::size_t i, Row row) {
    out.push_back({i, row, !view->soft.empty() && view->soft.test(row)});
  });
  std::sort(out.begin(), out.end(), [](const Target& a, const Target& b) {
    return a.row != b.row ? a.row < b.row : a.index < b.index;
  });
  out.erase(std::unique(out.begin(), out.end(),
                        [](const Target& a, const Target& b) { return a.row == b.row; }),
            out.end());  // an id given twice
  return out;
}

// Rows that the batch replaces; refuses ids that exist unless it is an upsert.
// `order`: the batch's ids in byte order, which the store wants them in.
std::vector<Row> Core::look_up(const Batch& batch, std::span<const std::uint32_t> order,
                               bool upsert) const {
  if (batch.ids.size() == 1 && is_new(batch.ids[0])) return {};
  std::vector<Row> replaced;
  std::size_t first = batch.ids.size();
  Row first_row = kNoRow;
  std::vector<std::string_view> sorted;
  sorted.reserve(order.size());
  for (const std::uint32_t i : order) sorted.push_back(batch.ids[i]);
  find_existing(sorted, [&](std::size_t i, Row row) {
    if (order[i] < first) {
      first = order[i];
      first_row = row;
    }
    replaced.push_back(row);
  });
  if (!upsert && !replaced.empty()) {
    const bool soft = view()->soft.test(first_row);
    throw Error(ErrorCode::kDuplicateId,
                item_prefix(batch, first) + "id " + quoted(batch.ids[first]) +
                    (soft ? " is soft-deleted (restore brings it back, upsert replaces it)"
                          : " already exists (upsert replaces)"));
  }
  return replaced;
}

// ---- the write ---------------------------------------------------------------------------------

std::size_t Core::write(const Batch& batch, bool upsert) {
  if (batch.ids.empty()) return 0;
  check_batch(batch);
  static constexpr std::uint32_t kOnly = 0;
  if (batch.ids.size() == 1) return write_distinct(batch, {&kOnly, 1}, upsert);
  const std::vector<std::uint32_t> order = sort_ids(batch.ids.size(), batch.ids.data());
  const std::vector<bool> replaced = check_duplicates(batch, order, upsert);
  if (replaced.empty()) return write_distinct(batch, order, upsert);
  check_finite(batch);  // the replaced items too
  const KeptItems kept(batch, replaced);
  const Batch rest = kept.batch();
  return write_distinct(rest, sort_ids(rest.ids.size(), rest.ids.data()), upsert);
}

// Ids are distinct and, like metadata, checked; rows are checked as they are copied.
std::size_t Core::write_distinct(const Batch& batch, std::span<const std::uint32_t> order,
                                 bool upsert) {
  const std::size_t n = batch.ids.size();
  expire_due();
  std::unique_lock lock = writer_turn(batch.ids);
  if (manifest_.spaces[0].dimension == 0) check_finite(batch);  // before it fixes the dimension
  set_dimension(batch.dim);
  Change change;
  change.retired = look_up(batch, order, upsert);
  if (n > kMaxRows - next_row_) {
    throw Error(ErrorCode::kInvalidInput, "a database holds at most " + std::to_string(kMaxRows) +
                                              " rows, live and replaced ones together");
  }
  change.type = upsert ? RecordType::kUpsert : RecordType::kAdd;
  change.ids = batch.ids;
  change.metadata = batch.metadata;
  change.expires_at = batch.expires_at;
  change.first_row = next_row_;
  change.new_rows = static_cast<Row>(n);
  RecordBuilder record;
  record.ids(batch.ids);
  if (!batch.metadata.empty()) record.metadata(batch.metadata);
  if (!batch.expires_at.empty()) record.expiry(batch.expires_at);
  try {
    store_rows(batch, record);
    log(change, record);
  } catch (...) {
    forget_rows(batch.ids);
    throw;
  }
  next_row_ += static_cast<Row>(n);
  finish(change, lock);
  return n;
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
  std::unique_ptr<RowFiles> files = writing([&] {
    for (const char* name : {"vectors.bin", "rows.fix", "ids.bin", "ids.fix"}) {
      const std::string file = directory + "/" + name;
      if (files_.exists(file)) files_.remove(file);  // of a first batch that never came to be
    }
    auto created = RowFiles::create(files_, directory, manifest.uuid, manifest.generation,
                                    manifest.spaces[0].dimension);
    created->sync();
    files_.sync_dir(directory);
    return created;
  });
  replace_manifest(std::move(manifest));
  row_files_ = std::move(files);
  show_rows(nullptr);
  update_view([&](View& view) { view.dim = dim; });
  start_indexer();
  index_job_->wake();
}

void Core::replace_manifest(Manifest manifest) {
  writing([&] { write_manifest(files_, path_, manifest); });
  manifest_ = std::move(manifest);
}

std::size_t Core::buffer_capacity() const {
  const std::size_t dim = manifest_.spaces[0].dimension;
  const std::size_t row_bytes = dim * sizeof(float) + sizeof(RowFix) + kBufferedIdBytes;
  return std::min(std::max<std::size_t>(1, options_.buffer_bytes / row_bytes), options_.flush_rows);
}

// Puts the rows where they wait for a checkpoint, and says so in the record: a small batch into the
// buffer (and its rows into the record), a large one straight into the files.
void Core::store_rows(const Batch& batch, RecordBuilder& record) {
  const std::size_t n = batch.ids.size();
  const std::size_t bytes = n * batch.dim * sizeof(float);
  const auto dim = static_cast<std::uint32_t>(batch.dim);
  const auto count = static_cast<std::uint32_t>(n);
  const std::size_t capacity = buffer_capacity();
  if (bytes < kDirectBytes && n <= capacity) {
    if (!buffer_ || !buffer_->has_room(n)) {
      flush_buffer();
      begin_buffer(capacity);
    }
    for (std::size_t i = 0; i < n; ++i) {
      buffer_->push(batch.rows + i * batch.dim, {}, batch.ids[i]);
      buffer_->fix_last(fix_row(batch, i, buffer_->row(next_row_ + static_cast<Row>(i))));
    }
    const auto* const copy = reinterpret_cast<const std::uint8_t*>(buffer_->row(next_row_));
    record.rows({0, dim, next_row_, count, {copy, bytes}});
    return;
  }
  flush_buffer();
  const std::vector<RowFix> fixes = write_direct(batch);
  writing([&] {
    row_files_->append_ids(next_row_, batch.ids);
    if (options_.durability == Durability::kDisk) sync_rows();
    show_rows(nullptr);
  });
  record.direct_rows({0, dim, next_row_, count, direct_rows_crc(fixes)});
}

// Rows to vectors.bin and rows.fix by way of a small piece of memory that stays in the cache: each
// row is read once, and what is checked is what is written.
std::vector<RowFix> Core::write_direct(const Batch& batch) {
  const std::size_t n = batch.ids.size();
  const std::size_t step = std::max<std::size_t>(1, kPieceBytes / (batch.dim * sizeof(float)));
  const auto piece = std::make_unique_for_overwrite<float[]>(std::min(n, step) * batch.dim);
  std::vector<RowFix> fixes(n);
  for (std::size_t first = 0; first < n; first += step) {
    const std::size_t count = std::min(step, n - first);
    for (std::size_t i = 0; i < count; ++i) {
      float* const copy = piece.get() + i * batch.dim;
      std::memcpy(copy, batch.rows + (first + i) * batch.dim, batch.dim * sizeof(float));
      fixes[first + i] = fix_row(batch, first + i, copy);
    }
    writing([&] {
      row_files_->write_rows(next_row_ + static_cast<Row>(first), {piece.get(), count * batch.dim},
                             std::span(fixes).subspan(first, count));
    });
  }
  return fixes;
}

// Takes back what store_rows() did for a batch that was not logged. No View has shown it.
void Core::forget_rows(std::span<const std::string_view> ids) {
  if (planted(Bug::kKeepRefusedRows)) return;
  if (buffer_ && buffer_->first_row() + buffer_->size() > next_row_) {
    buffer_->shrink(next_row_ - buffer_->first_row());
  }
  if (failed_ || row_files_->rows() <= next_row_) return;
  try {
    row_files_->truncate_to({next_row_, row_files_->id_bytes() - total_bytes(ids)});
    show_rows(nullptr);
  } catch (const std::exception& error) {
    fail(error.what());  // the caller hears why the batch was refused, the next one of this
  }
}

// Appends the record; the change gets its time and sequence.
void Core::log(Change& change, RecordBuilder& record) {
  change.time_us = now_us();
  if (change.type != RecordType::kEvent) change.operation = static_cast<LogOperation>(change.type);
  record.time(change.time_us);
  try {
    change.sequence = wal_->append(static_cast<std::uint8_t>(change.type), record.parts());
  } catch (const Error& error) {
    if (wal_->poisoned()) fail(error.what());
    throw;
  }
}

// Syncs as asked, publishes in sequence order. The change is the caller's and lives until it is
// published. When that fails the outcome is unknown: nothing that is in flight is shown any more.
void Core::finish(Change& change, std::unique_lock<std::mutex>& lock) {
  try {
    if (options_.durability != Durability::kDisk) {
      publish(change);
      return;
    }
    in_flight_.push_back(&change);
    for (const std::string_view id : change.ids) in_flight_ids_.emplace(id);
    lock.unlock();
    wal_->sync(change.sequence - (planted(Bug::kAcknowledgeBeforeSync)
                                      ? 1
                                      : 0));  // shared with everybody who waits at the time
    lock.lock();
    // What was logged before is synced too: whoever comes first publishes it.
    while (std::find(in_flight_.begin(), in_flight_.end(), &change) != in_flight_.end()) {
      if (failed_)
        throw Error(ErrorCode::kStorage, path_ + ": the outcome of the write is unknown");
      publish(*in_flight_.front());
      in_flight_.pop_front();
    }
  } catch (const std::exception& error) {
    fail(error.what());
    if (!lock.owns_lock()) lock.lock();
    std::erase(in_flight_, &change);
    end_of_flight();
    throw;
  }
  end_of_flight();
}

void Core::end_of_flight() {
  if (in_flight_.empty()) in_flight_ids_.clear();
  published_.notify_all();
}

bool Core::is_in_flight(std::span<const std::string_view> ids) const {
  if (in_flight_ids_.empty()) return false;
  return std::any_of(ids.begin(), ids.end(),
                     [&](std::string_view id) { return in_flight_ids_.contains(id); });
}

// ---- rows on their way to the files ------------------------------------------------------------

// Lets new Views read rows() rows from the files and those behind them from `buffer`, which begins
// there and takes the place of the present one.
void Core::show_rows(std::shared_ptr<RowBuffer> buffer) {
  const auto file = std::make_shared<const FileRows>(row_files_->view());
  update_view([&](View& view) {
    view.file = file;
    view.buffer = buffer;
  });
  buffer_.swap(buffer);
  // The old one's memory serves again when no View of a reader has it. Counting one up orders what
  // comes after the last reader's release.
  const std::shared_ptr<RowBuffer> old = buffer;
  if (old && old.use_count() == 2 && options_.buffer_bytes <= kSpareBufferBytes) {
    spare_buffer_ = old;
  }
}

// An empty append buffer for the rows from next_row_ on.
void Core::begin_buffer(std::size_t capacity) {
  std::shared_ptr<RowBuffer> buffer = std::exchange(spare_buffer_, nullptr);
  if (buffer && buffer->capacity() == capacity) {
    buffer->restart(next_row_);
  } else {
    buffer = std::make_shared<RowBuffer>(next_row_, capacity, manifest_.spaces[0].dimension);
  }
  writing([&] { show_rows(buffer); });
}

// Writes the buffer's rows to the files; nothing is synced. After a failure the buffer is still
// there, and the next try goes on where this one ended.
void Core::flush_buffer() {
  if (!buffer_ || buffer_->size() == 0) return;
  const std::size_t dim = manifest_.spaces[0].dimension;
  writing([&] {
    if (options_.durability == Durability::kMemory && wal_) wal_->flush();
    const Row first = row_files_->rows();
    const std::size_t done = first - buffer_->first_row();
    const std::size_t n = buffer_->size() - done;
    std::vector<std::string_view> ids(n);
    for (std::size_t i = 0; i < n; ++i) ids[i] = buffer_->id(first + static_cast<Row>(i));
    row_files_->append(first, {buffer_->row(first), n * dim}, {buffer_->fixes() + done, n}, ids);
    show_rows(nullptr);
  });
  if (wal_) index_job_->wake();  // not while the log is replayed
}

// A failed sync is final, whatever its error: a second one may succeed though pages were lost.
void Core::sync_rows() {
  try {
    row_files_->sync();
  } catch (const Error& error) {
    fail(error.what());
    throw;
  }
}

// Whether so much waits that `sides` of this size are full.
bool Core::pending_is_full(std::size_t sides) const {
  const std::shared_lock state(state_mutex_);
  return active_.size() >= sides * memory_->pending_ids(kPendingIds) ||
         active_.memory_bytes() >= sides * memory_->pending_bytes(kPendingBytes) ||
         wal_->segment_bytes() >= sides * kCheckpointLogBytes;
}

// The write lock, once there is room: when one side is being written out and the other is full as
// well, or twice as full as it may be before a checkpoint has begun, the writer waits for it, so
// that memory stays bounded. A checkpoint that
// failed is tried again here, so that the caller learns why. Ids that somebody else is changing at
// the moment are waited for: from then on look-ups tell what they are.
std::unique_lock<std::mutex> Core::writer_turn(std::span<const std::string_view> ids) {
  std::unique_lock lock(write_mutex_);
  for (;;) {
    check_writable();
    const bool full = pending_is_full(frozen_ ? 1 : 2);
    if (!held_ && !freezing_ && !full && !is_in_flight(ids)) return lock;
    if (full && checkpoint_failed_) {
      lock.unlock();
      checkpoint();
      lock.lock();
    } else {
      published_.wait(lock);
    }
    check_writable();
  }
}

}  // namespace srvdb
