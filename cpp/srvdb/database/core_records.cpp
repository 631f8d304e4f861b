// Core: look-ups by id, records in id order, and what a database says of itself.

#include <algorithm>
#include <cerrno>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/database/core.h"
#include "srvdb/simd/dispatch.h"

namespace srvdb {
namespace {

constexpr const char* kNoMetadata = "{}";
constexpr std::size_t kIdPage = 4096;  // ids read from the store at a time, at most

std::vector<float> copy_row(const View& view, Row row) {
  const RowsView rows = view.rows_view();
  rows.verify(row);
  return {rows.row(row), rows.row(row) + rows.dim};
}

// Of the files directly in a directory; one that goes away meanwhile counts nothing.
std::uint64_t directory_bytes(FileSystem& files, const std::string& directory) {
  std::uint64_t bytes = 0;
  try {
    if (!files.exists(directory)) return 0;
    for (const std::string& name : files.list_dir(directory)) {
      const auto info = files.info(directory + "/" + name);
      if (info && !info->is_directory) bytes += info->size;
    }
  } catch (const Error& error) {
    if (error.os_error() != ENOENT) throw;
  }
  return bytes;
}

// Whether sorting the ids of all rows that match costs less than going over the ids of all rows
// until the page is full.
bool is_cheaper_sorted(std::size_t matches, std::size_t limit, std::size_t rows) {
  const auto found = static_cast<double>(matches);
  return found * found <= static_cast<double>(limit) * static_cast<double>(rows);
}

}  // namespace

std::optional<Row> Core::find_row(const MetaStore::ReadTxn& store, std::string_view id) const {
  std::optional<Row> row = active_.find(id);
  if (!row && frozen_) row = frozen_->changes.find(id);
  if (!row) return store.find_id(id);
  return *row == kNoRow ? std::nullopt : row;
}

std::string Core::metadata_of(const MetaStore::ReadTxn& store, Row row) const {
  std::optional<std::string_view> text = active_.metadata(row);
  if (!text && frozen_) text = frozen_->changes.metadata(row);
  if (!text) text = store.metadata(row);
  return std::string(text && !text->empty() ? *text : kNoMetadata);
}

Record Core::read_record(const MetaStore::ReadTxn& store, const View& view, std::string_view id,
                         Row row, const RecordOptions& options) const {
  Record record;
  record.id = id;
  if (options.metadata) record.metadata = metadata_of(store, row);
  if (options.embedding) record.embedding = copy_row(view, row);
  record.expires_at = expiry_of(store, row);
  record.deleted = view.soft.test(row);
  return record;
}

bool Core::contains(std::string_view id) {
  expire_due();
  const std::shared_lock state(state_mutex_);
  return with_store([&](const MetaStore::ReadTxn& store) {
    const std::optional<Row> row = find_row(store, id);
    return row && !view()->soft.test(*row);
  });
}

std::optional<std::string> Core::metadata(std::string_view id) {
  expire_due();
  const std::shared_lock state(state_mutex_);
  return with_store([&](const MetaStore::ReadTxn& store) -> std::optional<std::string> {
    const std::optional<Row> row = find_row(store, id);
    if (!row || view()->soft.test(*row)) return std::nullopt;
    return metadata_of(store, *row);
  });
}

std::vector<std::optional<Record>> Core::records(std::span<const std::string_view> ids,
                                                 const RecordOptions& options) {
  expire_due();
  std::vector<std::optional<Record>> out(ids.size());
  const bool filtered = !options.where.empty();
  if (filtered) match({&options.where, 1});  // most of it before the lock is taken
  const std::shared_lock state(state_mutex_);
  const std::shared_ptr<const View> view = this->view();
  with_store([&](const MetaStore::ReadTxn& store) {
    FilterCache::Entry filter;
    if (filtered) filter = match_now(options.where, view, store);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::optional<Row> row = find_row(store, ids[i]);
      if (!row || (!options.include_deleted && view->soft.test(*row))) continue;
      if (filtered && !filter.answer->matches.test(*row)) continue;
      out[i] = read_record(store, *view, ids[i], *row, options);
    }
  });
  return out;
}

