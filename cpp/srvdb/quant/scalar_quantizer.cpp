#include "srvdb/quant/scalar_quantizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/quant/training.h"

namespace srvdb {
namespace {

constexpr std::uint32_t kMagic = 0x31515653;  // "SVQ1"
constexpr std::uint8_t kUniformCodes = 1;     // kind of codes; later kinds get other numbers
constexpr int kZeroCode = 128;                // cosine, ip: the code of zero
constexpr double kSmallestNorm = 0x1p-100;    // rows beyond these are coded as zero under cosine
constexpr double kLargestNorm = 0x1p100;
constexpr double kUniformDeviation = 0.28867513459481287;  // of a rounding, in units of the step
constexpr double kErrorRoundUp = 1 + 0x1p-33;              // a sum of 65,536 squares is off by less

int top_code(Metric metric, std::size_t dim) noexcept {
  return metric == Metric::kL2 ? std::min(255, max_difference(dim)) : 255;
}

// True when offset + scale * code is computed without rounding.
bool decodes_exactly(double scale, double offset) noexcept {
  int exponent = 0;
  const bool power_of_two = std::frexp(scale, &exponent) == 0.5;
  const double steps = offset / scale;
  return power_of_two && std::abs(steps) < 0x1p40 && std::nearbyint(steps) == steps;
}

}  // namespace

int max_difference(std::size_t dim) noexcept {
  constexpr double kLargestKey = 2147483647.0;
  const double root = std::sqrt(kLargestKey / static_cast<double>(std::max<std::size_t>(dim, 1)));
  return static_cast<int>(std::min(root, 16383.0));  // differences stay well within int16
}

ScalarQuantizer::ScalarQuantizer(Metric metric, std::size_t dim, double scale, double offset)
    : metric_(metric), dim_(dim), max_code_(top_code(metric, dim)), scale_(scale), offset_(offset) {
  const double reach = std::abs(offset_) + 256 * scale_;
  const bool exact = metric == Metric::kL2 && decodes_exactly(scale, offset);
  slack_ = exact ? 0 : std::sqrt(static_cast<double>(dim)) * 0x1p-50 * reach;
  if (metric == Metric::kCosine) slack_ += 0x1p-40;
}

ScalarQuantizer ScalarQuantizer::train(std::span<const float* const> rows, std::size_t dim,
                                       Metric metric) {
  if (rows.empty() || dim == 0 || dim > kMaxDimension) {
    throw Error(ErrorCode::kInvalidInput, "training codes: expected rows of 1 to " +
                                              std::to_string(kMaxDimension) + " components, got " +
                                              std::to_string(rows.size()) + " rows of " +
                                              std::to_string(dim));
  }
  const CodeRange range = choose_range(rows, dim, metric, top_code(metric, dim));
  ScalarQuantizer quantizer(metric, dim, range.scale, range.offset);
  AlignedBuffer<std::uint8_t> code(quantizer.stride());
  float largest = 0;
  for (const float* row : rows) {
    const double norm = check_row(row, dim).norm;
    largest = std::max(largest, quantizer.encode(row, norm, code.data()));
  }
  const double plain_rounding = range.scale * 0.5 * std::sqrt(static_cast<double>(dim));
  quantizer.misfit_error_ =
      round_up_to_float(std::max(1.5 * static_cast<double>(largest), 1.001 * plain_rounding));
  return quantizer;
}

float ScalarQuantizer::encode(const float* row, double norm, std::uint8_t* code) const noexcept {
  simd::EncodeParams params{.shift = static_cast<float>(offset_),
                            .mul = static_cast<float>(1 / scale_),
                            .max_code = static_cast<float>(max_code_),
                            .unit = 1,
                            .scale = scale_,
                            .offset = offset_};
  std::memset(code + dim_, 0, stride() - dim_);
  if (metric_ == Metric::kCosine) {
    if (norm == 0 || !(norm >= kSmallestNorm && norm <= kLargestNorm)) {
      std::memset(code, kZeroCode, dim_);
      return norm == 0 ? 0.0f : 1.001f;  // a unit row, coded as zero
    }
    params.shift = static_cast<float>(offset_ * norm);
    params.mul = static_cast<float>(1 / (scale_ * norm));
    params.unit = 1 / norm;
  }
  const double error = std::sqrt(simd::kernels().encode_u8(row, dim_, params, code));
  return round_up_to_float(error * kErrorRoundUp + slack_);
}

void ScalarQuantizer::decode(const std::uint8_t* code, float* row) const noexcept {
  for (std::size_t i = 0; i < dim_; ++i) {
    row[i] = static_cast<float>(offset_ + scale_ * static_cast<double>(code[i]));
  }
}

void ScalarQuantizer::begin(CodeQuery& prepared) const {
  if (prepared.metric_ != metric_ || prepared.dim_ != dim_) {  // also clears the padding
    prepared.wide_.reset(metric_ == Metric::kL2 ? stride() : 0);
    prepared.narrow_.reset(metric_ == Metric::kL2 ? 0 : stride());
  }
  prepared.metric_ = metric_;
  prepared.dim_ = dim_;
  prepared.stride_ = stride();
  prepared.key_zero_ = 0;
  prepared.query_error_ = 0;
  prepared.norm_ = 0;
  prepared.query_norm_ = 0;
  prepared.rounding_ = 0;
}

void ScalarQuantizer::prepare(const float* query, CodeQuery& prepared) const {
  begin(prepared);
  if (metric_ == Metric::kL2) {
    const double reach = max_difference(dim_);
    return prepare_l2(query, max_code_ - reach, reach, prepared);
  }
  const double norm = check_row(query, dim_).norm;
  const double unit = metric_ == Metric::kCosine && norm > 0 ? 1 / norm : 1;
  const simd::Kernels& kernels = simd::kernels();
  const double largest = static_cast<double>(kernels.largest_f32(query, dim_)) * unit;
  const double query_scale = largest > 0 ? largest / 127 : 1;
  const auto [error2, sum] = kernels.round_i8(
      query, dim_, {.unit = unit, .shift = 0, .step = query_scale, .low = -127, .high = 127},
      prepared.narrow_.data());
  prepared.step_ = scale_ * query_scale;
  prepared.key_zero_ = static_cast<double>(kZeroCode * sum);
  prepared.norm_ = norm;
  prepared.query_norm_ = norm * unit * kErrorRoundUp;
  prepared.query_error_ = std::sqrt(error2) * kErrorRoundUp + 0x1p-40 * prepared.query_norm_;
  // <q, x> is off by <q, x - x^> + <q - q^, x>, each a sum of independent roundings.
  const double of_row = scale_ * kUniformDeviation * norm * unit;
  const double of_query = std::sqrt(error2 / static_cast<double>(dim_));
  prepared.rounding_ = std::hypot(of_row, of_query) / prepared.step_;
}

void ScalarQuantizer::prepare_bytes(const float* query, CodeQuery& prepared) const {
  if (metric_ == Metric::kL2) {
    begin(prepared);
    prepare_l2(query, 0, max_code_, prepared);
    prepared.narrow_.reset(stride());
    for (std::size_t i = 0; i < dim_; ++i) {
      prepared.narrow_[i] = static_cast<std::int8_t>(prepared.wide_[i] - kZeroCode);
    }
  } else {
    prepare(query, prepared);
  }
  // sum (c - w)^2 with w = b + 128: sum (c - 128)^2 + sum b^2 - 2 sum (c - 128) b
  prepared.bytes_zero_ = 0;
  prepared.bytes_reach_ = 0;
  for (std::size_t i = 0; i < dim_; ++i) {
    const std::int64_t b = int{prepared.narrow_[i]};  // a number, not a character
    if (metric_ == Metric::kL2) prepared.bytes_zero_ += b * b + 2 * kZeroCode * b;
    prepared.bytes_reach_ += 255 * std::abs(b);
  }
}

void ScalarQuantizer::prepare_l2(const float* query, double low, double high,
                                 CodeQuery& prepared) const {
  const simd::RoundParams params{
      .unit = 1, .shift = offset_, .step = scale_, .low = low, .high = high};
  const double error2 =
      simd::kernels().round_i16(query, dim_, params, prepared.wide_.data()).error2;
  const double reach = std::abs(offset_) + scale_ * std::max(std::abs(low), std::abs(high));
  const double slack = slack_ == 0 ? 0 : std::sqrt(static_cast<double>(dim_)) * 0x1p-50 * reach;
  prepared.step_ = scale_;
  prepared.query_error_ = std::sqrt(error2) * kErrorRoundUp + slack;
  // |q - x|^2 is off by 2 <q - x, d>, d the difference of the two roundings.
  const double of_query = std::sqrt(error2 / static_cast<double>(dim_)) / scale_;
  prepared.rounding_ = 2 * std::hypot(kUniformDeviation, of_query);
}

void ScalarQuantizer::prepare_from_code(const std::uint8_t* code, CodeQuery& prepared) const {
  begin(prepared);
  if (metric_ == Metric::kL2) {
    for (std::size_t i = 0; i < dim_; ++i) prepared.wide_[i] = code[i];
    prepared.step_ = scale_;
    return;
  }
  std::int64_t sum = 0;
  std::int64_t square = 0;
  for (std::size_t i = 0; i < dim_; ++i) {
    const int whole = int{code[i]} - kZeroCode;
    sum += whole;
    square += whole * whole;
    prepared.narrow_[i] = static_cast<std::int8_t>(whole);
  }
  prepared.step_ = scale_ * scale_;
  prepared.key_zero_ = static_cast<double>(kZeroCode * sum);
  prepared.query_norm_ = scale_ * std::sqrt(static_cast<double>(square)) * kErrorRoundUp;
}

bool ScalarQuantizer::misfit(float error_norm) const noexcept {
  return error_norm > misfit_error_;
}

std::string ScalarQuantizer::to_bytes() const {
  std::string out;
  put(out, kMagic);
  put(out, static_cast<std::uint8_t>(metric_));
  put(out, kUniformCodes);
  put(out, static_cast<std::uint16_t>(max_code_));
  put(out, static_cast<std::uint32_t>(dim_));
  put(out, std::uint32_t{0});
  put(out, scale_);
  put(out, offset_);
  put(out, misfit_error_);
  out.resize(kHeaderBytes - sizeof(std::uint32_t), '\0');
  put(out, crc32c(out));
  return out;
}

ScalarQuantizer ScalarQuantizer::from_bytes(ByteSpan bytes, std::size_t dim, Metric metric) {
  const auto refuse = [](const std::string& why) {
    throw Error(ErrorCode::kCorruption, "quantiser header: " + why);
  };
  if (bytes.size() != kHeaderBytes) {
    refuse("expected " + std::to_string(kHeaderBytes) + " bytes, got " +
           std::to_string(bytes.size()));
  }
  const std::size_t covered = kHeaderBytes - sizeof(std::uint32_t);
  if (load<std::uint32_t>(bytes.data() + covered) != crc32c(bytes.data(), covered)) {
    refuse("checksum does not match");
  }
  ByteReader reader(bytes);
  const auto magic = reader.get<std::uint32_t>();
  const auto stored_metric = reader.get<std::uint8_t>();
  const auto kind = reader.get<std::uint8_t>();
  const auto max_code = reader.get<std::uint16_t>();
  const auto stored_dim = reader.get<std::uint32_t>();
  reader.get<std::uint32_t>();
  const auto scale = reader.get<double>();
  const auto offset = reader.get<double>();
  const auto misfit_error = reader.get<float>();
  if (magic != kMagic || kind != kUniformCodes) refuse("not the codes this version writes");
  if (stored_metric != static_cast<std::uint8_t>(metric) || stored_dim != dim) {
    refuse("expected dimension " + std::to_string(dim) + " and metric " +
           std::string(metric_name(metric)) + ", got dimension " + std::to_string(stored_dim) +
           " and metric " + std::to_string(stored_metric));
  }
  const bool symmetric = metric == Metric::kL2 || offset == -kZeroCode * scale;
  if (!(scale > 0) || !std::isfinite(scale) || !std::isfinite(offset) || !symmetric ||
      max_code != top_code(metric, dim)) {
    refuse("values out of range");
  }
  ScalarQuantizer quantizer(metric, dim, scale, offset);
  quantizer.misfit_error_ = misfit_error;
  return quantizer;
}

}  // namespace srvdb
