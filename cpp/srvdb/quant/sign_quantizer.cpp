#include "srvdb/quant/sign_quantizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"

namespace srvdb {
namespace {

constexpr std::uint32_t kMagic = 0x31535653;  // "SVS1"
constexpr std::size_t kHeaderBytes = 24;      // magic, metric, dimension, 0, spread
constexpr std::size_t kStep = 64;             // bits come in so many
constexpr double kLargest = std::numeric_limits<float>::max();
// Standard deviations of an estimate by which a row may fall short. Less than none: of those that
// would enter at the end of a walk's candidates most lead nowhere (benchmarks/EXPERIMENTS.md).
constexpr double kRoom = -0.5;
// sqrt(pi / 2 - 1): of an estimate, times |x - c| |q - c| / sqrt(bits).
constexpr double kDeviation = 0.7555;
constexpr double kSmallest = 0x1p-100;  // component of a query that is told from zero
constexpr double kMostError = 0.1;      // of a query that fits, of the spread of the rows

float to_float(double value) noexcept {
  if (std::isnan(value)) return std::numeric_limits<float>::quiet_NaN();
  return static_cast<float>(std::clamp(value, -kLargest, kLargest));
}

// What a vector is multiplied by before its mean is taken off.
double unit_of(const float* vector, std::size_t dim, Metric metric) {
  if (metric != Metric::kCosine) return 1;
  const double norm = check_row(vector, dim).norm;
  return norm > 0 ? 1 / norm : 0;
}

}  // namespace

std::size_t SignQuery::select(double score, const std::uint8_t* base, std::size_t stride,
                              const std::uint32_t* ids, std::size_t n,
                              std::uint32_t* out) const noexcept {
  const double along = square_ ? (score + offset_) / 2 : score - offset_;
  const simd::SignTest test{.sum = sum_,
                            .weight = to_float((square_ ? -0.5 : 1) / step_),
                            .least = to_float((along - room_) / step_)};
  return simd::kernels().select_signs(codes_.data(), codes_.size(), base, stride, ids, n, test,
                                      out);
}

SignQuantizer::SignQuantizer(Metric metric, std::vector<float> mean, double spread)
    : metric_(metric),
      mean_(std::move(mean)),
      spread_(spread),
      rotation_(round_up(mean_.size(), kStep)) {
  for (const float c : mean_) mean_square_ += static_cast<double>(c) * static_cast<double>(c);
}

bool SignQuantizer::possible(std::size_t dim) noexcept {
  return dim >= kLeastDimensions && dim <= kMostDimensions;
}

SignQuantizer SignQuantizer::train(std::span<const float* const> rows, std::size_t dim,
                                   Metric metric) {
  std::vector<double> sum(dim);
  double square = 0;  // of the rows; about the mean it is less by that of the mean
  for (const float* const row : rows) {
    const double unit = unit_of(row, dim, metric);
    for (std::size_t d = 0; d < dim; ++d) {
      const double x = static_cast<double>(row[d]) * unit;
      sum[d] += x;
      square += x * x;
    }
  }
  const auto n = static_cast<double>(rows.size());
  std::vector<float> mean(dim);
  double mean_square = 0;
  for (std::size_t d = 0; d < dim; ++d) {
    mean[d] = to_float(sum[d] / n);
    mean_square += sum[d] / n * (sum[d] / n);
  }
  return SignQuantizer(metric, std::move(mean), std::sqrt(std::max(square / n - mean_square, 0.0)));
}

SignQuantizer::Centred SignQuantizer::centre(const float* vector, Scratch& scratch) const {
  constexpr std::size_t kLanes = 16;  // sums side by side
  if (scratch.vector.size() != bits()) scratch.vector.reset(bits());
  if (scratch.room.size() != bits()) scratch.room.reset(bits());
  const auto unit = static_cast<float>(unit_of(vector, dim(), metric_));
  float* const out = scratch.vector.data();
  std::array<float, kLanes> square{};
  std::array<float, kLanes> along_mean{};
  const auto take = [&](std::size_t d, std::size_t lane) {
    const float off = vector[d] * unit - mean_[d];
    out[d] = off;
    square[lane] += off * off;
    along_mean[lane] += off * mean_[d];
  };
  const std::size_t whole = dim() / kLanes * kLanes;
  for (std::size_t d = 0; d < whole; d += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) take(d + lane, lane);
  }
  for (std::size_t d = whole; d < dim(); ++d) take(d, d % kLanes);
  std::fill(out + dim(), out + bits(), 0.0F);
  rotation_.apply(out, scratch.room.data());
  Centred sums;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    sums.square += static_cast<double>(square[lane]);
    sums.along_mean += static_cast<double>(along_mean[lane]);
  }
  return sums;
}

