// Queries rounded to whole numbers: the same codes and the same bits on every instruction set.
// Included only by kernel translation units (see kernels_impl.h).
//
// Sums in the lanes of impl_double.h; nothing is fused.
#pragma once

#include "srvdb/simd/impl_double.h"

namespace srvdb::simd {
namespace {

template <class Isa>
struct RoundingKernels {
  using F = xsimd::batch<float, typename Isa::Arch>;
  using Double = DoubleKernels<Isa>;
  using D = typename Double::D;
  static constexpr std::size_t kLanes = Double::kLanes;
  static constexpr std::size_t kParts = Double::kParts;
  // Added and taken away: the nearest whole number, ties to even.
  static constexpr double kWhole = 0x1.8p52;

  template <typename Code>
  static Rounded round(const float* x, std::size_t dim, const RoundParams& params,
                       Code* codes) noexcept {
    const double per_step = 1 / params.step;
    const D unit(params.unit), shift(params.shift), step(params.step);
    const D low(params.low), high(params.high), scale(per_step), nearest(kWhole);
    typename Double::Lanes error2;
    typename Double::Lanes total;
    alignas(64) double whole[kLanes];
    std::size_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) {
#pragma GCC unroll 4
      for (std::size_t p = 0; p < kParts; ++p) {
        const D value = Isa::load_double(x + i + p * D::size) * unit;
        const D near = xsimd::min(xsimd::max((value - shift) * scale, low), high);
        const D code = (near + nearest) - nearest;
        error2.part[p] = Double::square_diff(error2.part[p], value, shift + step * code);
        total.part[p] = total.part[p] + code;
        code.store_aligned(whole + p * D::size);
      }
      for (std::size_t l = 0; l < kLanes; ++l) {
        codes[i + l] = static_cast<Code>(static_cast<std::int32_t>(whole[l]));
      }
    }
    double errors[kLanes] = {};
    double totals[kLanes] = {};
    for (std::size_t l = 0; i < dim; ++i, ++l) {
      const double value = static_cast<double>(x[i]) * params.unit;
      double near = (value - params.shift) * per_step;
      near = near > params.low ? near : params.low;
      near = near < params.high ? near : params.high;
      const double code = (near + kWhole) - kWhole;
      const double d = value - (params.shift + params.step * code);
      errors[l] = d * d;
      totals[l] = code;
      codes[i] = static_cast<Code>(static_cast<std::int32_t>(code));
    }
    return {.error2 = error2.sum(errors), .sum = static_cast<std::int64_t>(total.sum(totals))};
  }

  static float largest(const float* x, std::size_t dim) noexcept {
    F most(0.0f);
    std::size_t i = 0;
    for (; i + F::size <= dim; i += F::size) {
      most = xsimd::max(most, xsimd::abs(F::load_unaligned(x + i)));
    }
    if (i < dim) most = xsimd::max(most, xsimd::abs(Isa::load_partial(x + i, dim - i)));
    float lanes[F::size];
    most.store_unaligned(lanes);
    for (std::size_t l = 1; l < F::size; ++l) lanes[0] = lanes[l] > lanes[0] ? lanes[l] : lanes[0];
    return lanes[0];
  }
};

}  // namespace
}  // namespace srvdb::simd
