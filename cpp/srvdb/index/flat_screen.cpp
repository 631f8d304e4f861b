#include "srvdb/index/flat_screen.h"

#include <functional>

#include "srvdb/index/live_rows.h"

namespace srvdb {
namespace {

constexpr std::size_t kLooseShare = 4;  // a block is loose when more than this part of it passes

}  // namespace

void ScreenedTopK::prune() {
  if (waiting_.size() < k_) return;
  std::vector<double> floors;
  floors.reserve(waiting_.size());
  for (const Waiting& row : waiting_) {
    floors.push_back(query_->score_floor(row.key, row.bound.error, row.bound.norm));
  }
  const auto kth = floors.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
  std::nth_element(floors.begin(), kth, floors.end(), std::greater<>());
  if (*kth <= threshold_) return;
  threshold_ = *kth;
  refresh();
  std::erase_if(waiting_, [this](const Waiting& row) { return !passes(row); });
}

void ScreenedTopK::make_room() {
  const auto has_room = [this] { return waiting_.size() * 4 <= capacity_ * 3; };
  prune();
  if (has_room()) return;
  narrow();
  if (has_room()) return;
  if (capacity_ < kMaxBuffer) {
    capacity_ *= 2;
  } else {
    settle();
  }
}

// Those of rows [first, last) of what waits that pass.
void ScreenedTopK::score(std::size_t first, std::size_t last) {
  std::size_t n = 0;
  for (std::size_t i = first; i < last; ++i) {
    if (!passes(waiting_[i])) continue;
    rows_->prefetch(waiting_[i].row);
    std::swap(waiting_[first + n++], waiting_[i]);
  }
  for (std::size_t i = first; i < first + n; ++i) {
    rows_->verify(waiting_[i].row);
    exact_.offer(waiting_[i].row);
  }
  if (n == 0) return;
  scored_ += n;
  exact_.settle();
  refresh();
}

void ScreenedTopK::narrow() {
  const auto best = static_cast<std::ptrdiff_t>(std::min(k_, waiting_.size()));
  if (waiting_.size() > k_) {
    std::nth_element(waiting_.begin(), waiting_.begin() + best, waiting_.end(), by_key);
  }
  score(0, static_cast<std::size_t>(best));
  waiting_.erase(waiting_.begin(), waiting_.begin() + best);
  std::erase_if(waiting_, [this](const Waiting& row) { return !passes(row); });
}

void ScreenedTopK::settle() {
  narrow();
  std::sort(waiting_.begin(), waiting_.end(), by_key);
  const std::size_t step = std::max(kStep, k_ / 8);  // a look goes over k rows
  for (std::size_t done = 0; done < waiting_.size();) {
    std::size_t passing = 0;
    std::size_t end = done;
    for (; end < waiting_.size() && passing < step; ++end)
      passing += passes(waiting_[end]) ? 1u : 0u;
    score(done, end);
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
    codes_.verify(few_, n);
    distance_.keys_many(codes_.base, few_, n, keys_);
    for (std::size_t i = 0; i < n; ++i) {
      const CodeBound bound = bounds_.row(few_[i]);
      if (top.limit().admits(keys_[i], bound.error, bound.norm)) {
        top.offer(keys_[i], few_[i], bound);
      }
    }
    if (!top.has_limit()) top.prune();
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
    const std::uint32_t place = picked_[i];
    const std::int32_t key = keys_[place];
    const CodeBound bound = bounds_.row(first + place);
    passed_[passed] = {key, first + place, bound};
    passed += limit.admits(key, bound.error, bound.norm) ? 1u : 0u;
  }
  if (top.has_limit() && passed * kLooseShare > n) {
    if (++loose_ >= kLooseBlocks) {
      without_ = next_without_;
      next_without_ = std::min(2 * next_without_, kMostWithout);
    }
    top.narrow();  // for floats to meet a good threshold
    return offer_floats(first, last, excluded, top);
  }
  loose_ = 0;
  next_without_ = kFirstWithout;
  for (std::size_t i = 0; i < passed; ++i) {
    if (excluded != nullptr && excluded->test(passed_[i].row)) continue;
    top.offer(passed_[i].key, passed_[i].row, passed_[i].bound);
  }
  if (!top.has_limit()) top.prune();
}

void CodeScreen::offer_floats(Row first, Row last, const RowBitmap* excluded, ScreenedTopK& top) {
  const Row middle = std::min(last, rows_.contiguous_end(first));
  floats_.block(first, middle, excluded, top.exact());
  if (middle < last) floats_.block(middle, last, excluded, top.exact());
  top.refresh();
}

}  // namespace srvdb
