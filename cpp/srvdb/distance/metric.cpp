#include "srvdb/distance/metric.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "srvdb/base/error.h"

namespace srvdb {

std::string_view metric_name(Metric metric) noexcept {
  switch (metric) {
    case Metric::kCosine:
      return "cosine";
    case Metric::kIp:
      return "ip";
    case Metric::kL2:
      return "l2";
  }
  return "unknown";
}

Metric parse_metric(std::string_view name) {
  for (const Metric metric : {Metric::kCosine, Metric::kIp, Metric::kL2}) {
    if (name == metric_name(metric)) return metric;
  }
  throw Error(ErrorCode::kInvalidInput,
              "metric: expected \"cosine\", \"ip\" or \"l2\", got \"" + std::string(name) + "\"");
}

std::optional<Metric> metric_from_byte(std::uint8_t value) noexcept {
  if (value > static_cast<std::uint8_t>(Metric::kL2)) return std::nullopt;
  return static_cast<Metric>(value);
}

double score_to_distance(Metric metric, double score) noexcept {
  return metric == Metric::kCosine ? 1.0 - score : 0.0 - score;
}

ExactScorer::ExactScorer(Metric metric, const float* query, std::size_t dim,
                         const simd::Kernels& kernels)
    : ExactScorer(metric, query, dim, std::sqrt(kernels.norm2_f64(query, dim)), kernels) {}

ExactScorer::ExactScorer(Metric metric, const float* query, std::size_t dim, double query_norm,
                         const simd::Kernels& kernels)
    : metric_(metric), query_(query), dim_(dim), kernels_(&kernels), query_norm_(query_norm) {}

double ExactScorer::score(const float* row) const noexcept {
  switch (metric_) {
    case Metric::kIp:
      return kernels_->dot_f64(query_, row, dim_);
    case Metric::kL2:
      return 0.0 - kernels_->l2sq_f64(query_, row, dim_);  // never -0
    case Metric::kCosine:
      break;
  }
  double norm2 = 0;
  const double dot = kernels_->dot_norm_f64(query_, row, dim_, &norm2);
  return cosine(dot, norm2);
}

void ExactScorer::score_rows(const float* const* rows, const float* const* ahead,
                             double* scores) const noexcept {
  switch (metric_) {
    case Metric::kIp:
      kernels_->dot_f64_rows(query_, rows, ahead, dim_, scores);
      return;
    case Metric::kL2:
      kernels_->l2sq_f64_rows(query_, rows, ahead, dim_, scores);
      for (std::size_t i = 0; i < simd::kScoredAtOnce; ++i) scores[i] = 0.0 - scores[i];
      return;
    case Metric::kCosine:
      break;
  }
  std::array<double, simd::kScoredAtOnce> norms2{};
  kernels_->dot_norm_f64_rows(query_, rows, ahead, dim_, scores, norms2.data());
  for (std::size_t i = 0; i < norms2.size(); ++i) scores[i] = cosine(scores[i], norms2[i]);
}

double ExactScorer::cosine(double dot, double norm2) const noexcept {
  if (query_norm_ == 0 || norm2 == 0) return 0;
  return std::clamp(dot / (query_norm_ * std::sqrt(norm2)), -1.0, 1.0);
}

double exact_score(Metric metric, const float* query, const float* row, std::size_t dim) {
  return ExactScorer(metric, query, dim).score(row);
}

RowCheck check_row(const float* row, std::size_t dim, const simd::Kernels& kernels) noexcept {
  // Squares of finite floats cannot overflow a double, however many: only a NaN or an infinity can
  // make the sum anything but finite.
  const double norm2 = kernels.norm2_f64(row, dim);
  if (std::isfinite(norm2)) return {.first_bad = -1, .norm = std::sqrt(norm2)};
  for (std::size_t i = 0; i < dim; ++i) {
    if (!std::isfinite(row[i])) return {.first_bad = static_cast<std::ptrdiff_t>(i), .norm = 0};
  }
  return {.first_bad = 0, .norm = 0};
}

float round_up_to_float(double value) noexcept {
  const auto nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) >= value) return nearest;
  return std::nextafter(nearest, std::numeric_limits<float>::infinity());
}

}  // namespace srvdb
