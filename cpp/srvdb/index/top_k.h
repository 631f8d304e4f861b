// The k best rows of a scan, kept exactly in bounded memory. Internal to the index layer.
//
// Rows that may belong to the answer are offered; they wait in a buffer until it is full, are then
// scored in double precision, and all but the k best are dropped. threshold() is the k-th best
// exact score so far: a row that is proven to score below it need not be offered. Offering too
// many rows costs time and nothing else, so the answer does not depend on the order or the
// grouping of offers.
//
// Not thread-safe. Results of several ExactTopK for one query are joined with merge().
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "srvdb/distance/metric.h"
#include "srvdb/index/row_bitmap.h"
#include "srvdb/index/rows.h"
#include "srvdb/index/scored_row.h"
#include "srvdb/simd/kernels.h"

namespace srvdb {

class ExactTopK {
 public:
  // Borrows everything; k >= 1.
  ExactTopK(const RowsView& rows, Metric metric, const float* query, std::size_t k,
            const RowBitmap* excluded)
      : rows_(&rows),
        scorer_(metric, query, rows.dim),
        k_(k),
        capacity_(std::max<std::size_t>(k, kMinBuffer)),
        excluded_(excluded) {}

  double threshold() const noexcept { return threshold_; }
  bool full() const noexcept { return full_; }  // k rows have been scored: there is a threshold
  double query_norm() const noexcept { return scorer_.query_norm(); }
  std::size_t waiting() const noexcept { return waiting_.size(); }

  // The row's bytes have been verified.
  void offer(Row row) {
    if (excluded_ != nullptr && excluded_->test(row)) return;
    waiting_.push_back(row);
    if (waiting_.size() >= capacity_) settle();
  }
  // Scores what waits.
  void settle() {
    constexpr std::size_t kSide = simd::kScoredAtOnce;
    const std::size_t n = waiting_.size();
    for (std::size_t i = 0; i < n; i += kSide) {
      const float* at[kSide];  // the last row stands in for what is missing
      const float* ahead[kSide];
      double scores[kSide];
      for (std::size_t r = 0; r < kSide; ++r) {
        at[r] = rows_->row(waiting_[std::min(i + r, n - 1)]);
        ahead[r] = rows_->row(waiting_[std::min(i + kSide + r, n - 1)]);
      }
      scorer_.score_rows(at, ahead, scores);
      for (std::size_t r = 0; r < std::min(kSide, n - i); ++r) add({scores[r], waiting_[i + r]});
    }
    waiting_.clear();
    cut();
  }
  void merge(ExactTopK& other) {
    other.settle();
    for (const ScoredRow& row : other.best_) add(row);
    cut();
  }
  // The answer, best first. Leaves the object empty.
  std::vector<ScoredRow> take() {
    settle();
    std::sort(best_.begin(), best_.end(), better);
    best_.shrink_to_fit();  // many results may be held at one time
    return std::move(best_);
  }

 private:
  static constexpr std::size_t kMinBuffer = 256;

  void add(const ScoredRow& row) {
    if (full_ && !better(row, worst_)) return;
    best_.push_back(row);
    if (best_.size() >= k_ + capacity_) cut();
  }
  void cut() {
    if (best_.size() < k_) return;
    const auto last = best_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
    std::nth_element(best_.begin(), last, best_.end(), better);
    best_.resize(k_);
    worst_ = best_.back();
    threshold_ = worst_.score;
    full_ = true;
  }

  const RowsView* rows_;
  ExactScorer scorer_;
  std::size_t k_;
  std::size_t capacity_;
  const RowBitmap* excluded_;
  std::vector<Row> waiting_;
  std::vector<ScoredRow> best_;
  ScoredRow worst_;
  bool full_ = false;
  double threshold_ = -std::numeric_limits<double>::infinity();
};

// The k smallest keys of a scan of codes, equal keys by lower row: the same scheme on integers.
class KeyTopK {
 public:
  explicit KeyTopK(std::size_t k) : k_(k), capacity_(k + std::max<std::size_t>(k, 256)) {}

  // Keys above this cannot enter.
  std::int32_t threshold() const noexcept { return threshold_; }
  void offer(std::int32_t key, Row row) {
    if (key > threshold_) return;
    entries_.push_back({key, row});
    if (entries_.size() >= capacity_) cut();
  }
  std::vector<Neighbor>& settle() {
    cut();
    return entries_;
  }

 private:
  void cut() {
    if (entries_.size() < k_) return;
    const auto last = entries_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
    std::nth_element(entries_.begin(), last, entries_.end(), nearer);
    entries_.resize(k_);
    threshold_ = entries_.back().key;
  }

  std::size_t k_;
  std::size_t capacity_;
  std::vector<Neighbor> entries_;
  std::int32_t threshold_ = std::numeric_limits<std::int32_t>::max();
};

}  // namespace srvdb
