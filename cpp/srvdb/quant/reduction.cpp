#include "srvdb/quant/reduction.h"

#include <algorithm>
#include <cmath>
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
// magic, metric, dimension, components, share, two quantisers
constexpr std::size_t kHeaderBytes = 24 + 2 * ScalarQuantizer::kHeaderBytes;

Metric short_metric(Metric metric) noexcept {
  return metric == Metric::kIp ? Metric::kIp : Metric::kL2;
}

std::size_t most_components(std::size_t dim) noexcept {
  return std::min(code_stride(dim) / Reduction::kShorter / kStep * kStep,
                  Reduction::kMostComponents);
}

std::vector<const float*> addresses(const std::vector<float>& rows, std::size_t dim) {
  std::vector<const float*> out;
  for (std::size_t at = 0; at < rows.size(); at += dim) out.push_back(rows.data() + at);
  return out;
}

}  // namespace

Reduction::Reduction(Projection projection, ScalarQuantizer short_codes, double share)
    : projection_(std::move(projection)), short_codes_(std::move(short_codes)), share_(share) {}

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
  Projection projection{.metric = metric,
                        .quantizer = ScalarQuantizer::train(directions, dim, Metric::kCosine),
                        .codes = {},
                        .mean = std::move(found.mean),
                        .centre = std::vector<float>(components)};
  const std::size_t stride = projection.quantizer.stride();
  projection.codes.resize(components * stride);
  for (std::size_t i = 0; i < components; ++i) {
    projection.quantizer.encode(directions[i], 1, projection.codes.data() + i * stride);
    double sum = 0;
    for (std::size_t d = 0; d < dim; ++d) {
      sum += static_cast<double>(directions[i][d]) * static_cast<double>(projection.mean[d]);
    }
    projection.centre[i] = static_cast<float>(std::clamp(sum, -kLargest, kLargest));
  }
  Scratch scratch;
  std::vector<float> projected;
  const std::size_t step = (rows.size() + kTrainRows - 1) / kTrainRows;
  for (std::size_t i = 0; i < rows.size(); i += step) {
    check(interrupt);
    projection.project(rows[i], scratch);
    projected.insert(projected.end(), scratch.components.data(),
                     scratch.components.data() + components);
  }
  ScalarQuantizer short_codes =
      ScalarQuantizer::train(addresses(projected, components), components, short_metric(metric));
  return Reduction(std::move(projection), short_codes, share);
}

void Reduction::Projection::project(const float* vector, Scratch& scratch) const {
  const std::size_t n = components();
  quantizer.prepare(vector, scratch.vector);
  if (scratch.keys.size() < n) scratch.keys.resize(n);
  if (scratch.components.size() < n) scratch.components.reset(n);
  CodeDistance(scratch.vector).keys_rows(codes.data(), n, scratch.keys.data());
  const double length = metric == Metric::kCosine ? 1 : scratch.vector.norm();
  for (std::size_t i = 0; i < n; ++i) {
    const double along = scratch.vector.approx_score(scratch.keys[i]) * length;
    const double off = along - static_cast<double>(centre[i]);
    scratch.components[i] = static_cast<float>(std::clamp(off, -kLargest, kLargest));
  }
}

void Reduction::encode(const float* row, Scratch& scratch, std::uint8_t* code, Held& held) const {
  projection_.project(row, scratch);
  const float* const components = scratch.components.data();
  short_codes_.encode(components, 0, code);
  const double norm = scratch.vector.norm();
  const double unit = projection_.metric != Metric::kCosine ? 1 : norm > 0 ? 1 / norm : 0;
  float all = 0;  // in float32: a measure, not a bound
  for (std::size_t d = 0; d < dim(); ++d) {
    const float off = row[d] * static_cast<float>(unit) - projection_.mean[d];
    all += off * off;
  }
  float inside = 0;
  for (std::size_t i = 0; i < projection_.components(); ++i)
    inside += components[i] * components[i];
  if (!std::isfinite(all)) return;
  held.all += static_cast<double>(all);
  held.components += static_cast<double>(std::min(inside, all));
}

void Reduction::prepare(const float* query, Scratch& scratch, CodeQuery& prepared) const {
  projection_.project(query, scratch);
  if (projection_.metric == Metric::kIp) {  // of rows alone the mean is taken off
    for (std::size_t i = 0; i < projection_.components(); ++i) {
      scratch.components[i] += projection_.centre[i];
    }
  }
  short_codes_.prepare(scratch.components.data(), prepared);
}

// ---- bytes -------------------------------------------------------------------------------------

std::string Reduction::to_bytes() const {
  std::string out;
  put(out, kMagic);
  put(out, static_cast<std::uint32_t>(projection_.metric));
  put(out, static_cast<std::uint32_t>(dim()));
  put(out, static_cast<std::uint32_t>(components()));
  put(out, share_);
  out += projection_.quantizer.to_bytes();
  out += short_codes_.to_bytes();
  for (const float value : projection_.mean) put(out, value);
  for (const float value : projection_.centre) put(out, value);
  out += as_text(projection_.codes);
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
  const std::size_t covered =
      kHeaderBytes + dim * sizeof(float) + components * (sizeof(float) + code_stride(dim));
  if (bytes.size() != covered + sizeof(std::uint32_t)) {
    refuse("expected " + std::to_string(covered + sizeof(std::uint32_t)) + " bytes, got " +
           std::to_string(bytes.size()));
  }
  if (load<std::uint32_t>(bytes.data() + covered) != crc32c(bytes.data(), covered)) {
    refuse("checksum does not match");
  }
  Projection projection{.metric = metric,
                        .quantizer = ScalarQuantizer::from_bytes(directions, dim, Metric::kCosine),
                        .codes = {},
                        .mean = {},
                        .centre = {}};
  for (std::size_t d = 0; d < dim; ++d) projection.mean.push_back(reader.get<float>());
  for (std::size_t i = 0; i < components; ++i) projection.centre.push_back(reader.get<float>());
  const ByteSpan codes = reader.bytes(components * code_stride(dim));
  projection.codes.assign(codes.begin(), codes.end());
  return Reduction(std::move(projection),
                   ScalarQuantizer::from_bytes(short_codes, components, short_metric(metric)),
                   share);
}

}  // namespace srvdb
