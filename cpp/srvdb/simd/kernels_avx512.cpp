// Kernels for AVX-512 without VNNI (Skylake-SP and later). Compiled with -mavx512{f,bw,cd,dq,vl}.
#include "srvdb/simd/impl_bits.h"
#include "srvdb/simd/isa_avx512.h"

namespace srvdb::simd {
namespace {

struct Avx512Bits {
  // 64 codes of at most 8 bits, as bytes.
  template <unsigned kBits>
  SRVDB_INLINE static __m512i bytes(const std::uint8_t* codes) noexcept {
    if constexpr (kBits == 8) {
      return _mm512_loadu_si512(codes);
    } else {
      const __m512i two = Avx512Codes::wide_code(codes);
      const __m512i high = _mm512_slli_epi16(_mm512_and_si512(two, _mm512_set1_epi16(0xF0)), 4);
      return _mm512_or_si512(_mm512_and_si512(two, _mm512_set1_epi16(0x0F)), high);
    }
  }

  struct Range {
    __m512i low8, span8, low16, span16;
    SRVDB_INLINE Range(std::uint32_t first, std::uint32_t last) noexcept
        : low8(_mm512_set1_epi8(static_cast<char>(first))),
          span8(_mm512_set1_epi8(static_cast<char>(last - first))),
          low16(_mm512_set1_epi16(static_cast<short>(first))),
          span16(_mm512_set1_epi16(static_cast<short>(last - first))) {}
    SRVDB_INLINE std::uint64_t test16(const std::uint8_t* codes) const noexcept {
      return _mm512_cmple_epu16_mask(_mm512_sub_epi16(_mm512_loadu_si512(codes), low16), span16);
    }
    template <unsigned kBits>
    SRVDB_INLINE std::uint64_t word(const std::uint8_t* codes) const noexcept {
      if constexpr (kBits == 16) {
        return test16(codes) | test16(codes + 64) << 32;
      } else {
        return _mm512_cmple_epu8_mask(_mm512_sub_epi8(bytes<kBits>(codes), low8), span8);
      }
    }
  };

  // The bits of the step in two registers, as words of 16.
  struct Set {
    __m512i low, high, first;
    SRVDB_INLINE Set(const std::uint64_t* set, std::size_t from) noexcept
        : low(_mm512_loadu_si512(set + from / 64)),
          high(_mm512_loadu_si512(set + from / 64 + 8)),
          first(_mm512_set1_epi16(static_cast<short>(from))) {}
    SRVDB_INLINE std::uint64_t test16(__m512i codes) const noexcept {
      const __m512i c = _mm512_sub_epi16(codes, first);
      const __m512i found = _mm512_permutex2var_epi16(low, _mm512_srli_epi16(c, 4), high);
      const __m512i bit =
          _mm512_sllv_epi16(_mm512_set1_epi16(1), _mm512_and_si512(c, _mm512_set1_epi16(15)));
      const __mmask32 valid = _mm512_cmplt_epu16_mask(c, _mm512_set1_epi16(kCodeSetStep));
      return _mm512_mask_test_epi16_mask(valid, found, bit);
    }
    template <unsigned kBits>
    SRVDB_INLINE std::uint64_t word(const std::uint8_t* codes) const noexcept {
      if constexpr (kBits == 16) {
        return test16(_mm512_loadu_si512(codes)) | test16(_mm512_loadu_si512(codes + 64)) << 32;
      } else {
        const __m512i all = bytes<kBits>(codes);
        return test16(_mm512_cvtepu8_epi16(_mm512_castsi512_si256(all))) |
               test16(_mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(all, 1))) << 32;
      }
    }
  };

  SRVDB_INLINE static std::size_t ones(std::uint64_t word) noexcept {
    return static_cast<std::size_t>(__builtin_popcountll(word));
  }
};

}  // namespace

constinit const BitKernels kAvx512Bits = make_bit_kernels<Avx512Bits>();

constinit const Kernels kAvx512Kernels = make_kernels<Avx512>("avx512");

}  // namespace srvdb::simd
