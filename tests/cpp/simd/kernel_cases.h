// Vectors that kernels are tried on: ragged dimensions, and ordinary, huge, denormal and zero
// values.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "srvdb/simd/dispatch.h"

namespace srvdb::testing {

inline const std::vector<std::size_t>& ragged_dims() {
  static const std::vector<std::size_t> dims = {1, 2, 3, 7, 16, 33, 100, 128, 200, 768, 784};
  return dims;
}

enum class Values { kOrdinary, kHuge, kDenormal, kZero, kMixed };
inline constexpr Values kAllValues[] = {Values::kOrdinary, Values::kHuge, Values::kDenormal,
                                        Values::kZero, Values::kMixed};

inline std::vector<float> make_values(Values kind, std::size_t n, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(n);
  for (float& x : out) {
    x = normal(random);
    if (kind == Values::kHuge) x *= 1e17f;
    if (kind == Values::kDenormal) x *= 1e-41f;
    if (kind == Values::kZero) x = 0;
    if (kind == Values::kMixed) x = std::ldexp(x, static_cast<int>(random() % 40) - 20);
  }
  return out;
}

inline double reference_dot(const float* a, const float* b, std::size_t dim) {
  long double sum = 0;
  for (std::size_t i = 0; i < dim; ++i) sum += static_cast<long double>(a[i]) * b[i];
  return static_cast<double>(sum);
}

inline double reference_l2(const float* a, const float* b, std::size_t dim) {
  long double sum = 0;
  for (std::size_t i = 0; i < dim; ++i) {
    const long double d = static_cast<long double>(a[i]) - b[i];
    sum += d * d;
  }
  return static_cast<double>(sum);
}

inline double reference_norm(const float* a, std::size_t dim) {
  return std::sqrt(reference_dot(a, a, dim));
}

inline std::string describe(const simd::Kernels& kernels, std::size_t dim, Values kind) {
  return std::string(kernels.name) + ", dim " + std::to_string(dim) + ", values " +
         std::to_string(static_cast<int>(kind));
}

}  // namespace srvdb::testing
