// Kernels for AVX-512 with VNNI (Ice Lake, Zen 4 and later). Compiled with -mavx512vnni as well.
#include "srvdb/simd/isa_avx512.h"

#ifndef __AVX512VNNI__
#error "compile this file with -mavx512vnni"
#endif

#include "srvdb/simd/impl_code_tiles.h"

namespace srvdb::simd {
namespace {

// The sums of twelve queries with two panels of rows stay in registers. A panel of queries holds
// four components of each query side by side, each broadcast when it is used.
struct VnniCodeTiles {
  static constexpr std::size_t kQueries = 12;

  static void pack_queries(const std::int8_t* const* queries, std::size_t n, std::size_t stride,
                           std::int8_t* panel) noexcept {
    for (std::size_t b = 0; b < stride; b += 4) {
      for (std::size_t q = 0; q < kQueries; ++q) {
        for (std::size_t i = 0; i < 4; ++i) {
          panel[b * kQueries + 4 * q + i] = q < n ? queries[q][b + i] : std::int8_t{0};
        }
      }
    }
  }

  static std::size_t scan(const CodeTileInput& in, std::size_t& first, CodeHit* hits,
                          std::size_t room) noexcept {
    std::size_t count = 0;
    for (; first < in.rows && room - count >= 2 * kCodeTileRows * kQueries;
         first += 2 * kCodeTileRows) {
      count = tile(in, first, hits, count);
    }
    return count;
  }

 private:
  SRVDB_INLINE static std::size_t tile(const CodeTileInput& in, std::size_t first, CodeHit* hits,
                                       std::size_t count) noexcept {
    const std::uint8_t* const low = in.panels + first * in.stride;
    const bool two = first + kCodeTileRows < in.rows;
    const std::uint8_t* const high = two ? low + kCodeTileRows * in.stride : low;
    __m512i sums[kQueries][2];
#pragma GCC unroll 12
    for (std::size_t q = 0; q < kQueries; ++q) {
      sums[q][0] = _mm512_setzero_si512();
      sums[q][1] = _mm512_setzero_si512();
    }
    const std::int8_t* query = in.queries;
    for (std::size_t b = 0; b < in.stride; b += 4, query += 4 * kQueries) {
      const __m512i x0 = _mm512_load_si512(low + b * kCodeTileRows);
      const __m512i x1 = _mm512_load_si512(high + b * kCodeTileRows);
#pragma GCC unroll 12
      for (std::size_t q = 0; q < kQueries; ++q) {
        std::int32_t four = 0;
        __builtin_memcpy(&four, query + 4 * q, 4);
        const __m512i y = _mm512_set1_epi32(four);
        sums[q][0] = _mm512_dpbusd_epi32(sums[q][0], x0, y);
        sums[q][1] = _mm512_dpbusd_epi32(sums[q][1], x1, y);
      }
    }
    const std::size_t second = two ? first + kCodeTileRows : first;
    const __mmask16 valid0 = CodeTileParts::valid(in.rows, first);
    const __mmask16 valid1 = two ? CodeTileParts::valid(in.rows, second) : __mmask16{0};
    const __m512 add0 = _mm512_loadu_ps(in.add + first);
    const __m512 add1 = _mm512_loadu_ps(in.add + second);
    const __m512 spread0 = _mm512_loadu_ps(in.spread + first);
    const __m512 spread1 = _mm512_loadu_ps(in.spread + second);
#pragma GCC unroll 12
    for (std::size_t q = 0; q < kQueries; ++q) {
      if (q >= in.n_queries) break;
      const float factor = in.factors[q];
      const float limit = in.limits[q];
      const std::uint32_t m0 =
          CodeTileParts::passes(sums[q][0], add0, spread0, factor, limit) & valid0;
      const std::uint32_t m1 =
          CodeTileParts::passes(sums[q][1], add1, spread1, factor, limit) & valid1;
      if (__builtin_expect((m0 | m1) != 0, 0)) {
        count = CodeTileParts::write(sums[q][0], m0, q, first, hits, count);
        count = CodeTileParts::write(sums[q][1], m1, q, second, hits, count);
      }
    }
    return count;
  }
};

}  // namespace

constinit const CodeTiles kAvx512VnniCodeTiles = {.queries = VnniCodeTiles::kQueries,
                                                  .pack_rows = &CodeTileParts::pack_rows,
                                                  .pack_queries = &VnniCodeTiles::pack_queries,
                                                  .scan = &VnniCodeTiles::scan};

constinit const Kernels kAvx512VnniKernels = make_kernels<Avx512>("avx512vnni");

}  // namespace srvdb::simd
