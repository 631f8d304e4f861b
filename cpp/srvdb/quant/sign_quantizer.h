// Codes of signs: one bit for each component of a row less the mean of the rows, rotated, and two
// numbers, by which the row's score is estimated (Gao and Long, RaBitQ, 2024). At 768 dimensions
// two lines of memory say which of the rows that a walk comes to it need not look at.
//
//   x  a row (under cosine its direction), c the mean, x' and q' the rotated x - c and q - c
//   <x - c, q - c>  is about  factor * <sign(x'), q'>,  factor = |x'|^2 / sum |x'_i|
//
// without bias. The query is rounded to 5 bits. Under cosine and ip <x, q> is <x - c, q - c> +
// <x - c, c> + <c, q>, where the second term is the row's addend; under l2 that is |x - c|^2.
//
// How much estimates are off, beside how far rows lie apart, depends on the rows: whoever makes
// such codes has to try them (index/short_code_trial.h). Immutable: thread-safe.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "srvdb/base/aligned.h"
#include "srvdb/base/bytes.h"
#include "srvdb/distance/metric.h"
#include "srvdb/quant/code_query.h"
#include "srvdb/quant/rotation.h"
#include "srvdb/simd/dispatch.h"

namespace srvdb {

// A query prepared for estimates, reusable without new allocations. Borrows nothing.
class SignQuery {
 public:
  // Of ids[0..n), rows of the codes at `base`, those whose estimated score reaches `score` (in the
  // units of exact_score()) and half of a standard deviation of the estimate more, in order, to
  // out, which has room for n; returns their number.
  std::size_t select(double score, const std::uint8_t* base, std::size_t stride,
                     const std::uint32_t* ids, std::size_t n, std::uint32_t* out) const noexcept;

 private:
  friend class SignQuantizer;

  AlignedBuffer<std::int8_t> codes_;
  bool square_ = false;  // l2
  std::int32_t sum_ = 0;
  double step_ = 1;
  double offset_ = 0;  // cosine, ip: <c, q>; l2: |q - c|^2
  double room_ = 0;
};

class SignQuantizer {
 public:
  // Of fewer dimensions the usual codes are not much longer.
  static constexpr std::size_t kLeastDimensions = 512;
  static constexpr std::size_t kMostDimensions = 4096;
  static constexpr std::size_t kMostBytes = 64 + sizeof(float) * kMostDimensions;

  // Room to work in, reused from vector to vector; one for each thread.
  struct Scratch {
    AlignedBuffer<float> vector;
    AlignedBuffer<float> room;
  };

  static bool possible(std::size_t dim) noexcept;
  // From rows given by address (at least one; finite components). For a fixed sequence of rows the
  // result is the same on every run.
  static SignQuantizer train(std::span<const float* const> rows, std::size_t dim, Metric metric);

  std::size_t dim() const noexcept { return mean_.size(); }
  std::size_t bits() const noexcept { return rotation_.components(); }
  // Bytes of a code: the bits, then factor and addend as float32.
  std::size_t code_bytes() const noexcept { return bits() / 8 + 2 * sizeof(float); }
  std::size_t stride() const noexcept { return round_up(code_bytes(), kAlignment); }

  // Writes stride() bytes (cpp/FORMAT.md, "short.i8").
  void encode(const float* row, Scratch& scratch, std::uint8_t* code) const;
  void prepare(const float* query, Scratch& scratch, SignQuery& prepared) const;
  // Whether scores by the usual codes and by signs of the query are alike enough to be compared:
  // not where, under l2, it reaches far outside of what the usual codes hold, which cut it off.
  bool fits(const CodeQuery& usual) const noexcept;

  // At most kMostBytes, with their own checksum (cpp/FORMAT.md, "reduction.bin").
  std::string to_bytes() const;
  // Whether they begin as those of one do.
  static bool are_bytes_of(ByteSpan bytes) noexcept;
  // Throws Error(kCorruption) when the bytes cannot be of that dimension and metric.
  static SignQuantizer from_bytes(ByteSpan bytes, std::size_t dim, Metric metric);

 private:
  // Sums over the components of x - c, each lane in floats.
  struct Centred {
    double square = 0;      // |x - c|^2
    double along_mean = 0;  // <x - c, c>
    // If so, x - c and what it is rotated to are, too.
    bool finite() const noexcept { return std::isfinite(square) && std::isfinite(along_mean); }
  };
  SignQuantizer(Metric metric, std::vector<float> mean, double spread);
  // Writes x - c, rotated, to scratch.vector.
  Centred centre(const float* vector, Scratch& scratch) const;

  Metric metric_;
  std::vector<float> mean_;
  double mean_square_ = 0;  // |c|^2
  double spread_;           // root of the mean |x - c|^2
  Rotation rotation_;
};

}  // namespace srvdb
