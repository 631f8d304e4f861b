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
  // Four totals at once: lanes are exchanged and added until each 128 bits hold one of each.
  SRVDB_INLINE static __m128i totals(const Sums& s0, const Sums& s1, const Sums& s2,
                                     const Sums& s3) noexcept {
    const __m512i x0 = _mm512_add_epi32(s0.a, s0.b);
    const __m512i x1 = _mm512_add_epi32(s1.a, s1.b);
    const __m512i x2 = _mm512_add_epi32(s2.a, s2.b);
    const __m512i x3 = _mm512_add_epi32(s3.a, s3.b);
    const __m512i y0 =
        _mm512_add_epi32(_mm512_unpacklo_epi32(x0, x1), _mm512_unpackhi_epi32(x0, x1));
    const __m512i y1 =
        _mm512_add_epi32(_mm512_unpacklo_epi32(x2, x3), _mm512_unpackhi_epi32(x2, x3));
    const __m512i z =
        _mm512_add_epi32(_mm512_unpacklo_epi64(y0, y1), _mm512_unpackhi_epi64(y0, y1));
    const __m256i half =
        _mm256_add_epi32(_mm512_castsi512_si256(z), _mm512_extracti64x4_epi64(z, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  }
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
    SRVDB_INLINE static void keys(const Sum& s0, const Sum& s1, const Sum& s2, const Sum& s3,
                                  std::int32_t* out) noexcept {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), totals(s0, s1, s2, s3));
    }
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
    SRVDB_INLINE static void keys(const Sum& s0, const Sum& s1, const Sum& s2, const Sum& s3,
                                  std::int32_t* out) noexcept {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                       _mm_sub_epi32(_mm_setzero_si128(), totals(s0, s1, s2, s3)));
    }
  };

  struct Signs {
    struct Part {
      __m512i bytes = _mm512_setzero_si512();
    };
    using Sum = Sums;
    SRVDB_INLINE static void step(Part& part, const std::int8_t* q,
                                  const std::uint8_t* bits) noexcept {
      std::uint64_t word;
      __builtin_memcpy(&word, bits, sizeof word);
      part.bytes = _mm512_mask_add_epi8(part.bytes, word, part.bytes, _mm512_loadu_si512(q));
    }
    SRVDB_INLINE static void fold(Sum& sum, const Part& part) noexcept {
      const __m512i ones = _mm512_set1_epi8(1);
#ifdef __AVX512VNNI__
      sum.a = _mm512_dpbusd_epi32(sum.a, ones, part.bytes);
#else
      sum.a = add_pairs(sum.a, _mm512_maddubs_epi16(ones, part.bytes), _mm512_set1_epi16(1));
#endif
    }
    SRVDB_INLINE static std::int32_t total(const Sum& sum) noexcept {
      return sum.total();
    }
    SRVDB_INLINE static void totals(const Sum& s0, const Sum& s1, const Sum& s2, const Sum& s3,
                                    std::int32_t* out) noexcept {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), Avx512Codes::totals(s0, s1, s2, s3));
    }
  };
};

struct Avx512Pool {
  static constexpr std::size_t kSkip = 64;  // places that are passed over with one comparison

