// The metadata of the rows of one moment: what the store holds, and what is pending above it.
//
// PendingTexts holds the pending texts that matter, taken while the core's state stands still: a
// copy of those of the side that changes, views of those of a frozen one. RowDocuments reads rows
// in ascending order out of both. Not thread-safe; a RowDocuments borrows what it is made of.
// Reading throws Error(kCorruption) for damaged entries.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "srvdb/database/pending.h"
#include "srvdb/database/view.h"
#include "srvdb/filter/column.h"
#include "srvdb/storage/meta_store.h"

namespace srvdb {

// Filters go over rows in blocks of this many, and sets of rows within one are words of bits.
inline constexpr unsigned kBlockBits = filter::kColumnShift;
inline constexpr Row kBlockRows = Row{1} << kBlockBits;
using RowBits = std::array<std::uint64_t, kBlockRows / 64>;

class PendingTexts {
 public:
  // Takes what sides say of the rows from `first` on and of those in `also`. `frozen` (or null)
  // must live on; the other side is copied.
  void take(std::shared_ptr<const PendingChanges> frozen, const PendingChanges& active, Row first,
            std::span<const Row> also);
  // To be called once, after the last side.
  void finish();
  // What is pending of a row; empty: its metadata were taken away.
  std::optional<std::string_view> find(Row row) const;
  // In row order, each once.
  std::span<const std::pair<Row, std::string_view>> texts() const noexcept { return texts_; }

 private:
  void take(const PendingChanges& side, bool copies, Row first, std::span<const Row> also);

  std::vector<std::pair<Row, std::string_view>> texts_;
  TextArena arena_;
  std::shared_ptr<const PendingChanges> frozen_;
};

class RowDocuments {
 public:
  RowDocuments(std::shared_ptr<const View> view, const MetaStore::ReadTxn& store,
               const PendingTexts& pending)
      : view_(std::move(view)),
        store_(store),
        pending_(pending),
        stored_(store.state().published_rows) {}

  const View& view() const noexcept { return *view_; }
  const std::shared_ptr<const View>& shared_view() const noexcept { return view_; }
  const MetaStore::ReadTxn& store() const noexcept { return store_; }
  const PendingTexts& pending() const noexcept { return pending_; }
  // Rows that the store knows of.
  Row stored() const noexcept { return stored_; }

  // That there are rows of a block whose metadata are pending, or may be.
  bool has_pending(Row block) const noexcept;
  // Rows of a block whose metadata are pending: those behind the store's, and those changed since.
  RowBits pending_rows(Row block) const noexcept;
  // Metadata of one row, "{}" when it has none; valid while what this is made of lives.
  std::string_view metadata(Row row) const;
  // Calls found(row, metadata) for each of the rows of a block, in row order; "{}" for a row that
  // has none. The text is valid during the call.
  using Found = std::function<void(Row row, std::string_view metadata)>;
  void each(Row block, const RowBits& rows, const Found& found) const;

 private:
  void each_by_row(Row block, const RowBits& rows, const Found& found) const;
  void each_in_order(Row block, const RowBits& rows, const Found& found) const;

  std::shared_ptr<const View> view_;
  const MetaStore::ReadTxn& store_;
  const PendingTexts& pending_;
  Row stored_;
};

// Rows of a block that the view has and that are not gone.
RowBits rows_of(const View& view, Row block);

// Calls call(row) for the rows of a block, ascending.
template <typename Call>
void for_each_row(Row block, const RowBits& rows, Call&& call) {
  for (std::size_t w = 0; w < rows.size(); ++w) {
    for (std::uint64_t bits = rows[w]; bits != 0; bits &= bits - 1) {
      call((block << kBlockBits) + static_cast<Row>(64 * w) +
           static_cast<Row>(__builtin_ctzll(bits)));
    }
  }
}

}  // namespace srvdb
