// Tiles of codes for AMX (Sapphire Rapids and later): 16 x 16 sums a tile register, 64 components
// at a time. Compiled with -mamx-tile -mamx-int8 on top of AVX-512 with VNNI. The processor must be
// asked, and the operating system for leave to use the registers (dispatch.cpp).
#include "srvdb/simd/isa_avx512.h"

#if !defined(__AMX_INT8__) && !defined(__AMXINT8__)
#error "compile this file with -mamx-tile -mamx-int8"
#endif

#include "srvdb/simd/impl_code_tiles.h"

namespace srvdb::simd {
namespace {

// Two tiles of queries times two panels of rows: registers 0 to 3 hold sums, 4 and 5 queries, 6 and
// 7 rows. A panel of queries is row-major.
struct AmxCodeTiles {
  static constexpr std::size_t kQueries = 32;

  struct alignas(64) Config {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  static_assert(sizeof(Config) == 64);

  struct alignas(64) Sums {
    std::int32_t at[4][16][16];  // of tile registers 0 to 3: [query][row]
  };

  static void pack_queries(const std::int8_t* const* queries, std::size_t n, std::size_t stride,
                           std::int8_t* panel) noexcept {
    for (std::size_t q = 0; q < kQueries; ++q) {
      for (std::size_t b = 0; b < stride; ++b) {
        panel[q * stride + b] = q < n ? queries[q][b] : std::int8_t{0};
      }
    }
  }

  static std::size_t scan(const CodeTileInput& in, std::size_t& first, CodeHit* hits,
                          std::size_t room) noexcept {
    const Config config;
    _tile_loadconfig(&config);
    Sums sums;
    std::size_t count = 0;
    for (; first < in.rows && room - count >= 2 * kCodeTileRows * kQueries;
         first += 2 * kCodeTileRows) {
      multiply(in, first, sums);
      count = collect(in, first, sums, 0, hits, count);
      if (in.n_queries > 16) count = collect(in, first, sums, 16, hits, count);
    }
    _tile_release();  // so that switching threads need not save the registers
    return count;
  }

 private:
  SRVDB_INLINE static void multiply(const CodeTileInput& in, std::size_t first,
                                    Sums& sums) noexcept {
    const std::size_t stride = in.stride;
    const std::uint8_t* low = in.panels + first * stride;
    const bool two = first + kCodeTileRows < in.rows;
    const std::uint8_t* high = two ? low + kCodeTileRows * stride : low;
    const std::int8_t* some = in.queries;
    const std::int8_t* others = in.queries + 16 * stride;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::size_t b = 0; b < stride; b += 64) {
      _tile_loadd(6, low + b * kCodeTileRows, 64);
      _tile_loadd(4, some + b, stride);
      _tile_dpbsud(0, 4, 6);
      _tile_loadd(7, high + b * kCodeTileRows, 64);
      _tile_dpbsud(1, 4, 7);
      _tile_loadd(5, others + b, stride);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
    }
    _tile_stored(0, sums.at[0], 64);
    _tile_stored(1, sums.at[1], 64);
    _tile_stored(2, sums.at[2], 64);
    _tile_stored(3, sums.at[3], 64);
  }

  // The sums of queries [from, from + 16).
  SRVDB_INLINE static std::size_t collect(const CodeTileInput& in, std::size_t first,
                                          const Sums& sums, std::size_t from, CodeHit* hits,
                                          std::size_t count) noexcept {
    const std::size_t second = first + kCodeTileRows;
    const bool two = second < in.rows;
    const __mmask16 valid0 = CodeTileParts::valid(in.rows, first);
    const __mmask16 valid1 = CodeTileParts::valid(in.rows, second);
    const __m512 add0 = _mm512_loadu_ps(in.add + first);
    const __m512 add1 = _mm512_loadu_ps(in.add + (two ? second : first));
    const __m512 spread0 = _mm512_loadu_ps(in.spread + first);
    const __m512 spread1 = _mm512_loadu_ps(in.spread + (two ? second : first));
    const std::size_t n = min_size(in.n_queries - from, 16);
    const auto& low = sums.at[from / 8];
    const auto& high = sums.at[from / 8 + 1];
    for (std::size_t q = 0; q < n; ++q) {
      const __m512i sums0 = _mm512_load_si512(low[q]);
      const __m512i sums1 = _mm512_load_si512(high[q]);
      const float factor = in.factors[from + q];
      const float limit = in.limits[from + q];
      const std::uint32_t m0 = CodeTileParts::passes(sums0, add0, spread0, factor, limit) & valid0;
      const std::uint32_t m1 = CodeTileParts::passes(sums1, add1, spread1, factor, limit) & valid1;
      if (__builtin_expect((m0 | m1) != 0, 0)) {
        count = CodeTileParts::write(sums0, m0, from + q, first, hits, count);
        count = CodeTileParts::write(sums1, m1, from + q, second, hits, count);
      }
    }
    return count;
  }
};

}  // namespace

constinit const CodeTiles kAmxInt8CodeTiles = {.queries = AmxCodeTiles::kQueries,
                                               .pack_rows = &CodeTileParts::pack_rows,
                                               .pack_queries = &AmxCodeTiles::pack_queries,
                                               .scan = &AmxCodeTiles::scan};

}  // namespace srvdb::simd
