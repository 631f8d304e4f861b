// Changes that are published but not yet in the metadata store: one side of the two the core keeps
// (the active one, and the frozen one that a checkpoint is writing out).
//
// An id maps to its newest row, or to kNoRow when it was removed. Metadata of new rows lies in row
// order; that of rows which were there before, and moments of expiry, by row. Ids, metadata and
// change-log entries are copied into blocks of memory that never move, so that the string_views
// handed out live as long as the object. Not thread-safe: the core's state lock guards
// it; a frozen side is not changed any more and may be read by anyone who holds it.
//
// The one home of robin-map.
#pragma once

#include <tsl/robin_map.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "srvdb/base/large_memory.h"
#include "srvdb/base/text_arena.h"
#include "srvdb/base/types.h"

namespace srvdb {

class PendingChanges {
 public:
  PendingChanges() { ids_.max_load_factor(kMaxLoad); }

  // Outcome of a look-up: the id's row, or kNoRow when this side knows that it was removed.
  std::optional<Row> find(std::string_view id) const;
  // Metadata that this side gave a row; nullopt when it gave none. Empty: taken away.
  std::optional<std::string_view> metadata(Row row) const;

  // Sets an id to a row (rows ascend from call to call). An empty text is no metadata.
  void put(std::string_view id, Row row, std::string_view metadata);
  void erase(std::string_view id);
  // Notes that a row is gone for good: its metadata and expiry may go.
  void retire(Row row) { retired_.push_back(row); }
  // Notes that the row was soft-deleted or restored.
  void touch_soft(Row row) { soft_touched_.push_back(row); }
  // Replaces the metadata of a row that was there before.
  void set_metadata(Row row, std::string_view text) { edits_[row] = arena_.copy(text); }
  // Moment of expiry in milliseconds since the epoch; 0: the row stays.
  void set_expiry(Row row, std::int64_t expires_at) { expiry_[row] = expires_at; }
  // What this side says of it.
  std::optional<std::int64_t> expiry(Row row) const;
  void add_log(Sequence sequence, std::string_view entry) {
    log_.emplace_back(sequence, arena_.copy(entry));
  }
  // Change-log entries below the sequence are no longer wanted.
  void trim_log(Sequence before) { trimmed_ = std::max(trimmed_, before); }
  void reserve(std::size_t more_ids);

  bool empty() const noexcept { return log_.empty() && retired_.empty(); }
  std::size_t size() const noexcept { return ids_.size(); }
  std::size_t memory_bytes() const noexcept;

  // Every id with its row, in byte order of the ids.
  LargeVector<std::pair<std::string_view, Row>> sorted() const;
  // As sorted(), only ids greater than `after`.
  LargeVector<std::pair<std::string_view, Row>> sorted_after(std::string_view after) const;
  const LargeVector<std::pair<Row, std::string_view>>& metadata_by_row() const { return metadata_; }
  const std::vector<Row>& retired() const { return retired_; }
  const std::vector<Row>& soft_touched() const { return soft_touched_; }
  // Of rows that were there before, in no order.
  const std::unordered_map<Row, std::string_view>& edited_metadata() const { return edits_; }
  const std::unordered_map<Row, std::int64_t>& expiry_by_row() const { return expiry_; }
  // In order of sequence.
  const std::vector<std::pair<Sequence, std::string_view>>& log() const { return log_; }
  Sequence log_trimmed_before() const noexcept { return trimmed_; }

 private:
  void set(std::string_view id, Row row);

  struct Hash {
    std::size_t operator()(std::string_view id) const noexcept {
      return std::hash<std::string_view>{}(id);
    }
  };
  using Map = tsl::robin_map<std::string_view, Row, Hash, std::equal_to<std::string_view>,
                             LargeAllocator<std::pair<std::string_view, Row>>, true>;
  static constexpr float kMaxLoad = 0.8F;  // two sides of 128k ids are a good part of the memory
  Map ids_;
  LargeVector<std::pair<Row, std::string_view>> metadata_;
  std::unordered_map<Row, std::string_view> edits_;
  std::unordered_map<Row, std::int64_t> expiry_;
  std::vector<Row> retired_;
  std::vector<Row> soft_touched_;
  std::vector<std::pair<Sequence, std::string_view>> log_;
  Sequence trimmed_ = 0;
  TextArena arena_;
};

// Indexes of the ids in byte order; equal ids keep their order. Ids already in order are not sorted
// again.
std::vector<std::uint32_t> sort_ids(std::size_t count, const std::string_view* ids);

}  // namespace srvdb
