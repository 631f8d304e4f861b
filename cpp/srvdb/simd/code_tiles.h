// Tiles of codes, for exact search of batches: the integer products of many queries with many rows,
// compared with a limit before anything is written. Not every instruction set has them.
//
// Codes are unsigned bytes, queries signed ones, both `stride` long (a multiple of 64, at most
// kMaxCodeTileStride so that no sum leaves int32). A panel of rows holds kCodeTileRows rows, four
// components of each side by side: byte b of row r lies at [b / 4 * 64 + 4 * r + b % 4]. A panel of
// queries is laid out as its instruction set wants it. Panels take `stride` bytes a row or query,
// begin at multiples of 64 bytes and are filled up with zeros. Thread-safe; kernels keep no state.
//
// This header is included by translation units compiled for a single instruction set: it must
// define no function.
#pragma once

#include <cstddef>
#include <cstdint>

namespace srvdb::simd {

inline constexpr std::size_t kCodeTileRows = 16;
inline constexpr std::size_t kMaxCodeTileStride = 32768;

struct CodeHit {
  std::uint16_t query;
  std::uint16_t row;
  std::int32_t sum;  // <query, row>
};

struct CodeTileInput {
  const std::uint8_t* panels;  // of all rows, one behind the other
  std::size_t rows;            // at most 65,536
  const float* add;            // of each row; arrays of rows are filled up to whole panels
  const float* spread;         // of each row
  const std::int8_t* queries;  // one panel
  std::size_t n_queries;       // in it
  const float* factors;        // of each query
  const float* limits;         // of each query
  std::size_t stride;
};

struct CodeTiles {
  std::size_t queries;  // in a panel
  // Packs 1 <= n <= kCodeTileRows rows, n <= queries queries.
  void (*pack_rows)(const std::uint8_t* const* rows, std::size_t n, std::size_t stride,
                    std::uint8_t* panel) noexcept;
  void (*pack_queries)(const std::int8_t* const* queries, std::size_t n, std::size_t stride,
                       std::int8_t* panel) noexcept;
  // From row `first` (a multiple of 2 * kCodeTileRows) on, for each query i and row j, in float32:
  // a hit unless (sum + add[j]) + factors[i] * spread[j] < limits[i], the product not rounded by
  // itself. So a NaN is a hit. Stops when another two panels might not fit into `room` hits, which
  // is at least 2 * kCodeTileRows * queries; `first` then says where to go on, else it is >= rows.
  // Returns the number of hits.
  std::size_t (*scan)(const CodeTileInput& input, std::size_t& first, CodeHit* hits,
                      std::size_t room) noexcept;
};

// Where the build has them.
extern const CodeTiles kAvx512VnniCodeTiles;
extern const CodeTiles kAmxInt8CodeTiles;

}  // namespace srvdb::simd
