// Register tiles for batches of queries: the inner product of every query of a panel with every row
// of a panel, compared with the query's threshold before anything is written. Included only by
// kernel translation units (see kernels_impl.h).
//
// A row panel is lane-major: component d of its rows lies at panel[d * kRows ...]. A query panel
// holds component d of its queries at panel[d * kQueries ...], each broadcast when it is used. The
// sums of a tile stay in registers over the whole dimension: kTileVectors * kTileQueries of them.
#pragma once

#include "srvdb/simd/impl_common.h"
#include "srvdb/simd/kernels.h"

namespace srvdb::simd {
namespace {

template <class Isa>
struct TileKernels {
  using B = xsimd::batch<float, typename Isa::Arch>;
  static constexpr std::size_t kWidth = B::size;
  static constexpr std::size_t kVectors = Isa::kTileVectors;
  static constexpr std::size_t kRows = kVectors * kWidth;
  static constexpr std::size_t kQueries = Isa::kTileQueries;
  static_assert(kQueries <= 16 && kVectors <= 4 && kRows <= 64);

  static void pack_rows(const float* const* rows, std::size_t n, std::size_t dim,
                        const float* scales, float* panel) noexcept {
    for (std::size_t first = 0; first < kRows; first += kWidth) {
      const std::size_t count = n > first ? min_size(n - first, kWidth) : 0;
      pack_lanes(rows + first, count, dim, scales == nullptr ? nullptr : scales + first,
                 panel + first);
    }
  }

  static void pack_queries(const float* const* queries, std::size_t n, std::size_t dim,
                           const float* scales, float* panel) noexcept {
    for (std::size_t q = 0; q < kQueries; ++q) {
      for (std::size_t d = 0; d < dim; ++d) {
        const float value = q < n ? queries[q][d] : 0.0f;
        panel[d * kQueries + q] = q < n && scales != nullptr ? value * scales[q] : value;
      }
    }
  }

  static std::size_t tile_dot(const float* row_panel, const float* bias, std::size_t n_rows,
                              const float* query_panel, const float* thresholds,
                              std::size_t n_queries, std::size_t dim, TileHit* hits) noexcept {
    B sums[kQueries][kVectors];
#pragma GCC unroll 16
    for (std::size_t q = 0; q < kQueries; ++q) {
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) sums[q][v] = B(0.0f);
    }
    for (std::size_t d = 0; d < dim; ++d) {
      const float* row = row_panel + d * kRows;
      const float* query = query_panel + d * kQueries;
      B x[kVectors];
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) x[v] = B::load_unaligned(row + v * kWidth);
#pragma GCC unroll 16
      for (std::size_t q = 0; q < kQueries; ++q) {
        const B y(query[q]);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < kVectors; ++v) sums[q][v] = xsimd::fma(y, x[v], sums[q][v]);
      }
    }
    return collect(sums, bias, n_rows, thresholds, n_queries, hits);
  }

 private:
  SRVDB_INLINE static std::size_t collect(const B (&sums)[kQueries][kVectors], const float* bias,
                                          std::size_t n_rows, const float* thresholds,
                                          std::size_t n_queries, TileHit* hits) noexcept {
    B add[kVectors];
    std::uint64_t valid[kVectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t first = v * kWidth;
      const std::size_t count = n_rows > first ? min_size(n_rows - first, kWidth) : 0;
      valid[v] = low_bits(count);
      add[v] = bias == nullptr || count == 0 ? B(0.0f)
               : count == kWidth             ? B::load_unaligned(bias + first)
                                             : Isa::load_partial(bias + first, count);
    }
    std::size_t count = 0;
#pragma GCC unroll 16
    for (std::size_t q = 0; q < kQueries; ++q) {
      if (q >= n_queries) break;
      const B limit(thresholds[q]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) {
        const B score = sums[q][v] + add[v];
        const std::uint64_t below = (score < limit).mask();
        const std::uint64_t pass = ~below & valid[v];
        if (__builtin_expect(pass != 0, 0)) {
          count = write_hits(score, pass, q, v * kWidth, hits, count);
        }
      }
    }
    return count;
  }

  __attribute__((noinline)) static std::size_t write_hits(B score, std::uint64_t pass,
                                                          std::size_t query, std::size_t first_row,
                                                          TileHit* hits,
                                                          std::size_t count) noexcept {
    alignas(64) float scores[kWidth];
    score.store_aligned(scores);
    for (; pass != 0; pass &= pass - 1) {
      const auto lane = static_cast<std::size_t>(__builtin_ctzll(pass));
      hits[count++] = {static_cast<std::uint16_t>(query),
                       static_cast<std::uint16_t>(first_row + lane), scores[lane]};
    }
    return count;
  }

  // Transposes up to kWidth rows into one register's lanes of the panel.
  SRVDB_INLINE static void pack_lanes(const float* const* rows, std::size_t n, std::size_t dim,
                                      const float* scales, float* panel) noexcept {
    std::size_t d = 0;
    B block[kWidth];
    for (; d + kWidth <= dim; d += kWidth) {
      for (std::size_t r = 0; r < kWidth; ++r) {
        block[r] = r < n ? B::load_unaligned(rows[r] + d) : B(0.0f);
        if (r < n && scales != nullptr) block[r] = block[r] * B(scales[r]);
      }
      xsimd::transpose(block, block + kWidth);
      for (std::size_t i = 0; i < kWidth; ++i) {
        block[i].store_unaligned(panel + (d + i) * kRows);
      }
    }
    for (; d < dim; ++d) {
      for (std::size_t r = 0; r < kWidth; ++r) {
        const float value = r < n ? rows[r][d] : 0.0f;
        panel[d * kRows + r] = r < n && scales != nullptr ? value * scales[r] : value;
      }
    }
  }
};

}  // namespace
}  // namespace srvdb::simd
