// SSE2: what every x86-64 processor has. Included only by kernels_baseline.cpp.
#pragma once

#include <emmintrin.h>

#include "srvdb/simd/kernels_impl.h"

namespace srvdb::simd {
namespace {

// Codes are widened to 16 bits by interleaving with zeros, 16 at a time.
struct Sse2Codes {
  struct Sums {
    __m128i a = _mm_setzero_si128();
    __m128i b = _mm_setzero_si128();
    SRVDB_INLINE std::int32_t total() const noexcept {
      __m128i s = _mm_add_epi32(a, b);
      s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
      s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
      return _mm_cvtsi128_si32(s);
    }
  };
  SRVDB_INLINE static __m128i load16(const void* at) noexcept {
    return _mm_loadu_si128(static_cast<const __m128i*>(at));
  }
  SRVDB_INLINE static __m128i add_pairs(__m128i sum, __m128i x, __m128i y) noexcept {
    return _mm_add_epi32(sum, _mm_madd_epi16(x, y));
  }

  struct L2 {
    using Element = std::int16_t;
    using Sum = Sums;
    SRVDB_INLINE static void step(Sum& sum, const Element* q, const std::uint8_t* code) noexcept {
      const __m128i zero = _mm_setzero_si128();
      for (std::size_t i = 0; i < 64; i += 16) {
        const __m128i c = load16(code + i);
        const __m128i x = _mm_sub_epi16(_mm_unpacklo_epi8(c, zero), load16(q + i));
        const __m128i y = _mm_sub_epi16(_mm_unpackhi_epi8(c, zero), load16(q + i + 8));
        sum.a = add_pairs(sum.a, x, x);
        sum.b = add_pairs(sum.b, y, y);
      }
    }
    SRVDB_INLINE static std::int32_t key(const Sum& sum) noexcept { return sum.total(); }
  };

  struct NegDot {
    using Element = std::int8_t;
    using Sum = Sums;
    SRVDB_INLINE static void step(Sum& sum, const Element* q, const std::uint8_t* code) noexcept {
      const __m128i zero = _mm_setzero_si128();
      for (std::size_t i = 0; i < 64; i += 16) {
        const __m128i c = load16(code + i);
        const __m128i w = load16(q + i);
        const __m128i low = _mm_srai_epi16(_mm_unpacklo_epi8(zero, w), 8);
        const __m128i high = _mm_srai_epi16(_mm_unpackhi_epi8(zero, w), 8);
        sum.a = add_pairs(sum.a, _mm_unpacklo_epi8(c, zero), low);
        sum.b = add_pairs(sum.b, _mm_unpackhi_epi8(c, zero), high);
      }
    }
    SRVDB_INLINE static std::int32_t key(const Sum& sum) noexcept { return -sum.total(); }
  };

  struct Signs {
    struct Part {
      __m128i bytes[4] = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(),
                          _mm_setzero_si128()};
    };
    using Sum = Sums;
    // 16 bits at a time: each lane has the byte of its bit, of which that bit is looked at.
    SRVDB_INLINE static void step(Part& part, const std::int8_t* q,
                                  const std::uint8_t* bits) noexcept {
      const __m128i one_bit = _mm_set1_epi64x(static_cast<long long>(0x8040201008040201U));
      for (std::size_t i = 0; i < 4; ++i) {
        const __m128i both = _mm_cvtsi32_si128(bits[2 * i] | bits[2 * i + 1] << 8);
        const __m128i twice = _mm_unpacklo_epi8(both, both);
        const __m128i four = _mm_unpacklo_epi16(twice, twice);
        const __m128i spread = _mm_unpacklo_epi32(four, four);
        const __m128i set = _mm_cmpeq_epi8(_mm_and_si128(spread, one_bit), one_bit);
        part.bytes[i] = _mm_add_epi8(part.bytes[i], _mm_and_si128(set, load16(q + 16 * i)));
      }
    }
    SRVDB_INLINE static void fold(Sum& sum, const Part& part) noexcept {
      const __m128i zero = _mm_setzero_si128();
      const __m128i ones = _mm_set1_epi16(1);
      for (const __m128i& w : part.bytes) {
        sum.a = add_pairs(sum.a, _mm_srai_epi16(_mm_unpacklo_epi8(zero, w), 8), ones);
        sum.b = add_pairs(sum.b, _mm_srai_epi16(_mm_unpackhi_epi8(zero, w), 8), ones);
      }
    }
    SRVDB_INLINE static std::int32_t total(const Sum& sum) noexcept { return sum.total(); }
  };
};

struct Baseline {
  using Arch = xsimd::sse2;
  static constexpr std::size_t kTileVectors = 2;
  static constexpr std::size_t kTileQueries = 6;

  SRVDB_INLINE static __m128 load_two(const float* at) noexcept {
    return _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
  }
  SRVDB_INLINE static xsimd::batch<float, Arch> load_partial(const float* at,
                                                             std::size_t n) noexcept {
    if (n == 1) return _mm_load_ss(at);
    return n == 2 ? load_two(at) : _mm_movelh_ps(load_two(at), _mm_load_ss(at + 2));
  }
  SRVDB_INLINE static xsimd::batch<double, Arch> load_double(const float* at) noexcept {
    return _mm_cvtps_pd(load_two(at));
  }
  using Codes = Sse2Codes;
  using Pool = PlainPool;
};

}  // namespace
}  // namespace srvdb::simd
