#include "srvdb/index/flat_scan.h"

#include <cmath>
#include <limits>

#include "srvdb/distance/margin.h"
#include "srvdb/index/live_rows.h"

namespace srvdb {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kSmallNorm = 0x1p-60;  // below it a product may underflow: scored exactly

float round_down(double value) noexcept {
  const auto nearest = static_cast<float>(value);
  return nearest <= value ? nearest : std::nextafter(nearest, -kInfinity);
}

// Norm bound of row `first`; those of the rows after it, in the same part, lie norm_step apart.
const float* norms_from(const RowsView& rows, Row first) noexcept {
  return first < rows.file_rows
             ? rows.file_norms + std::size_t{first} * rows.norm_step
             : rows.buffer_norms + std::size_t{first - rows.file_rows} * rows.norm_step;
}

// Computed squared distances above this belong to rows that are farther than `distance` for
// certain: solves c - l2_margin(c) > distance for c (the margin is linear in c).
float l2_limit(std::size_t dim, double distance) noexcept {
  const double fixed = l2_margin(dim, 0);
  const double slope = (l2_margin(dim, 1) - fixed) * (1 + 1e-6);
  const double limit = (distance + fixed) / (1 - slope) * (1 + 1e-12);
  if (!(limit < 0x1p125)) return kInfinity;
  return std::nextafter(static_cast<float>(limit), kInfinity);
}

constexpr std::size_t kAhead = 4;  // rows on their way from memory

}  // namespace

void FloatScan::block(Row first, Row last, const RowBitmap* excluded, ExactTopK& top) {
  if (excluded != nullptr && is_sparse(excluded->count(first, last), last - first)) {
    return offer_left(first, last, excluded, top);
  }
  for (Row at = first; at < last;) {
    const Row end = static_cast<Row>(std::min<std::size_t>(last, at + kScanRows));
    if (excluded != nullptr && is_sparse(excluded->count(at, end), end - at)) {
      offer_left(at, end, excluded, top);
    } else {
      offer_all(at, end, top);
    }
    at = end;
  }
}

void FloatScan::offer_left(Row first, Row last, const RowBitmap* excluded, ExactTopK& top) {
  LiveRows live(excluded, first, last);
  while (const std::size_t n = live.next(few_)) offer_few({few_, n}, top);
}

void FloatScan::offer_all(Row first, Row last, ExactTopK& top) {
  rows_.verify(first, last);
  score(first, last - first, scores_);
  const std::size_t hits = select(last - first, norms_from(rows_, first), rows_.norm_step, top);
  for (std::size_t i = 0; i < hits; ++i) top.offer(first + picked_[i]);
}

void FloatScan::offer_few(std::span<const Row> rows, ExactTopK& top) {
  for (std::size_t i = 0; i < rows.size();) {
    if (i + kAhead < rows.size()) rows_.prefetch(rows[i + kAhead]);
    const std::size_t end = run_end(rows, i);
    rows_.verify(rows[i], rows[i] + static_cast<Row>(end - i));
    score(rows[i], end - i, scores_ + i);
    for (; i < end; ++i) norms_[i] = rows_.norm_bound(rows[i]);
  }
  const std::size_t hits = select(rows.size(), norms_, 1, top);
  for (std::size_t i = 0; i < hits; ++i) top.offer(rows[picked_[i]]);
}

void FloatScan::score(Row first, std::size_t n, float* out) const noexcept {
  const auto kernel = metric_ == Metric::kL2 ? kernels_.l2sq_f32_rows : kernels_.dot_f32_rows;
  kernel(query_, rows_.row(first), rows_.dim, n, rows_.dim, out);
}

std::size_t FloatScan::select(std::size_t n, const float* norms, std::size_t step,
                              const ExactTopK& top) noexcept {
  const std::size_t dim = rows_.dim;
  if (metric_ == Metric::kL2) {
    return kernels_.select_not_above_f32(scores_, n, l2_limit(dim, -top.threshold()), picked_);
  }
  float largest = 0;
  for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, norms[i * step]);
  const double norm = top.query_norm() * (1 + 1e-9);
  const double margin = dot_margin(dim, norm, largest);
  if (metric_ == Metric::kIp) {
    const float limit = round_down(top.threshold() - margin * (1 + 1e-6));
    return kernels_.select_not_below_f32(scores_, n, limit, picked_);
  }
  if (!(margin < 0x1p126) || norm < kSmallNorm) return take_all(n);
  for (std::size_t i = 0; i < n; ++i) {
    const float bound = norms[i * step];
    const auto cosine = static_cast<float>(static_cast<double>(scores_[i]) / (norm * bound));
    scores_[i] = bound < kSmallNorm ? std::numeric_limits<float>::quiet_NaN() : cosine;
  }
  // Twice the margin for underflow, which kSmallNorm keeps below it, and the rounding of norms.
  const double cosine_margin = 2 * dot_margin(dim, 1, 1) + 0x1p-20;
  const float limit = round_down(top.threshold() - cosine_margin);
  return kernels_.select_not_below_f32(scores_, n, limit, picked_);
}

std::size_t FloatScan::take_all(std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) picked_[i] = static_cast<std::uint32_t>(i);
  return n;
}

}  // namespace srvdb
