// Core: rows with a moment of expiry.
//
// The moments that come next are held in order, up to a bound (due_until_); later ones wait in the
// pending sides and in the metadata store until the bound is reached. Whoever reads or writes first
// asks whether something is due: one comparison while nothing is. A row that expires is gone, like
// one that was deleted, and the next checkpoint writes that down; it takes no log record, because
// after a crash the clock says the same again.

#include <algorithm>
#include <utility>

#include "srvdb/base/clock.h"
#include "srvdb/database/core.h"

namespace srvdb {
namespace {

constexpr std::size_t kDueWindow = 65536;  // moments read from the store at a time
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

}  // namespace

std::int64_t Core::expiry_of(const MetaStore::ReadTxn& store, Row row) const {
  if (const auto moment = active_.expiry(row)) return *moment;
  if (frozen_) {
    if (const auto moment = frozen_->changes.expiry(row)) return *moment;
  }
  return store.expires_at(row).value_or(0);
}

void Core::watch_expiry(Row row, std::int64_t expires_at) {
  if (expires_at != 0 && std::pair(expires_at, row) <= due_until_) due_.emplace(expires_at, row);
}

void Core::watch_expiry(const Change& change) {
  if (!change.expires_at.empty()) {
    for (std::size_t i = 0; i < change.expires_at.size(); ++i) {
      watch_expiry(change.first_row + static_cast<Row>(i), change.expires_at[i]);
    }
  }
  for (const UpdatedRow& row : change.updated) watch_expiry(row.now, row.expires_at.value_or(0));
  set_next_due();
}

void Core::set_next_due() {
  next_due_ = due_.empty() ? due_until_.first : due_.begin()->first;
}

// The next moments of the store and of the pending sides, as many as the window takes.
void Core::load_due(const MetaStore::ReadTxn& store) {
  const std::pair<std::int64_t, Row> from = due_until_;
  const std::vector<DueRow> next = store.next_due({from.first, from.second}, kDueWindow);
  due_until_ = next.size() < kDueWindow ? std::pair(kNever, kNoRow)
                                        : std::pair(next.back().expires_at, next.back().row);
  for (const DueRow& due : next) due_.emplace(due.expires_at, due.row);
  const auto take = [&](const PendingChanges& side) {
    for (const auto& [row, moment] : side.expiry_by_row()) {
      if (std::pair(moment, row) > from) watch_expiry(row, moment);
    }
  };
  take(active_);
  if (frozen_) take(frozen_->changes);
}

// Rows whose moment has come stop being seen. What is due may have been changed or removed since
// it was noted, so the row is asked again.
void Core::expire_due() {
  if (next_due_.load(std::memory_order_relaxed) == kNever) return;
  const std::int64_t now = now_ms();
  if (next_due_.load(std::memory_order_relaxed) > now) return;
  const std::unique_lock state(state_mutex_);
  with_store([&](const MetaStore::ReadTxn& store) {
    std::vector<Row> rows;
    const std::shared_ptr<const View> view = this->view();
    for (;;) {
      while (!due_.empty() && due_.begin()->first <= now) {
        const auto [moment, row] = *due_.begin();
        due_.erase(due_.begin());
        if (row < view->rows && !view->gone.test(row) && expiry_of(store, row) == moment) {
          rows.push_back(row);
        }
      }
      if (!due_.empty() || due_until_.first > now) break;
      load_due(store);
    }
    if (!rows.empty()) expire(rows);
    set_next_due();
  });
}

void Core::expire(const std::vector<Row>& rows) {
  const std::shared_ptr<const View> view = this->view();
  for (const Row row : rows) {
    active_.erase(view->id(row));
    active_.retire(row);
    if (view->soft.test(row)) active_.touch_soft(row);
  }
  update_view([&](View& next) {
    next.gone = next.gone.with_rows(rows);
    next.hidden = next.hidden.with_rows(rows);
    if (!next.soft.empty()) next.soft = next.soft.without_rows(rows);
  });
}

}  // namespace srvdb
