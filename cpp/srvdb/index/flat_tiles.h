// Exact search of a batch by 8-bit codes: tiles of integer products, as flat_screen.h does it for
// one query. Internal to the index layer.
//
// Queries are signed bytes with a known error, so a product and the errors of both sides bound the
// exact score. With y = base + per_error * e + per_norm * norm (KeyLimit), a code of error e
// matters
//   under cosine and ip  while  -s <= y - key_zero,         s the product,
//   under l2             while  Z + zero - 2 s <= y * y,    Z and zero of the row and of the query,
// which for each query is   s + add(row) + factor * e >= limit,   add 0 or (per_error^2 e^2 - Z)
// / 2. The tile compares that in float32; limits have room for its rounding. What passes is
// compared again by its key and waits to be scored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "srvdb/base/aligned.h"
#include "srvdb/index/flat_screen.h"
#include "srvdb/simd/code_tiles.h"

namespace srvdb {

// A range of the queries with everything one worker needs for it. Borrows what it is given.
class CodeGroup {
 public:
  static constexpr std::size_t kFirstRows = 64;
  static constexpr std::size_t kGrowth = 8;

  // n queries of rows.dim floats; codes and quantiser as in `options`.
  CodeGroup(const RowsView& rows, Metric metric, const float* queries, std::size_t n, std::size_t k,
            const FlatOptions& options, const simd::CodeTiles& tiles);

  // All queries of the group against the rows, whose codes are verified; in ascending order. Gives
  // up queries about which the codes say too little.
  void scan(std::span<const Row> rows);
  // Makes the best of what waits, so that the next rows meet good limits.
  void settle();
  // The answer to a query; nothing when it has been given up.
  std::vector<ScoredRow> take(std::size_t q);

 private:
  void pack_block(std::span<const Row> rows);
  void update_limit(std::size_t q);
  void give_up_loose();
  void offer(std::size_t q, Row row, std::size_t place, std::int32_t sum);

  const CodesView& codes_;
  Metric metric_;
  const simd::Kernels& kernels_;
  const simd::CodeTiles& tiles_;
  double scale_;
  std::size_t k_;
  std::size_t block_rows_;
  std::size_t seen_ = 0;
  std::vector<CodeQuery> prepared_;
  std::vector<ScreenedTopK> tops_;
  std::vector<std::uint8_t> given_up_;
  AlignedBuffer<std::int8_t> panels_;  // of queries
  std::vector<float> factors_;
  std::vector<float> limits_;
  std::vector<simd::CodeHit> hits_;
  AlignedBuffer<std::int16_t> middle_;  // code 128 in each dimension
  // Of the packed block.
  AlignedBuffer<std::uint8_t> block_;
  std::vector<std::int32_t> squares_;  // sum of (c - 128)^2, cosine: 0
  std::vector<float> add_;
  std::vector<float> errors_;
  double largest_add_ = 0;  // magnitude
  double largest_error_ = 0;
  float largest_norm_ = 1;  // ip
};

}  // namespace srvdb
