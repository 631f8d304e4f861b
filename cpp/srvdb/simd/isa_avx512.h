// AVX-512 (F, BW, CD, DQ, VL), with VNNI where the translation unit is compiled for it.
// Included only by kernels_avx512.cpp and kernels_avx512vnni.cpp.
#pragma once

// GCC 12 takes the deliberately undefined registers in its own intrinsics for a mistake.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "srvdb/simd/kernels_impl.h"

namespace srvdb::simd {
namespace {

#ifdef __AVX512VNNI__
using Avx512Arch = xsimd::avx512vnni<xsimd::avx512bw>;
#else
using Avx512Arch = xsimd::avx512bw;
#endif

struct Avx512Codes {
  struct Sums {
    __m512i a = _mm512_setzero_si512();
    __m512i b = _mm512_setzero_si512();
    SRVDB_INLINE std::int32_t total() const noexcept {
      return _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
    }
  };
  SRVDB_INLINE static __m512i add_pairs(__m512i sum, __m512i x, __m512i y) noexcept {
#ifdef __AVX512VNNI__
    return _mm512_dpwssd_epi32(sum, x, y);
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(x, y));
#endif
  }
  SRVDB_INLINE static __m512i wide_code(const std::uint8_t* code) noexcept {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(code)));
  }

  struct L2 {
    using Element = std::int16_t;
    using Sum = Sums;
    SRVDB_INLINE static void step(Sum& sum, const Element* q, const std::uint8_t* code) noexcept {
      const __m512i x = _mm512_sub_epi16(wide_code(code), _mm512_loadu_si512(q));
      const __m512i y = _mm512_sub_epi16(wide_code(code + 32), _mm512_loadu_si512(q + 32));
      sum.a = add_pairs(sum.a, x, x);
      sum.b = add_pairs(sum.b, y, y);
    }
    SRVDB_INLINE static std::int32_t key(const Sum& sum) noexcept { return sum.total(); }
  };

  struct NegDot {
    using Element = std::int8_t;
    using Sum = Sums;
    SRVDB_INLINE static __m512i wide_query(const Element* q) noexcept {
      return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(q)));
    }
    SRVDB_INLINE static void step(Sum& sum, const Element* q, const std::uint8_t* code) noexcept {
#ifdef __AVX512VNNI__
      sum.a = _mm512_dpbusd_epi32(sum.a, _mm512_loadu_si512(code), _mm512_loadu_si512(q));
#else
      sum.a = add_pairs(sum.a, wide_code(code), wide_query(q));
      sum.b = add_pairs(sum.b, wide_code(code + 32), wide_query(q + 32));
#endif
    }
    SRVDB_INLINE static std::int32_t key(const Sum& sum) noexcept {
      return -sum.total();
    }
  };
};

struct Avx512 {
  using Arch = Avx512Arch;
  static constexpr std::size_t kTileVectors = 2;
  static constexpr std::size_t kTileQueries = 12;

  SRVDB_INLINE static xsimd::batch<float, Arch> load_partial(const float* at,
                                                             std::size_t n) noexcept {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), at);
  }
  SRVDB_INLINE static xsimd::batch<double, Arch> load_double(const float* at) noexcept {
    return _mm512_cvtps_pd(_mm256_loadu_ps(at));
  }
  using Codes = Avx512Codes;
};

}  // namespace
}  // namespace srvdb::simd
