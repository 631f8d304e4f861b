#include "srvdb/distance/margin.h"

#include <cmath>
#include <limits>

namespace srvdb {
namespace {

constexpr double kUnit = 0x1p-24;         // float32 rounds to within this, relatively
constexpr double kTiny = 0x1p-149;        // more than an underflowing operation can lose
constexpr double kSafe = 0x1p126;         // sums of magnitudes below this cannot overflow float32
constexpr double kRoundUp = 1 + 0x1p-40;  // covers the rounding of the bounds themselves
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double gamma(std::size_t operations) noexcept {
  const double nu = static_cast<double>(operations) * kUnit;
  return nu / (1 - nu);
}

}  // namespace

double dot_margin(std::size_t dim, double norm_a, double norm_b) noexcept {
  const double product = norm_a * norm_b;
  if (!(product < kSafe)) return kInfinity;
  return (gamma(dim) * product + static_cast<double>(dim) * kTiny) * kRoundUp;
}

double l2_margin(std::size_t dim, double computed) noexcept {
  if (!(computed < kSafe)) return kInfinity;
  // A difference, its square (twice the difference's error) and the sum: dim + 2 roundings of the
  // exact value, which itself is known only through the computed one.
  const double g = gamma(dim + 2);
  const double underflow = static_cast<double>(dim) * kTiny;
  return (g * (computed + underflow) / (1 - g) + underflow) * kRoundUp;
}

double tile_cosine_margin(std::size_t dim) noexcept {
  // On each side the scale and the scaled component are rounded: 4 more roundings, and 2 to spare
  // for the norms.
  return (gamma(dim + 6) + static_cast<double>(dim) * 4 * kTiny) * kRoundUp;
}

double tile_l2_margin(std::size_t dim, double norm_q, double norm_x) noexcept {
  const double square = norm_x * norm_x;
  if (!(square < kSafe)) return kInfinity;
  // The product's error, the rounding of the bias, and the rounding of their sum.
  const double product = dot_margin(dim, norm_q, norm_x);
  const double sum = 2 * kUnit * (norm_q * norm_x + square);
  return (product + sum + 4 * kTiny) * kRoundUp;
}

float tile_scale(double norm) noexcept {
  if (norm == 0) return 0;
  if (!(norm >= 0x1p-100 && norm <= 0x1p100)) return std::numeric_limits<float>::quiet_NaN();
  return static_cast<float>(1 / norm);
}

}  // namespace srvdb
