// 8-bit codes: each component of a row is stored as a byte c that stands for offset + scale * c.
//
// One offset and one scale serve the whole database, so that distances between codes are plain
// integer arithmetic ("keys", int32, lower is better, the same on every instruction set):
//   l2      key = sum (c - q)^2,  q the query in units of the code (int16)
//   cosine  rows are normalised before coding; key = -sum c * q, q the query as int8
//   ip      key = -sum c * q
// cosine and ip use offset = -128 * scale. Where all training values under l2 are integers within a
// span of 255, scale is a power of two that keeps codes exact. A row of codes is code_stride(dim)
// bytes, zero beyond the dimension.
//
// Overflow: an l2 key sums dim squares of at most D = max_difference(dim), D^2 * dim < 2^31; the
// query is clamped to within D of every code. Above 33,025 dimensions D falls below 255 and codes
// use only 0..D.
//
// Errors of codes are known, not assumed: encode() returns a float that is not below ||x - x^||,
// and a CodeQuery turns a key and that error into a bound of the exact score. Immutable after
// training: thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "srvdb/base/bytes.h"
#include "srvdb/base/types.h"
#include "srvdb/distance/metric.h"
#include "srvdb/quant/code_query.h"

namespace srvdb {

inline constexpr std::size_t kTrainRows = 4096;  // rows that train a quantiser

// Largest |code - query| in an l2 key of that dimension.
int max_difference(std::size_t dim) noexcept;

class ScalarQuantizer {
 public:
  static constexpr std::size_t kHeaderBytes = 64;

  // From rows given by address (at least one; finite components). For a fixed sequence of rows the
  // result is the same everywhere. Where the rows say nothing (all zero, one value) a harmless
  // scale is chosen.
  static ScalarQuantizer train(std::span<const float* const> rows, std::size_t dim, Metric metric);

  Metric metric() const noexcept { return metric_; }
  std::size_t dim() const noexcept { return dim_; }
  std::size_t stride() const noexcept { return code_stride(dim_); }
  double scale() const noexcept { return scale_; }
  double offset() const noexcept { return offset_; }
  int max_code() const noexcept { return max_code_; }

  // Writes stride() bytes; returns the error norm, rounded up. Under cosine the error is that of
  // the normalised row. `norm` is |row| (used under cosine only; a zero row is coded as zero).
  float encode(const float* row, double norm, std::uint8_t* code) const noexcept;
  // The dim() components that the code stands for (under cosine: of the normalised row).
  void decode(const std::uint8_t* code, float* row) const noexcept;

  // Prepares `query` for keys; its buffers are reused. From a float vector:
  void prepare(const float* query, CodeQuery& prepared) const;
  // the same with the query in signed bytes, for tiles (CodeQuery::bytes()); under l2 components
  // outside the coded range are cut off, which its error counts:
  void prepare_bytes(const float* query, CodeQuery& prepared) const;
  // and from a stored code, for building a graph (its error norm is left 0: the code is taken as it
  // is).
  void prepare_from_code(const std::uint8_t* code, CodeQuery& prepared) const;

  // True when the error is clearly larger than any training row's and than plain rounding: the row
  // reaches outside the coded range.
  bool misfit(float error_norm) const noexcept;

  // Exactly kHeaderBytes, with its own checksum (cpp/FORMAT.md, "codes").
  std::string to_bytes() const;
  // Throws Error(kCorruption) when the bytes cannot be a quantiser of that dimension and metric.
  static ScalarQuantizer from_bytes(ByteSpan bytes, std::size_t dim, Metric metric);

 private:
  ScalarQuantizer(Metric metric, std::size_t dim, double scale, double offset);
  void begin(CodeQuery& prepared) const;
  // The query in units of the code, each clamped to [low, high].
  void prepare_l2(const float* query, double low, double high, CodeQuery& prepared) const;

  Metric metric_;
  std::size_t dim_;
  int max_code_;
  double scale_;
  double offset_;
  double slack_;            // bound of the rounding in the measured error norm
  float misfit_error_ = 0;  // error norms above it are misfits
};

// Counts rows that a quantiser fits badly, to decide on training a new one. Plain counters: one
// owner.
class MisfitCounter {
 public:
  void add(bool misfit) noexcept {
    ++rows_;
    misfits_ += misfit ? 1u : 0u;
  }
  // Worth a new training: more than 2 % of at least 1,024 rows did not fit.
  bool retrain() const noexcept { return rows_ >= 1024 && misfits_ * 50 > rows_; }
  std::uint64_t rows() const noexcept { return rows_; }
  std::uint64_t misfits() const noexcept { return misfits_; }

 private:
  std::uint64_t rows_ = 0;
  std::uint64_t misfits_ = 0;
};

}  // namespace srvdb
