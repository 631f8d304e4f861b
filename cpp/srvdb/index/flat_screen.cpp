#include "srvdb/index/flat_screen.h"

#include "srvdb/index/live_rows.h"

namespace srvdb {
namespace {

constexpr std::size_t kLooseShare = 4;     // a block is loose when more than this part of it passes
constexpr std::size_t kLooseBlocks = 4;    // after as many of them
constexpr std::size_t kWithoutCodes = 60;  // so many blocks are done without codes

void prefetch_row(const RowsView& rows, Row row) noexcept {
  constexpr std::size_t kBytes = 512;  // the processor fetches the rest by itself
  const auto* at = reinterpret_cast<const char*>(rows.row(row));
  for (std::size_t b = 0; b < std::min(rows.dim * sizeof(float), kBytes); b += 64) {
    __builtin_prefetch(at + b);
  }
}

}  // namespace

// Rows [first, last) of what waits, as far as they pass; returns how many did.
std::size_t ScreenedTopK::score(std::size_t first, std::size_t last) {
  std::size_t n = 0;
  for (std::size_t i = first; i < last; ++i) {
    const Waiting& row = waiting_[i];
    if (row.key > limit_(row.bound.error, row.bound.norm)) continue;
    prefetch_row(*rows_, row.row);
    waiting_[first + n++] = row;
  }
  for (std::size_t i = first; i < first + n; ++i) {
    rows_->verify(waiting_[i].row);
    exact_.offer(waiting_[i].row);
  }
  if (n != 0) {
    exact_.settle();
    refresh();
  }
  return n;
}

void ScreenedTopK::settle() {
  const std::size_t n = waiting_.size();
  std::size_t done = n;
  if (n > k_) {
    // The k best keys first: their scores leave little of the rest.
    const auto kth = waiting_.begin() + static_cast<std::ptrdiff_t>(k_);
    std::nth_element(waiting_.begin(), kth, waiting_.end(),
                     [](const Waiting& a, const Waiting& b) { return a.key < b.key; });
    done = k_;
  }
  score(0, done);
  while (done < n) {
    // As many as pass, kStep at a time.
    std::size_t passing = 0;
    std::size_t end = done;
    for (; end < n && passing < kStep; ++end) {
      const Waiting& row = waiting_[end];
      passing += row.key <= limit_(row.bound.error, row.bound.norm) ? 1u : 0u;
    }
    if (passing != 0) score(done, end);
    done = end;
  }
  waiting_.clear();
}

void CodeScreen::block(Row first, Row last, const RowBitmap* excluded, ScreenedTopK& top) {
  if (excluded != nullptr && is_sparse(excluded->count(first, last), last - first)) {
    return offer_left(first, last, excluded, top);
  }
  for (Row at = first; at < last;) {
    const std::size_t next = (std::size_t{at} / kBoundRows + 1) * kBoundRows;
    const auto end = static_cast<Row>(std::min<std::size_t>(last, next));
    const std::size_t out = excluded != nullptr ? excluded->count(at, end) : 0;
    if (without_ > 0) {
      --without_;
      offer_floats(at, end, excluded, top);
    } else if (is_sparse(out, end - at)) {
      offer_left(at, end, excluded, top);
    } else {
      offer_all(at, end, out != 0 ? excluded : nullptr, top);
    }
    at = end;
  }
}

void CodeScreen::offer_left(Row first, Row last, const RowBitmap* excluded, ScreenedTopK& top) {
  LiveRows live(excluded, first, last);
  while (const std::size_t n = live.next(few_)) {
    for (std::size_t i = 0; i < n; ++i) codes_.verify(few_[i]);
    distance_.keys_many(codes_.base, few_, n, keys_);
    for (std::size_t i = 0; i < n; ++i) {
      const CodeBound bound = bounds_.row(few_[i]);
      if (keys_[i] <= top.limit()(bound.error, bound.norm)) top.offer(keys_[i], few_[i], bound);
    }
    top.settle_first();
  }
}

void CodeScreen::offer_all(Row first, Row last, const RowBitmap* excluded, ScreenedTopK& top) {
  const CodeBound largest = bounds_.rows(first, last);
  const KeyLimit limit = top.limit();
  const std::size_t n = last - first;
  distance_.keys_rows(codes_.code(first), n, keys_);
  const std::size_t hits =
      kernels_.select_not_above_i32(keys_, n, limit(largest.error, largest.norm), picked_);
  std::size_t passed = 0;
  for (std::size_t i = 0; i < hits; ++i) {
    const Row row = first + picked_[i];
    const CodeBound bound = bounds_.row(row);
    passed_[passed] = {keys_[picked_[i]], row, bound};
    passed += passed_[passed].key <= limit(bound.error, bound.norm) ? 1u : 0u;
  }
  if (top.full() && passed * kLooseShare > n) {
    if (++loose_ >= kLooseBlocks) without_ = kWithoutCodes;
    return offer_floats(first, last, excluded, top);
  }
  loose_ = 0;
  for (std::size_t i = 0; i < passed; ++i) {
    if (excluded != nullptr && excluded->test(passed_[i].row)) continue;
    top.offer(passed_[i].key, passed_[i].row, passed_[i].bound);
  }
  top.settle_first();
}

void CodeScreen::offer_floats(Row first, Row last, const RowBitmap* excluded, ScreenedTopK& top) {
  const Row middle = std::min(last, rows_.contiguous_end(first));
  floats_.block(first, middle, excluded, top.exact());
  if (middle < last) floats_.block(middle, last, excluded, top.exact());
  top.refresh();
}

}  // namespace srvdb