  SRVDB_INLINE static __m512i words(__m256i keys, __m256i ids) noexcept {
    const __m512i upper = _mm512_slli_epi64(_mm512_cvtepu32_epi64(keys), 32);
    return _mm512_or_si512(upper, _mm512_slli_epi64(_mm512_cvtepu32_epi64(ids), 1));
  }
  SRVDB_INLINE static std::size_t select(const std::int32_t* keys, const std::uint32_t* ids,
                                         std::size_t n, std::int32_t limit,
                                         std::uint64_t* out) noexcept {
    const auto valid = static_cast<__mmask16>((1u << n) - 1u);
    const __m512i k = _mm512_load_si512(keys);
    const __mmask16 pass = _mm512_mask_cmple_epi32_mask(valid, k, _mm512_set1_epi32(limit));
    const __m512i id = _mm512_maskz_loadu_epi32(valid, ids);
    const __m512i upper = _mm512_xor_si512(k, _mm512_set1_epi32(INT32_MIN));
    const auto low = static_cast<__mmask8>(pass);
    const auto high = static_cast<__mmask8>(pass >> 8);
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi64(low, words(_mm512_castsi512_si256(upper),
                                                                    _mm512_castsi512_si256(id))));
    const auto first = static_cast<std::size_t>(__builtin_popcount(low));
    _mm512_storeu_si512(out + first,
                        _mm512_maskz_compress_epi64(high, words(_mm512_extracti64x4_epi64(upper, 1),
                                                                _mm512_extracti64x4_epi64(id, 1))));
    return first + static_cast<std::size_t>(__builtin_popcount(high));
  }

  // In each register the entries above the new one move up by a place; what leaves it at the top
  // enters the next: max(the entry before, min(this entry, the new one)).
  static std::size_t insert(std::uint64_t* pool, std::size_t ef, const std::uint64_t* candidates,
                            std::size_t n) noexcept {
    const std::size_t last = (ef - 1) / 8 * 8;  // first place of the last register
    const __m512i beyond = _mm512_maskz_set1_epi64(static_cast<__mmask8>(0xFFu << (ef - last)), -1);
    std::size_t lowest = ef;
    for (std::size_t c = 0; c < n; ++c) {
      const std::uint64_t word = candidates[c];
      std::size_t i = 0;
      while (i + kSkip <= last && pool[i + kSkip - 1] < word) i += kSkip;
      lowest = min_size(lowest, i);
      const __m512i fresh = _mm512_set1_epi64(static_cast<long long>(word));
      __m512i before = _mm512_setzero_si512();
      if (i != 0) before = _mm512_set1_epi64(static_cast<long long>(pool[i - 1]));
      for (; i < last; i += 8) {
        const __m512i here = _mm512_load_si512(pool + i);
        const __m512i moved = _mm512_alignr_epi64(here, before, 7);
        _mm512_store_si512(pool + i, _mm512_max_epu64(moved, _mm512_min_epu64(here, fresh)));
        before = here;
      }
      const __m512i here = _mm512_load_si512(pool + last);
      const __m512i moved = _mm512_alignr_epi64(here, before, 7);
      const __m512i after = _mm512_max_epu64(moved, _mm512_min_epu64(here, fresh));
      _mm512_store_si512(pool + last, _mm512_or_si512(after, beyond));
    }
    return lowest;
  }

  static std::size_t open(const std::uint64_t* pool, std::size_t ef, std::size_t from) noexcept {
    const __m512i mark = _mm512_set1_epi64(1);
    for (std::size_t i = from / 8 * 8; i < ef; i += 8) {
      const auto unmarked =
          static_cast<unsigned>(_mm512_testn_epi64_mask(_mm512_load_si512(pool + i), mark));
      if (unmarked != 0) return i + static_cast<std::size_t>(__builtin_ctz(unmarked));
    }
    return ef;
  }

  // Calls others(those of 16 ids that were marked, as a mask, ids) for each 16.
  template <class Others>
  SRVDB_INLINE static std::size_t split(std::uint64_t* marks, const std::uint32_t* ids,
                                        std::size_t n, std::uint32_t limit, std::uint32_t* out,
                                        const Others& others, std::uint32_t* largest) noexcept {
    std::size_t count = 0;
    __m512i most = _mm512_setzero_si512();
    const __m512i one = _mm512_set1_epi32(1);
    for (std::size_t i = 0; i < n; i += 16) {
      const std::size_t left = n - i;
      const auto there = static_cast<__mmask16>(left < 16 ? (1u << left) - 1u : 0xFFFFu);
      const __m512i id = _mm512_maskz_loadu_epi32(there, ids + i);
      most = _mm512_max_epu32(most, id);
      const auto below =
          _mm512_mask_cmplt_epu32_mask(there, id, _mm512_set1_epi32(static_cast<int>(limit)));
      // Halves of the words: the lower one comes first.
      const __m512i words = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), below,
                                                        _mm512_srli_epi32(id, 5), marks, 4);
      const __m512i bit = _mm512_sllv_epi32(one, _mm512_and_si512(id, _mm512_set1_epi32(31)));
      const auto free = static_cast<unsigned>(_mm512_mask_testn_epi32_mask(below, words, bit));
      _mm512_storeu_si512(out + count,
                          _mm512_maskz_compress_epi32(static_cast<__mmask16>(free), id));
      count += static_cast<std::size_t>(__builtin_popcount(free));
      others(static_cast<unsigned>(below) & ~free, id);
    }
    for (std::size_t i = 0; i < count; ++i) {
      marks[out[i] / 64] |= std::uint64_t{1} << (out[i] % 64);
    }
    *largest = _mm512_reduce_max_epu32(most);
    return count;
  }
  static std::size_t take(std::uint64_t* marks, const std::uint32_t* ids, std::size_t n,
                          std::uint32_t limit, std::uint32_t* out,
                          std::uint32_t* largest) noexcept {
    const auto drop = [](unsigned, __m512i) noexcept {};
    return split(marks, ids, n, limit, out, drop, largest);
  }
  static std::size_t part(std::uint64_t* marks, const std::uint32_t* ids, std::size_t n,
                          std::uint32_t limit, std::uint32_t* out, std::uint32_t* others,
                          std::size_t* n_others, std::uint32_t* largest) noexcept {
    std::size_t more = 0;
    const auto keep = [&](unsigned known, __m512i id) noexcept {
      _mm512_storeu_si512(others + more,
                          _mm512_maskz_compress_epi32(static_cast<__mmask16>(known), id));
      more += static_cast<std::size_t>(__builtin_popcount(known));
    };
    const std::size_t count = split(marks, ids, n, limit, out, keep, largest);
    *n_others += more;
    return count;
  }
};

