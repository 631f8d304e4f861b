#include "srvdb/quant/code_query.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace srvdb {

double CodeQuery::approx_score(std::int32_t key) const noexcept {
  const double value = static_cast<double>(key);
  if (metric_ == Metric::kL2) return 0.0 - step_ * step_ * value;
  return step_ * (-value - key_zero_);
}

double CodeQuery::nearest_key() const noexcept {
  if (metric_ == Metric::kL2) return 0;
  const double key = -1 / step_ - key_zero_;  // a score of 1
  if (metric_ == Metric::kIp || !std::isfinite(key)) return std::nan("");
  return key;
}

double CodeQuery::rounding_bound(float row_error, double row_norm) const noexcept {
  const auto error = static_cast<double>(row_error);
  if (metric_ == Metric::kL2) return (query_error_ + error) * (1 + KeyLimit::kSlack);
  // <q, x> - <q^, x^> = <q, x - x^> + <q - q^, x^>
  const double coded_norm = (metric_ == Metric::kCosine ? 1.0 : row_norm) + error;
  const double bound = query_norm_ * error + query_error_ * coded_norm;
  return bound + KeyLimit::kSlack * (query_norm_ + query_error_) * coded_norm;
}

double CodeQuery::score_bound(std::int32_t key, float row_error, double row_norm) const noexcept {
  const double rounding = rounding_bound(row_error, row_norm);
  if (metric_ == Metric::kL2) {
    // |q - x| >= |q^ - x^| - |q - q^| - |x - x^|
    const double coded = step_ * std::sqrt(static_cast<double>(key));
    const double least = std::max(coded * (1 - KeyLimit::kSlack) - rounding, 0.0);
    return 0.0 - least * least * (1 - KeyLimit::kSlack);
  }
  const double bound = approx_score(key) + rounding;
  return std::isnan(bound) ? std::numeric_limits<double>::infinity() : bound;
}

double CodeQuery::score_floor(std::int32_t key, float row_error, double row_norm) const noexcept {
  const double rounding = rounding_bound(row_error, row_norm);
  if (metric_ == Metric::kL2) {
    const double coded = step_ * std::sqrt(static_cast<double>(key));
    const double most = coded * (1 + KeyLimit::kSlack) + rounding;
    return 0.0 - most * most * (1 + KeyLimit::kSlack);
  }
  const double bound = approx_score(key) - rounding;
  return std::isnan(bound) ? -std::numeric_limits<double>::infinity() : bound;
}

KeyLimit CodeQuery::key_limits(double min_score) const noexcept {
  KeyLimit limit;
  if (metric_ == Metric::kL2) {
    if (min_score > 0) {  // no score is
      limit.base_ = -std::numeric_limits<double>::infinity();
      return limit;
    }
    // step * sqrt(key) <= |q - x| + |q - q^| + |x - x^|
    const double unit = (1 + 4 * KeyLimit::kSlack) / step_;
    limit.square_ = true;
    limit.base_ = (std::sqrt(-min_score) + query_error_) * unit;
    limit.per_error_ = unit;
    return limit;
  }
  // The terms of rounding_bound(), by what they go with.
  const double own = query_error_ + KeyLimit::kSlack * (query_norm_ + query_error_);
  const bool cosine = metric_ == Metric::kCosine;
  limit.base_ = ((cosine ? own : 0) - min_score) / step_;
  limit.per_error_ = (query_norm_ + own) / step_;
  limit.per_norm_ = cosine ? 0 : own / step_;
  limit.key_zero_ = key_zero_;
  return limit;
}

}  // namespace srvdb
