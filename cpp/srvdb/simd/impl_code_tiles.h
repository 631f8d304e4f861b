// What the tiles of codes of AVX-512 VNNI and AMX share. Included only by kernel translation units
// (see kernels_impl.h), after isa_avx512.h.
#pragma once

#include "srvdb/simd/code_tiles.h"
#include "srvdb/simd/impl_common.h"

namespace srvdb::simd {
namespace {

struct CodeTileParts {
  // Sixteen rows of 64 bytes at a time, as a matrix of 16 x 16 groups of four, turned over.
  static void pack_rows(const std::uint8_t* const* rows, std::size_t n, std::size_t stride,
                        std::uint8_t* panel) noexcept {
    using B = xsimd::batch<float, Avx512Arch>;  // only moved, never computed with
    B block[kCodeTileRows];
    for (std::size_t b = 0; b < stride; b += 64) {
      for (std::size_t r = 0; r < kCodeTileRows; ++r) {
        block[r] = B(
            _mm512_castsi512_ps(r < n ? _mm512_loadu_si512(rows[r] + b) : _mm512_setzero_si512()));
      }
      xsimd::transpose(block, block + kCodeTileRows);
      for (std::size_t r = 0; r < kCodeTileRows; ++r) {
        _mm512_store_si512(panel + b * kCodeTileRows + r * 64,
                           _mm512_castps_si512(__m512(block[r])));
      }
    }
  }

  // Rows of a panel that are there, one bit each.
  SRVDB_INLINE static __mmask16 valid(std::size_t rows, std::size_t first) noexcept {
    return static_cast<__mmask16>(low_bits(rows > first ? min_size(rows - first, 16) : 0));
  }

  SRVDB_INLINE static __mmask16 passes(__m512i sums, __m512 add, __m512 spread, float factor,
                                       float limit) noexcept {
    const __m512 base = _mm512_add_ps(_mm512_cvtepi32_ps(sums), add);
    const __m512 bound = _mm512_fmadd_ps(_mm512_set1_ps(factor), spread, base);
    return _mm512_cmp_ps_mask(bound, _mm512_set1_ps(limit), _CMP_NLT_UQ);
  }

  __attribute__((noinline)) static std::size_t write(__m512i sums, std::uint32_t mask,
                                                     std::size_t query, std::size_t first,
                                                     CodeHit* hits, std::size_t count) noexcept {
    alignas(64) std::int32_t values[16];
    _mm512_store_si512(values, sums);
    for (; mask != 0; mask &= mask - 1) {
      const auto lane = static_cast<std::size_t>(__builtin_ctz(mask));
      hits[count++] = {static_cast<std::uint16_t>(query), static_cast<std::uint16_t>(first + lane),
                       values[lane]};
    }
    return count;
  }
};

}  // namespace
}  // namespace srvdb::simd