#ifdef __AVX512VNNI__
// All pairs of codes. The panel holds blocks of 64 columns; in a block, four components of all 64
// columns follow one another. The sums of 6 rows times 64 columns stay in registers over the whole
// dimension.
struct Avx512Pairs {
  static constexpr std::size_t kRows = 6;
  static constexpr std::size_t kVectors = kPairColumns / 16;

  static void pack(const std::uint8_t* base, const std::uint32_t* ids, std::size_t n,
                   std::size_t stride, std::uint8_t* panel) noexcept {
    constexpr std::size_t kAhead = 4;
    for (std::size_t i = 0; i < n; ++i) {
      if (i + kAhead < n) {
        for (std::size_t b = 0; b < stride; b += 64) prefetch(base + ids[i + kAhead] * stride, b);
      }
      const auto* code = reinterpret_cast<const std::int32_t*>(base + ids[i] * stride);
      auto* to = reinterpret_cast<std::int32_t*>(panel + i / kPairColumns * kPairColumns * stride) +
                 i % kPairColumns;
      for (std::size_t d = 0; d < stride / 4; ++d) to[d * kPairColumns] = code[d];
    }
  }

  static void keys(const std::int8_t* rows, std::size_t n_rows, const std::uint8_t* panel,
                   std::size_t n_columns, std::size_t stride, const std::int32_t* bias, int shift,
                   std::int32_t* out, std::size_t out_stride) noexcept {
    for (std::size_t j = 0; j < n_columns; j += kPairColumns) {
      std::size_t i = 0;
      for (; i + kRows <= n_rows; i += kRows) {
        block<kRows>(rows + i * stride, panel + j * stride, stride, bias + j, shift,
                     out + i * out_stride + j, out_stride);
      }
      for (; i < n_rows; ++i) {
        block<1>(rows + i * stride, panel + j * stride, stride, bias + j, shift,
                 out + i * out_stride + j, out_stride);
      }
    }
  }

 private:
  template <std::size_t kCount>
  SRVDB_INLINE static void block(const std::int8_t* rows, const std::uint8_t* panel,
                                 std::size_t stride, const std::int32_t* bias, int shift,
                                 std::int32_t* out, std::size_t out_stride) noexcept {
    __m512i sums[kCount][kVectors];
#pragma GCC unroll 6
    for (std::size_t r = 0; r < kCount; ++r) {
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = _mm512_setzero_si512();
    }
    for (std::size_t d = 0; d < stride; d += 4) {
      __m512i x[kVectors];
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) {
        x[v] = _mm512_load_si512(panel + d * kPairColumns + v * 64);
      }
#pragma GCC unroll 6
      for (std::size_t r = 0; r < kCount; ++r) {
        const __m512i y =
            _mm512_set1_epi32(*reinterpret_cast<const std::int32_t*>(rows + r * stride + d));
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVectors; ++v) {
          sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], x[v], y);
        }
      }
    }
    const __m128i by = _mm_cvtsi32_si128(shift);
#pragma GCC unroll 6
    for (std::size_t r = 0; r < kCount; ++r) {
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) {
        _mm512_storeu_si512(
            out + r * out_stride + v * 16,
            _mm512_sub_epi32(_mm512_loadu_si512(bias + v * 16), _mm512_sll_epi32(sums[r][v], by)));
      }
    }
  }
};
#endif

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
  using Pool = Avx512Pool;
#ifdef __AVX512VNNI__
  using Pairs = Avx512Pairs;
#endif
};

}  // namespace
}  // namespace srvdb::simd
