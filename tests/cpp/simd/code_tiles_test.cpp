// Tiles of codes: every product, every survivor, ragged edges, full buffers, and never a lost NaN.
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "simd/kernel_cases.h"
#include "srvdb/base/aligned.h"

namespace srvdb::testing {
namespace {

using simd::CodeHit;
using simd::CodeTileInput;
using simd::CodeTiles;
using simd::kCodeTileRows;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<const CodeTiles*> all_code_tiles() {
  std::vector<const CodeTiles*> found;
  for (const simd::Kernels* kernels : simd::supported_kernels()) {
    if (const CodeTiles* tiles = simd::code_tiles(*kernels)) found.push_back(tiles);
  }
  return found;
}

struct Tile {
  Tile(const CodeTiles& of, std::size_t dim, std::size_t n_queries, std::size_t n_rows,
       bool extreme)
      : tiles(of), stride(round_up(dim, 64)), queries(n_queries), rows(n_rows) {
    std::mt19937 random(static_cast<std::uint32_t>(dim + n_rows));
    codes.reset(rows * stride);
    bytes.reset(queries * stride);
    const auto any = [&] { return static_cast<int>(random() % 256); };
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t i = 0; i < dim; ++i) {
        codes[r * stride + i] = static_cast<std::uint8_t>(extreme ? 255 : any());
      }
    }
    for (std::size_t q = 0; q < queries; ++q) {
      for (std::size_t i = 0; i < dim; ++i) {
        bytes[q * stride + i] = static_cast<std::int8_t>(extreme ? -128 : any() - 128);
      }
    }
    const std::size_t filled = round_up(rows, kCodeTileRows);
    panels.reset(filled * stride);
    std::vector<const std::uint8_t*> at;
    for (std::size_t r = 0; r < rows; ++r) at.push_back(codes.data() + r * stride);
    for (std::size_t r = 0; r < rows; r += kCodeTileRows) {
      tiles.pack_rows(at.data() + r, std::min(kCodeTileRows, rows - r), stride,
                      panels.data() + r * stride);
    }
    std::vector<const std::int8_t*> from;
    for (std::size_t q = 0; q < queries; ++q) from.push_back(bytes.data() + q * stride);
    panel.reset(tiles.queries * stride);
    tiles.pack_queries(from.data(), queries, stride, panel.data());
    add.assign(filled, 0);
    spread.assign(filled, 0);
    factors.assign(tiles.queries, 0);
    limits.assign(tiles.queries, -kInfinity);
  }
  std::int64_t product(std::size_t q, std::size_t r) const {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < stride; ++i) {
      sum += std::int64_t{codes[r * stride + i]} * bytes[q * stride + i];
    }
    return sum;
  }
  std::vector<CodeHit> run(std::size_t room_tiles = 100) const {
    const CodeTileInput in{.panels = panels.data(),
                           .rows = rows,
                           .add = add.data(),
                           .spread = spread.data(),
                           .queries = panel.data(),
                           .n_queries = queries,
                           .factors = factors.data(),
                           .limits = limits.data(),
                           .stride = stride};
    std::vector<CodeHit> all;
    std::vector<CodeHit> hits(room_tiles * 2 * kCodeTileRows * tiles.queries);
    for (std::size_t first = 0; first < rows;) {
      const std::size_t n = tiles.scan(in, first, hits.data(), hits.size());
      all.insert(all.end(), hits.begin(), hits.begin() + static_cast<std::ptrdiff_t>(n));
    }
    return all;
  }

  const CodeTiles& tiles;
  std::size_t stride, queries, rows;
  AlignedBuffer<std::uint8_t> codes, panels;
  AlignedBuffer<std::int8_t> bytes, panel;
  std::vector<float> add, spread, factors, limits;
};

TEST(CodeTiles, GiveEveryProductOnce) {
  for (const CodeTiles* tiles : all_code_tiles()) {
    for (const std::size_t dim : {1, 63, 64, 65, 100, 128, 784, 2000}) {
      for (const std::size_t rows : {1, 15, 16, 17, 32, 33, 100}) {
        const std::size_t queries = rows % tiles->queries + 1;
        const Tile tile(*tiles, dim, queries, rows, dim == 100);
        for (const std::size_t room : {std::size_t{1}, std::size_t{100}}) {
          std::set<std::pair<std::size_t, std::size_t>> seen;
          for (const CodeHit& hit : tile.run(room)) {
            ASSERT_TRUE(seen.insert({hit.query, hit.row}).second);
            ASSERT_EQ(hit.sum, tile.product(hit.query, hit.row));
          }
          ASSERT_EQ(seen.size(), queries * rows) << dim << " x " << rows;
        }
      }
    }
  }
}

TEST(CodeTiles, LargestProductsDoNotOverflow) {
  for (const CodeTiles* tiles : all_code_tiles()) {
    const Tile tile(*tiles, simd::kMaxCodeTileStride, 2, 3, true);
    for (const CodeHit& hit : tile.run()) EXPECT_EQ(hit.sum, tile.product(hit.query, hit.row));
  }
}

TEST(CodeTiles, KeepToTheLimitsOfQueriesAndTheSpreadOfRows) {
  for (const CodeTiles* tiles : all_code_tiles()) {
    Tile tile(*tiles, 90, tiles->queries - 1, 77, false);
    for (std::size_t r = 0; r < 77; ++r) {
      tile.add[r] = static_cast<float>(r) * 1000;
      tile.spread[r] = static_cast<float>(r % 5);
    }
    std::size_t expected = 0;
    for (std::size_t q = 0; q < tile.queries; ++q) {
      tile.factors[q] = static_cast<float>(q) * 3000;
      tile.limits[q] = static_cast<float>(q) * 10'000 - 20'000 + 0.5f;
      for (std::size_t r = 0; r < 77; ++r) {
        const double bound = static_cast<double>(tile.product(q, r)) + 1000.0 * double(r) +
                             3000.0 * static_cast<double>(q * (r % 5));
        expected += bound >= static_cast<double>(tile.limits[q]) ? 1u : 0u;
      }
    }
    EXPECT_EQ(tile.run().size(), expected);
    EXPECT_GT(expected, 100u);
    EXPECT_LT(expected, 77 * tile.queries - 100);
  }
}

TEST(CodeTiles, NeverLoseANaN) {
  for (const CodeTiles* tiles : all_code_tiles()) {
    Tile tile(*tiles, 20, 3, 40, false);
    tile.limits.assign(tiles->queries, kInfinity);
    EXPECT_TRUE(tile.run().empty());
    tile.factors[1] = kInfinity;  // times an error of 0
    EXPECT_EQ(tile.run().size(), 40u);
    tile.limits[2] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(tile.run().size(), 80u);
  }
}

}  // namespace
}  // namespace srvdb::testing