std::vector<std::string> Core::deleted_ids() {
  expire_due();
  const std::shared_ptr<const View> view = this->view();
  std::vector<std::string> out;
  for (const Row row : view->soft.rows()) out.emplace_back(view->id(row));
  std::sort(out.begin(), out.end());
  return out;
}

std::size_t Core::count(std::string_view where, Interrupt* interrupt) {
  expire_due();
  if (where.empty()) return view()->live();
  const Matching matching = match({&where, 1}, interrupt);
  return matching.rows().count_without(matching.view->hidden);
}

// Calls take(id, row) for the ids above `after`, in order, until it returns false. The store's ids
// and the pending ones are two sorted lists; the newer word on an id wins. `page`: how many are
// probably wanted. state_mutex_ is held.
void Core::scroll_all(const MetaStore::ReadTxn& store, std::string_view after, std::size_t page,
                      const std::function<bool(std::string_view id, Row row)>& take) const {
  LargeVector<std::pair<std::string_view, Row>> pending;
  if (frozen_) pending = frozen_->changes.sorted_after(after);
  const LargeVector<std::pair<std::string_view, Row>> newest = active_.sorted_after(after);
  pending.insert(pending.begin(), newest.begin(), newest.end());  // stable: the newer comes first
  std::stable_sort(pending.begin(), pending.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  pending.erase(std::unique(pending.begin(), pending.end(),
                            [](const auto& a, const auto& b) { return a.first == b.first; }),
                pending.end());
  const auto take_pending = [&](const auto& entry) {
    return entry.second == kNoRow || take(entry.first, entry.second);
  };
  auto next = pending.begin();
  std::string cursor(after);
  for (bool more = true; more; page = std::min(2 * page, kIdPage)) {
    const std::vector<IdRow> stored = store.scan_ids(cursor, page);
    more = stored.size() == page;
    for (const IdRow& entry : stored) {
      for (; next != pending.end() && next->first < entry.id; ++next) {
        if (!take_pending(*next)) return;
      }
      if (next != pending.end() && next->first == entry.id) {
        if (!take_pending(*next++)) return;
      } else if (!take(entry.id, entry.row)) {
        return;
      }
    }
    if (more) cursor = stored.back().id;
  }
  for (; next != pending.end(); ++next) {
    if (!take_pending(*next)) return;
  }
}

std::vector<Record> Core::scroll(std::string_view after, std::size_t limit,
                                 const RecordOptions& options) {
  std::vector<Record> out;
  if (limit == 0) return out;
  expire_due();
  const bool filtered = !options.where.empty();
  if (filtered) match({&options.where, 1});  // most of it before the lock is taken
  const std::shared_lock state(state_mutex_);
  const std::shared_ptr<const View> view = this->view();
  with_store([&](const MetaStore::ReadTxn& store) {
    RowBitmap matches;
    const RowBitmap& left_out = options.include_deleted ? view->gone : view->hidden;
    if (filtered) matches = match_now(options.where, view, store).answer->matches - left_out;
    if (filtered && matches.empty()) return;
    const auto take = [&](std::string_view id, Row row) {
      if (filtered ? matches.test(row) : !left_out.test(row)) {
        out.push_back(read_record(store, *view, id, row, options));
      }
      return out.size() < limit;
    };
    if (filtered && is_cheaper_sorted(matches.count(), limit, view->rows)) {
      std::vector<std::pair<std::string_view, Row>> found;
      for (const Row row : matches.rows()) {
        const std::string_view id = view->id(row);
        if (id > after) found.emplace_back(id, row);
      }
      std::sort(found.begin(), found.end());
      for (const auto& [id, row] : found) {
        if (!take(id, row)) return;
      }
      return;
    }
    scroll_all(store, after, std::min(limit, kIdPage), take);
  });
  return out;
}

std::optional<std::string> Core::hit_metadata(const View& view, Row row) const {
  const std::shared_lock state(state_mutex_);
  const std::shared_ptr<const View> now = this->view();
  return with_store([&](const MetaStore::ReadTxn& store) -> std::optional<std::string> {
    if (now->generation == view.generation) {
      if (now->gone.test(row)) return std::nullopt;
      return metadata_of(store, row);
    }
    const std::optional<Row> moved = find_row(store, view.id(row));  // rows have other numbers now
    if (!moved) return std::nullopt;
    return metadata_of(store, *moved);
  });
}

std::vector<float> Core::hit_embedding(const View& view, Row row) const {
  return copy_row(view, row);
}

Stats Core::stats() const {
  const std::shared_ptr<const View> view = this->view();
  Stats out;
  out.path = path_;
  out.dimension = view->dim;
  out.metric = metric_;
  out.mode = mode_;
  out.searching = searching(*view, {.ef = kDefaultEf}, 1);
  out.tuning = tuning(*view);
  out.calibration = view->calibration;
  out.durability = options_.durability;
  out.read_only = options_.read_only || failed_;
  out.m = graph_params_.m;
  out.ef_construction = graph_params_.ef_construction;
  {
    const std::shared_lock state(state_mutex_);  // so that the store stays
    out.indexed_fields =
        with_store([](const MetaStore::ReadTxn& store) { return FieldCatalogue(store).only(); });
  }
  out.buffer_bytes = options_.buffer_bytes;
  out.flush_rows = options_.flush_rows;
  out.generation = view->generation;
  out.sequence = view->sequence;
  out.checkpointed = applied_;
  out.rows = view->rows;
  out.live = view->live();
  out.soft_deleted = view->soft.count();
  out.gone = view->gone.count();
  out.buffered_rows = view->rows - view->file_rows();
  out.coded_rows = std::min(view->index->coded(), view->rows);
  out.short_coded_rows = std::min(view->index->shorter().codes.rows, view->rows);
  out.linked_rows = std::min(view->index->linked(), view->rows);
  if (const std::shared_ptr<const Indexer> indexer = this->indexer()) {
    out.graph_saved_rows = indexer->saved_rows();
  }
  if (view->index->graph) out.graph_memory_bytes = view->index->graph->memory_bytes();
  out.simd = simd::kernels().name;
  out.memory.limit = memory_->limit();
  out.memory.links = memory_->anonymous();
  out.memory.working_files = memory_->in_files();
  out.memory.queries = queries_.bytes();
  out.memory.filters = filters_.bytes();
  {
    const std::shared_lock state(state_mutex_);
    out.memory.pending = active_.memory_bytes();
    if (frozen_) out.memory.pending += frozen_->changes.memory_bytes();
  }
  {
    const std::lock_guard lock(write_mutex_);
    if (buffer_) out.memory.buffers += buffer_->bytes();
    if (spare_buffer_) out.memory.buffers += spare_buffer_->bytes();
    if (wal_) out.wal_bytes = wal_->live_bytes();
  }
  for (const std::string& directory :
       {path_, path_ + "/wal", path_ + "/" + generation_directory(view->generation)}) {
    out.disk_bytes += directory_bytes(files_, directory);
  }
  const MetaStoreStats store = [&] {
    const std::shared_lock state(state_mutex_);
    return meta_->stats();
  }();
  if (store.oldest_reader != 0) out.oldest_reader_sequence = store.oldest_reader;
  const std::lock_guard lock(failure_mutex_);
  out.background_error = !failure_.empty()            ? failure_
                         : !checkpoint_error_.empty() ? checkpoint_error_
                         : !snapshot_error_.empty()   ? snapshot_error_
                         : !tuning_error_.empty()     ? tuning_error_
                                                      : index_error_;
  return out;
}

}  // namespace srvdb
