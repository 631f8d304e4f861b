// No instruction set assumed: code that the compiler may turn into anything. Included only by
// kernels_baseline.cpp, on processors other than x86-64.
#pragma once

// Notes on how the compiler passes these types; none crosses a translation unit.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

#define XSIMD_WITH_EMULATED 1

#include "srvdb/simd/kernels_impl.h"

namespace srvdb::simd {
namespace {

struct PlainCodes {
  struct L2 {
    using Element = std::int16_t;
    using Sum = std::int32_t;
    SRVDB_INLINE static void step(Sum& sum, const Element* q, const std::uint8_t* code) noexcept {
      for (std::size_t i = 0; i < 64; ++i) {
        const std::int32_t d = std::int32_t{code[i]} - q[i];
        sum += d * d;
      }
    }
    SRVDB_INLINE static std::int32_t key(Sum sum) noexcept { return sum; }
  };
  struct NegDot {
    using Element = std::int8_t;
    using Sum = std::int32_t;
    SRVDB_INLINE static void step(Sum& sum, const Element* q, const std::uint8_t* code) noexcept {
      for (std::size_t i = 0; i < 64; ++i) sum += std::int32_t{code[i]} * q[i];
    }
    SRVDB_INLINE static std::int32_t key(Sum sum) noexcept { return -sum; }
  };
  struct Signs {
    using Part = std::int32_t;
    using Sum = std::int32_t;
    SRVDB_INLINE static void step(Part& part, const std::int8_t* q,
                                  const std::uint8_t* bits) noexcept {
      for (std::size_t i = 0; i < 64; ++i) part += (bits[i / 8] >> (i % 8) & 1) != 0 ? q[i] : 0;
    }
    SRVDB_INLINE static void fold(Sum& sum, Part part) noexcept { sum += part; }
    SRVDB_INLINE static std::int32_t total(Sum sum) noexcept { return sum; }
  };
};

struct Baseline {
  using Arch = xsimd::emulated<128>;
  static constexpr std::size_t kTileVectors = 2;
  static constexpr std::size_t kTileQueries = 4;

  SRVDB_INLINE static xsimd::batch<float, Arch> load_partial(const float* at,
                                                             std::size_t n) noexcept {
    float padded[4] = {};
    for (std::size_t i = 0; i < n; ++i) padded[i] = at[i];
    return xsimd::batch<float, Arch>::load_unaligned(padded);
  }
  SRVDB_INLINE static xsimd::batch<double, Arch> load_double(const float* at) noexcept {
    const double two[2] = {at[0], at[1]};
    return xsimd::batch<double, Arch>::load_unaligned(two);
  }
  using Codes = PlainCodes;
  using Pool = PlainPool;
};

}  // namespace
}  // namespace srvdb::simd