void SignQuantizer::encode(const float* row, Scratch& scratch, std::uint8_t* code) const {
  const Centred sums = centre(row, scratch);
  std::memset(code, 0, stride());
  double magnitudes = 0;
  for (std::size_t i = 0; i < bits(); ++i) {
    const float x = scratch.vector[i];
    const unsigned bit = x >= 0 ? 1 : 0;
    code[i / 8] = static_cast<std::uint8_t>(code[i / 8] | bit << (i % 8));
    magnitudes += static_cast<double>(std::abs(x));
  }
  double factor = magnitudes > 0 ? sums.square / magnitudes : 0;
  if (!sums.finite()) factor = std::nan("");  // nothing can be said of the row: it always passes
  const double addend = metric_ == Metric::kL2 ? sums.square : sums.along_mean;
  const std::array<float, 2> given{to_float(factor), to_float(addend)};
  std::memcpy(code + bits() / 8, given.data(), sizeof given);
}

void SignQuantizer::prepare(const float* query, Scratch& scratch, SignQuery& prepared) const {
  const Centred sums = centre(query, scratch);
  const float* const rotated = scratch.vector.data();
  const simd::Kernels& kernels = simd::kernels();
  if (prepared.codes_.size() != bits()) prepared.codes_.reset(bits());
  prepared.square_ = metric_ == Metric::kL2;
  prepared.room_ =
      kRoom * kDeviation * std::sqrt(sums.square / static_cast<double>(bits())) * spread_;
  prepared.offset_ = prepared.square_ ? sums.square : sums.along_mean + mean_square_;
  if (!sums.finite()) {  // beyond what floats hold: all pass
    std::fill_n(prepared.codes_.data(), bits(), std::int8_t{0});
    prepared.sum_ = 0;
    prepared.step_ = 1;
    prepared.room_ = 0;
    prepared.offset_ = prepared.square_ ? -kLargest * kLargest : kLargest * kLargest;
    return;
  }
  const double largest = static_cast<double>(kernels.largest_f32(rotated, bits()));
  prepared.step_ = largest > kSmallest ? largest / simd::kMostSignQuery : 1;
  const simd::RoundParams rounding{.unit = 1,
                                   .shift = 0,
                                   .step = prepared.step_,
                                   .low = -simd::kMostSignQuery,
                                   .high = simd::kMostSignQuery};
  const simd::Rounded rounded = kernels.round_i8(rotated, bits(), rounding, prepared.codes_.data());
  prepared.sum_ = static_cast<std::int32_t>(rounded.sum);
}

bool SignQuantizer::fits(const CodeQuery& usual) const noexcept {
  return metric_ != Metric::kL2 || usual.query_error() <= kMostError * spread_;
}

// ---- bytes -------------------------------------------------------------------------------------

std::string SignQuantizer::to_bytes() const {
  std::string out;
  put_all(out, kMagic, static_cast<std::uint32_t>(metric_), static_cast<std::uint32_t>(dim()),
          std::uint32_t{0}, spread_);
  for (const float value : mean_) put(out, value);
  put(out, crc32c(out));
  return out;
}

bool SignQuantizer::are_bytes_of(ByteSpan bytes) noexcept {
  return bytes.size() >= sizeof kMagic && load<std::uint32_t>(bytes.data()) == kMagic;
}

SignQuantizer SignQuantizer::from_bytes(ByteSpan bytes, std::size_t dim, Metric metric) {
  const auto refuse = [](const std::string& why) {
    throw Error(ErrorCode::kCorruption, "quantiser of signs: " + why);
  };
  ByteReader reader(bytes);
  const auto magic = reader.get<std::uint32_t>();
  const auto stored_metric = reader.get<std::uint32_t>();
  const auto stored_dim = reader.get<std::uint32_t>();
  reader.get<std::uint32_t>();
  const auto spread = reader.get<double>();
  if (!reader.ok() || magic != kMagic) refuse("not what this version writes");
  if (stored_metric != static_cast<std::uint32_t>(metric) || stored_dim != dim || !possible(dim)) {
    refuse("expected dimension " + std::to_string(dim) + " and metric " +
           std::string(metric_name(metric)) + ", got dimension " + std::to_string(stored_dim) +
           " and metric " + std::to_string(stored_metric));
  }
  const std::size_t covered = kHeaderBytes + dim * sizeof(float);
  if (bytes.size() != covered + sizeof(std::uint32_t)) {
    refuse("expected " + std::to_string(covered + sizeof(std::uint32_t)) + " bytes, got " +
           std::to_string(bytes.size()));
  }
  if (load<std::uint32_t>(bytes.data() + covered) != crc32c(bytes.data(), covered)) {
    refuse("checksum does not match");
  }
  std::vector<float> mean;
  for (std::size_t d = 0; d < dim; ++d) mean.push_back(reader.get<float>());
  return SignQuantizer(metric, std::move(mean), spread);
}

}  // namespace srvdb
