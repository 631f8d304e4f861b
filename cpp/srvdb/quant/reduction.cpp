#include "srvdb/quant/reduction.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/quant/principal_components.h"

namespace srvdb {
namespace {

constexpr std::uint32_t kMagic = 0x31525653;  // "SVR1"
constexpr double kLargest = std::numeric_limits<float>::max();
constexpr std::size_t kStep = 64;  // components come in so many: short codes are as long
// magic, metric and padding, dimension, components, share, two quantisers
constexpr std::size_t kHeaderBytes = 24 + 2 * ScalarQuantizer::kHeaderBytes;

Metric short_metric(Metric metric) noexcept {
  return metric == Metric::kIp ? Metric::kIp : Metric::kL2;
}

std::size_t most_components(std::size_t dim) noexcept {
  return code_stride(dim) / Reduction::kShorter / kStep * kStep;
}

std::vector<const float*> addresses(const std::vector<float>& rows, std::size_t dim) {
  std::vector<const float*> out;
  for (std::size_t at = 0; at < rows.size(); at += dim) out.push_back(rows.data() + at);
  return out;
}

}  // namespace

Reduction::Reduction(ScalarQuantizer directions, ScalarQuantizer short_codes,
                     std::size_t components)
    : directions_(std::move(directions)),
      short_codes_(std::move(short_codes)),
      components_(components) {}

bool Reduction::possible(std::size_t dim) noexcept {
  return dim <= kMostDimensions && most_components(dim) != 0;
}

std::size_t Reduction::training_bytes(std::size_t dim) noexcept {
  const std::size_t width = most_components(dim) + kStep;
  return sizeof(float) * dim * (dim + 4 * width);  // the covariance matrix; directions
}

std::optional<Reduction> Reduction::train(std::span<const float* const> rows, std::size_t dim,
                                          Metric metric, Interrupt* interrupt) {
  if (rows.empty() || !possible(dim)) return std::nullopt;
  PrincipalComponents found =
      principal_components(rows, dim, metric, most_components(dim), interrupt);
  std::size_t components = kStep;
  while (components < found.shares.size() && found.shares[components - 1] < kLeastShare) {
    components += kStep;
  }
  const double share = found.shares[components - 1];
  if (!(share >= kLeastShare)) return std::nullopt;
  found.directions.resize(components * dim);
  const std::vector<const float*> directions = addresses(found.directions, dim);
  Reduction out(ScalarQuantizer::train(directions, dim, Metric::kCosine),
                ScalarQuantizer::train(directions, components, short_metric(metric)), components);
  out.metric_ = metric;
  out.share_ = share;
  out.centre_.assign(components, 0);
  const std::size_t stride = out.directions_.stride();
  out.direction_codes_.resize(components * stride);
  for (std::size_t i = 0; i < components; ++i) {
    out.directions_.encode(directions[i], 1, out.direction_codes_.data() + i * stride);
  }
  Scratch scratch;
  if (metric != Metric::kIp) {
    for (std::size_t i = 0; i < components; ++i) {
      double sum = 0;
      for (std::size_t d = 0; d < dim; ++d) {
        sum += static_cast<double>(directions[i][d]) * static_cast<double>(found.mean[d]);
      }
      out.centre_[i] = static_cast<float>(std::clamp(sum, -kLargest, kLargest));
    }
  }
  std::vector<float> projected;
  for (std::size_t i = 0; i < rows.size();
       i += std::max<std::size_t>(1, rows.size() / kTrainRows)) {
    check(interrupt);
    out.project(rows[i], scratch);
    projected.insert(projected.end(), scratch.components.data(),
                     scratch.components.data() + components);
  }
  out.short_codes_ =
      ScalarQuantizer::train(addresses(projected, components), components, short_metric(metric));
  return out;
}

// The components of a vector, under cosine of its direction, to scratch.components.
void Reduction::project(const float* vector, Scratch& scratch) const {
  directions_.prepare(vector, scratch.vector);
  if (scratch.keys.size() < components_) scratch.keys.resize(components_);
  if (scratch.components.size() < components_) scratch.components.reset(components_);
  CodeDistance(scratch.vector).keys_rows(direction_codes_.data(), components_, scratch.keys.data());
  const double length = metric_ == Metric::kCosine ? 1 : scratch.vector.norm();
  for (std::size_t i = 0; i < components_; ++i) {
    const double along = scratch.vector.approx_score(scratch.keys[i]) * length - centre_[i];
    scratch.components[i] = static_cast<float>(std::clamp(along, -kLargest, kLargest));
  }
}

void Reduction::encode(const float* row, Scratch& scratch, std::uint8_t* code) const {
  project(row, scratch);
  short_codes_.encode(scratch.components.data(), 0, code);
}

void Reduction::prepare(const float* query, Scratch& scratch, CodeQuery& prepared) const {
  project(query, scratch);
  short_codes_.prepare(scratch.components.data(), prepared);
}

// ---- bytes -------------------------------------------------------------------------------------

std::string Reduction::to_bytes() const {
  std::string out;
  put(out, kMagic);
  put(out, static_cast<std::uint32_t>(metric_));
  put(out, static_cast<std::uint32_t>(dim()));
  put(out, static_cast<std::uint32_t>(components_));
  put(out, share_);
  out += directions_.to_bytes();
  out += short_codes_.to_bytes();
  for (const float value : centre_) put(out, value);
  out += as_text(direction_codes_);
  put(out, crc32c(out));
  return out;
}

Reduction Reduction::from_bytes(ByteSpan bytes, std::size_t dim, Metric metric) {
  const auto refuse = [](const std::string& why) {
    throw Error(ErrorCode::kCorruption, "reduction: " + why);
  };
  ByteReader reader(bytes);
  const auto magic = reader.get<std::uint32_t>();
  const auto stored_metric = reader.get<std::uint32_t>();
  const auto stored_dim = reader.get<std::uint32_t>();
  const auto components = reader.get<std::uint32_t>();
  const auto share = reader.get<double>();
  const ByteSpan directions = reader.bytes(ScalarQuantizer::kHeaderBytes);
  const ByteSpan short_codes = reader.bytes(ScalarQuantizer::kHeaderBytes);
  if (!reader.ok() || magic != kMagic) refuse("not what this version writes");
  if (stored_metric != static_cast<std::uint32_t>(metric) || stored_dim != dim) {
    refuse("expected dimension " + std::to_string(dim) + " and metric " +
           std::string(metric_name(metric)) + ", got dimension " + std::to_string(stored_dim) +
           " and metric " + std::to_string(stored_metric));
  }
  if (!possible(dim) || components == 0 || components % kStep != 0 ||
      components > most_components(dim)) {
    refuse("expected at most " + std::to_string(most_components(dim)) + " components, got " +
           std::to_string(components));
  }
  const std::size_t covered = kHeaderBytes + components * (sizeof(float) + code_stride(dim));
  if (bytes.size() != covered + sizeof(std::uint32_t)) {
    refuse("expected " + std::to_string(covered + sizeof(std::uint32_t)) + " bytes, got " +
           std::to_string(bytes.size()));
  }
  if (load<std::uint32_t>(bytes.data() + covered) != crc32c(bytes.data(), covered)) {
    refuse("checksum does not match");
  }
  Reduction out(ScalarQuantizer::from_bytes(directions, dim, Metric::kCosine),
                ScalarQuantizer::from_bytes(short_codes, components, short_metric(metric)),
                components);
  out.metric_ = metric;
  out.share_ = share;
  for (std::size_t i = 0; i < components; ++i) out.centre_.push_back(reader.get<float>());
  const ByteSpan codes = reader.bytes(components * code_stride(dim));
  out.direction_codes_.assign(codes.begin(), codes.end());
  return out;
}

}  // namespace srvdb
