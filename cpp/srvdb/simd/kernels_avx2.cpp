// Kernels for AVX2 with FMA (Haswell, Zen and later). Compiled with -mavx2 -mfma.
#include <immintrin.h>

#include "srvdb/simd/kernels_impl.h"

namespace srvdb::simd {
namespace {

// vpmaddubsw would saturate, so codes are widened to 16 bits, 16 at a time.
struct Avx2Codes {
  struct Sums {
    __m256i a = _mm256_setzero_si256();
    __m256i b = _mm256_setzero_si256();
    SRVDB_INLINE std::int32_t total() const noexcept {
      const __m256i sum = _mm256_add_epi32(a, b);
      __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
      s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
      s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
      return _mm_cvtsi128_si32(s);
    }
  };
  SRVDB_INLINE static __m128i load16(const void* at) noexcept {
    return _mm_loadu_si128(static_cast<const __m128i*>(at));
  }
  SRVDB_INLINE static __m256i add_pairs(__m256i sum, __m256i x, __m256i y) noexcept {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x, y));
  }

  struct L2 {
    using Element = std::int16_t;
    using Sum = Sums;
    SRVDB_INLINE static __m256i diff(const Element* q, const std::uint8_t* code) noexcept {
      const __m256i query = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q));
      return _mm256_sub_epi16(_mm256_cvtepu8_epi16(load16(code)), query);
    }
    SRVDB_INLINE static void step(Sum& sum, const Element* q, const std::uint8_t* code) noexcept {
      for (std::size_t i = 0; i < 64; i += 32) {
        const __m256i x = diff(q + i, code + i);
        const __m256i y = diff(q + i + 16, code + i + 16);
        sum.a = add_pairs(sum.a, x, x);
        sum.b = add_pairs(sum.b, y, y);
      }
    }
    SRVDB_INLINE static std::int32_t key(const Sum& sum) noexcept { return sum.total(); }
  };

  struct NegDot {
    using Element = std::int8_t;
    using Sum = Sums;
    SRVDB_INLINE static __m256i product(__m256i sum, const Element* q,
                                        const std::uint8_t* code) noexcept {
      return add_pairs(sum, _mm256_cvtepu8_epi16(load16(code)), _mm256_cvtepi8_epi16(load16(q)));
    }
    SRVDB_INLINE static void step(Sum& sum, const Element* q, const std::uint8_t* code) noexcept {
      for (std::size_t i = 0; i < 64; i += 32) {
        sum.a = product(sum.a, q + i, code + i);
        sum.b = product(sum.b, q + i + 16, code + i + 16);
      }
    }
    SRVDB_INLINE static std::int32_t key(const Sum& sum) noexcept { return -sum.total(); }
  };
};

struct Avx2 {
  using Arch = xsimd::fma3<xsimd::avx2>;
  static constexpr std::size_t kTileVectors = 2;
  static constexpr std::size_t kTileQueries = 6;

  SRVDB_INLINE static xsimd::batch<float, Arch> load_partial(const float* at,
                                                             std::size_t n) noexcept {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(at, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane));
  }
  SRVDB_INLINE static xsimd::batch<double, Arch> load_double(const float* at) noexcept {
    return _mm256_cvtps_pd(_mm_loadu_ps(at));
  }
  using Codes = Avx2Codes;
  using Pool = PlainPool;
};

}  // namespace

constinit const Kernels kAvx2Kernels = make_kernels<Avx2>("avx2");

}  // namespace srvdb::simd
