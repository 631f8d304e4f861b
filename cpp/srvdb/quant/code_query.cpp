#include "srvdb/quant/code_query.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace srvdb {
namespace {

// Relative room for every rounding in double precision along the way, the exact score's included
// (a sum of 65,536 terms is off by less than 2^-36).
constexpr double kSlack = 0x1p-33;

std::int32_t to_limit(double key) noexcept {
  if (!(key < 2147483646.0)) return std::numeric_limits<std::int32_t>::max();
  if (key < -2147483647.0) return std::numeric_limits<std::int32_t>::min();
  return static_cast<std::int32_t>(std::floor(key)) + 1;
}

}  // namespace

double CodeQuery::approx_score(std::int32_t key) const noexcept {
  const double value = static_cast<double>(key);
  if (metric_ == Metric::kL2) return 0.0 - step_ * step_ * value;
  return step_ * (-value - key_zero_);
}

double CodeQuery::rounding_bound(float row_error, double row_norm) const noexcept {
  const auto error = static_cast<double>(row_error);
  if (metric_ == Metric::kL2) return (query_error_ + error) * (1 + kSlack);
  // <q, x> - <q^, x^> = <q, x - x^> + <q - q^, x^>
  const double coded_norm = (metric_ == Metric::kCosine ? 1.0 : row_norm) + error;
  const double bound = query_norm_ * error + query_error_ * coded_norm;
  return bound + kSlack * (query_norm_ + query_error_) * coded_norm;
}

double CodeQuery::score_bound(std::int32_t key, float row_error, double row_norm) const noexcept {
  const double rounding = rounding_bound(row_error, row_norm);
  if (metric_ == Metric::kL2) {
    // |q - x| >= |q^ - x^| - |q - q^| - |x - x^|
    const double coded = step_ * std::sqrt(static_cast<double>(key));
    const double least = std::max(coded * (1 - kSlack) - rounding, 0.0);
    return 0.0 - least * least * (1 - kSlack);
  }
  const double bound = approx_score(key) + rounding;
  return std::isnan(bound) ? std::numeric_limits<double>::infinity() : bound;
}

std::int32_t CodeQuery::key_limit(double min_score, float row_error,
                                  double row_norm) const noexcept {
  const double rounding = rounding_bound(row_error, row_norm);
  if (metric_ == Metric::kL2) {
    if (min_score > 0) return std::numeric_limits<std::int32_t>::min();
    const double farthest = std::sqrt(-min_score) * (1 + kSlack) + rounding;
    const double root = farthest / step_ * (1 + 2 * kSlack);
    return to_limit(root * root);
  }
  const double most = (rounding - min_score) / step_;
  return to_limit(most * (most > 0 ? 1 + kSlack : 1 - kSlack) - key_zero_);
}

}  // namespace srvdb
