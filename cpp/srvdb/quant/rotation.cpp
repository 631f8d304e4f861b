#include "srvdb/quant/rotation.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "srvdb/simd/dispatch.h"

namespace srvdb {
namespace {

constexpr std::size_t kRounds = 3;

// The splitmix64 generator (Steele, Lea and Flood, 2014).
std::uint64_t mix(std::uint64_t x) noexcept {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9U;
  x = (x ^ x >> 27) * 0x94D049BB133111EBU;
  return x ^ x >> 31;
}

}  // namespace

Rotation::Rotation(std::size_t components)
    : from_(components),
      signs_(components),
      width_(simd::kHadamardLanes * std::bit_floor(components / simd::kHadamardLanes)),
      unit_(1 / std::sqrt(static_cast<float>(width_) / static_cast<float>(simd::kHadamardLanes))) {
  std::iota(from_.begin(), from_.end(), std::uint16_t{0});
  for (std::size_t i = components; i > 1; --i) std::swap(from_[i - 1], from_[mix(i) % i]);
  for (std::size_t i = 0; i < components; ++i) {
    signs_[i] = mix(components + i) >> 63 != 0 ? -1.0F : 1.0F;
  }
}

void Rotation::apply(float* vector, float* room) const noexcept {
  const std::size_t n = components();
  float* in = vector;
  float* out = room;
  for (std::size_t round = 0; round < kRounds; ++round) {
    for (std::size_t i = 0; i < n; ++i) out[i] = in[from_[i]] * signs_[i];
    simd::kernels().hadamard_f32(out, width_, unit_);
    if (width_ != n) {
      float* const rest = out + (n - width_);
      for (std::size_t i = 0; i < width_; ++i) rest[i] *= signs_[i];  // or one undoes the other
      simd::kernels().hadamard_f32(rest, width_, unit_);
    }
    std::swap(in, out);
  }
  if (in != vector) std::copy_n(in, n, vector);
}

}  // namespace srvdb
