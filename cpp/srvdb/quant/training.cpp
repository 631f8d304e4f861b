#include "srvdb/quant/training.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>

namespace srvdb {
namespace {

using Values = Eigen::ArrayXf;
using ConstRow = Eigen::Map<const Eigen::ArrayXf>;

constexpr std::size_t kSampleValues = 1u << 18;  // components the squared error is measured on
constexpr double kSmallestScale = 0x1p-100;      // its inverse is a float32 without trouble
constexpr double kZeroCode = 128;
constexpr double kLargest = std::numeric_limits<float>::max();

struct Survey {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  bool whole = true;  // every component is an integer
};

Eigen::Index to_index(std::size_t n) {
  return static_cast<Eigen::Index>(n);
}

// 1 / |row| under cosine, else 1; 0 for a row that cosine codes as zero.
float unit_of(const float* row, std::size_t dim, Metric metric) {
  if (metric != Metric::kCosine) return 1;
  const double norm = check_row(row, dim).norm;
  return norm >= 0x1p-100 && norm <= 0x1p100 ? static_cast<float>(1 / norm) : 0.0f;
}

Survey survey(std::span<const float* const> rows, std::size_t dim, Metric metric) {
  Survey found;
  for (const float* row : rows) {
    const ConstRow x(row, to_index(dim));
    const double unit = static_cast<double>(unit_of(row, dim, metric));
    found.low = std::min(found.low, static_cast<double>(x.minCoeff()) * unit);
    found.high = std::max(found.high, static_cast<double>(x.maxCoeff()) * unit);
    if (found.whole) found.whole = (x == x.round()).all();
  }
  return found;
}

// Components of evenly spaced rows, normalised as they will be coded.
Values sample(std::span<const float* const> rows, std::size_t dim, Metric metric) {
  const std::size_t wanted = std::clamp<std::size_t>(kSampleValues / dim, 1, rows.size());
  Values values(to_index(wanted * dim));
  for (std::size_t i = 0; i < wanted; ++i) {
    const float* row = rows[i * rows.size() / wanted];
    values.segment(to_index(i * dim), to_index(dim)) =
        ConstRow(row, to_index(dim)) * unit_of(row, dim, metric);
  }
  return values;
}

double as_float(double value) {
  return static_cast<double>(static_cast<float>(value));
}

CodeRange l2_range(double low, double high, int max_code) {
  return {as_float(std::max((high - low) / max_code, kSmallestScale)),
          as_float(std::max(low, -kLargest))};
}

// Codes 1..255 stand for -reach..reach, code 128 for zero.
CodeRange symmetric_range(double reach) {
  const double scale = as_float(std::clamp(reach / 127, kSmallestScale, kLargest / 129));
  return {scale, -kZeroCode * scale};
}

double squared_error(const Values& values, const CodeRange& range, int max_code) {
  const auto shifted = values.cast<double>() - range.offset;
  const auto codes = (shifted / range.scale).round().max(0.0).min(static_cast<double>(max_code));
  return (shifted - codes * range.scale).square().sum();
}

// Integers whose span fits: the smallest power of two as scale that covers it, and room to both
// sides; the offset is a float32 (far from zero that takes a larger scale). Bytes (0..255) keep
// their values as codes.
CodeRange whole_range(const Survey& found, int max_code) {
  const double span = found.high - found.low;
  if (found.low >= 0 && found.high <= max_code && found.high > max_code / 2.0) return {1, 0};
  const auto offset = [&](double scale) {
    return found.low - std::floor((max_code - span / scale) / 2) * scale;
  };
  double scale = 1;
  while (scale > 0x1p-6 && span <= max_code * scale / 2 &&
         as_float(offset(scale / 2)) == offset(scale / 2)) {
    scale /= 2;
  }
  return {scale, offset(scale)};
}

}  // namespace

CodeRange choose_range(std::span<const float* const> rows, std::size_t dim, Metric metric,
                       int max_code) {
  const Survey found = survey(rows, dim, metric);
  const bool l2 = metric == Metric::kL2;
  const double reach = std::max(std::abs(found.low), std::abs(found.high));
  const double span = l2 ? found.high - found.low : reach;
  if (l2 && found.whole && span <= max_code && reach < 0x1p23) return whole_range(found, max_code);
  if (!(span > 0)) {  // nothing to tell apart: a scale near the size of the values will do
    return l2 ? l2_range(found.low - reach, found.low + reach, max_code) : symmetric_range(1);
  }
  const Values values = sample(rows, dim, metric);
  const double centre = l2 ? static_cast<double>(values.cast<double>().mean()) : 0;
  CodeRange best;
  double least = std::numeric_limits<double>::infinity();
  for (const double part : {1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1}) {
    const double low = centre + part * (found.low - centre);
    const double high = centre + part * (found.high - centre);
    const CodeRange range = l2 ? l2_range(low, high, max_code) : symmetric_range(part * reach);
    const double error = squared_error(values, range, max_code);
    if (error < least) {
      least = error;
      best = range;
    }
  }
  return best;
}

}  // namespace srvdb
