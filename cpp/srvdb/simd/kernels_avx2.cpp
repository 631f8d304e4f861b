// Kernels for AVX2 with FMA (Haswell, Zen and later). Compiled with -mavx2 -mfma.
#include <immintrin.h>

#include "srvdb/simd/impl_bits.h"
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

  struct Signs {
    struct Part {
      __m256i low = _mm256_setzero_si256();
      __m256i high = _mm256_setzero_si256();
    };
    using Sum = Sums;
    // 32 bits at a time: each lane has the byte of its bit, of which that bit is looked at.
    SRVDB_INLINE static __m256i picked(const std::int8_t* q, const std::uint8_t* bits) noexcept {
      std::int32_t word;
      __builtin_memcpy(&word, bits, sizeof word);
      const __m256i place =
          _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
      const __m256i one_bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201U));
      const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(word), place);
      const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, one_bit), one_bit);
      return _mm256_and_si256(set, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q)));
    }
    SRVDB_INLINE static void step(Part& part, const std::int8_t* q,
                                  const std::uint8_t* bits) noexcept {
      part.low = _mm256_add_epi8(part.low, picked(q, bits));
      part.high = _mm256_add_epi8(part.high, picked(q + 32, bits + 4));
    }
    SRVDB_INLINE static void fold(Sum& sum, const Part& part) noexcept {
      const __m256i ones = _mm256_set1_epi8(1);
      const __m256i both = _mm256_add_epi16(_mm256_maddubs_epi16(ones, part.low),
                                            _mm256_maddubs_epi16(ones, part.high));
      sum.a = add_pairs(sum.a, both, _mm256_set1_epi16(1));
    }
    SRVDB_INLINE static std::int32_t total(const Sum& sum) noexcept { return sum.total(); }
  };
};

struct Avx2Bits {
  // 32 codes of at most 8 bits, as bytes.
  template <unsigned kBits>
  SRVDB_INLINE static __m256i bytes(const std::uint8_t* codes) noexcept {
    if constexpr (kBits == 8) {
      return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
    } else {
      const __m256i two = _mm256_cvtepu8_epi16(Avx2Codes::load16(codes));
      const __m256i high = _mm256_slli_epi16(_mm256_and_si256(two, _mm256_set1_epi16(0xF0)), 4);
      return _mm256_or_si256(_mm256_and_si256(two, _mm256_set1_epi16(0x0F)), high);
    }
  }
  SRVDB_INLINE static std::uint64_t mask(__m256i bytes) noexcept {
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(bytes));
  }

  struct Range {
    __m256i low8, span8, low16, span16;
    SRVDB_INLINE Range(std::uint32_t first, std::uint32_t last) noexcept
        : low8(_mm256_set1_epi8(static_cast<char>(first))),
          span8(_mm256_set1_epi8(static_cast<char>(last - first))),
          low16(_mm256_set1_epi16(static_cast<short>(first))),
          span16(_mm256_set1_epi16(static_cast<short>(last - first))) {}
    SRVDB_INLINE __m256i test16(const std::uint8_t* codes) const noexcept {
      const __m256i x = _mm256_sub_epi16(bytes<8>(codes), low16);
      return _mm256_cmpeq_epi16(_mm256_min_epu16(x, span16), x);
    }
    template <unsigned kBits>
    SRVDB_INLINE std::uint64_t half(const std::uint8_t* codes) const noexcept {
      if constexpr (kBits == 16) {
        const __m256i mixed = _mm256_packs_epi16(test16(codes), test16(codes + 32));
        return mask(_mm256_permute4x64_epi64(mixed, 0xD8));
      } else {
        const __m256i x = _mm256_sub_epi8(bytes<kBits>(codes), low8);
        return mask(_mm256_cmpeq_epi8(_mm256_min_epu8(x, span8), x));
      }
    }
    template <unsigned kBits>
    SRVDB_INLINE std::uint64_t word(const std::uint8_t* codes) const noexcept {
      return half<kBits>(codes) | half<kBits>(codes + 4 * kBits) << 32;
    }
  };

  struct Set {
    const int* bits;
    __m256i first;
    SRVDB_INLINE Set(const std::uint64_t* set, std::size_t from) noexcept
        : bits(reinterpret_cast<const int*>(set + from / 64)),
          first(_mm256_set1_epi32(static_cast<int>(from))) {}
    SRVDB_INLINE std::uint64_t eight(__m128i codes16) const noexcept {
      const __m256i c = _mm256_sub_epi32(_mm256_cvtepu16_epi32(codes16), first);
      const __m256i last = _mm256_set1_epi32(kCodeSetStep - 1);
      const __m256i valid = _mm256_cmpeq_epi32(_mm256_min_epu32(c, last), c);
      const __m256i at = _mm256_srli_epi32(c, 5);
      const __m256i found = _mm256_mask_i32gather_epi32(_mm256_setzero_si256(), bits, at, valid, 4);
      const __m256i up =
          _mm256_sub_epi32(_mm256_set1_epi32(31), _mm256_and_si256(c, _mm256_set1_epi32(31)));
      const __m256i on_top = _mm256_sllv_epi32(found, up);
      return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(on_top)));
    }
    SRVDB_INLINE std::uint64_t sixteen(__m256i codes16) const noexcept {
      return eight(_mm256_castsi256_si128(codes16)) | eight(_mm256_extracti128_si256(codes16, 1))
                                                          << 8;
    }
    template <unsigned kBits>
    SRVDB_INLINE std::uint64_t word(const std::uint8_t* codes) const noexcept {
      std::uint64_t word = 0;
      for (unsigned i = 0; i < 64; i += 32) {
        __m256i low, high;
        if constexpr (kBits == 16) {
          low = bytes<8>(codes + 2 * i);
          high = bytes<8>(codes + 2 * i + 32);
        } else {
          const __m256i all = bytes<kBits>(codes + i * kBits / 8);
          low = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(all));
          high = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(all, 1));
        }
        word |= (sixteen(low) | sixteen(high) << 16) << i;
      }
      return word;
    }
  };

  SRVDB_INLINE static std::size_t ones(std::uint64_t word) noexcept {
    return static_cast<std::size_t>(__builtin_popcountll(word));
  }
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

constinit const BitKernels kAvx2Bits = make_bit_kernels<Avx2Bits>();

constinit const Kernels kAvx2Kernels = make_kernels<Avx2>("avx2");

}  // namespace srvdb::simd
