// Short codes: rows by their first principal components, in 8 bits each.
//
// Where a few directions hold nearly all that tells rows apart, as in images and many embeddings,
// a walk sees as much in a quarter of the bytes. Its candidates are then put in order by their
// usual codes. (Tepper et al., LeanVec, 2024, which learns the directions from queries as well.)
//
// The directions are kept as 8-bit codes too, so that projecting a vector is one search by codes
// among them. Under l2 and cosine short codes keep squared distances (of the directions, under
// cosine) less what lies outside of the components, so their metric is l2. Under ip they keep the
// inner product of the query with a row less the mean: what is missing is the same for all rows.
//
// How much of all variance the components hold says nothing of rows that lie close together: these
// may differ by the rest. Whoever makes short codes has to try them (short_code_maker.h).
// Immutable: thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "srvdb/base/aligned.h"
#include "srvdb/base/bytes.h"
#include "srvdb/base/interrupt.h"
#include "srvdb/quant/scalar_quantizer.h"

namespace srvdb {

class Reduction {
 public:
  // Rows that train one, at most.
  static constexpr std::size_t kSample = 8192;
  // Of the variance of the rows, the part that the components must hold; and of the usual codes'
  // bytes, the part that short ones may have.
  static constexpr double kLeastShare = 0.95;
  static constexpr std::size_t kShorter = 4;
  static constexpr std::size_t kMostDimensions = 4096;
  static constexpr std::size_t kMostComponents = 512;
  static constexpr std::size_t kMostBytes = std::size_t{8} << 20;

  // Sums over rows of squared distances to the mean: all, and what the components hold of them.
  struct Held {
    double all = 0;
    double components = 0;
    double share() const noexcept { return all > 0 ? components / all : 1; }
  };

  // Room to work in, reused from vector to vector; one for each thread.
  struct Scratch {
    CodeQuery vector;
    std::vector<std::int32_t> keys;
    AlignedBuffer<float> components;
  };

  // Dimensions from which short codes can be short enough, up to which training takes seconds.
  static bool possible(std::size_t dim) noexcept;
  // Memory that training takes, about.
  static std::size_t training_bytes(std::size_t dim) noexcept;

  // From rows given by address (finite components). Nothing when no few components hold kLeastShare
  // of the variance. For a fixed sequence of rows the result is the same on every run. Throws
  // Error(kInterrupted).
  static std::optional<Reduction> train(std::span<const float* const> rows, std::size_t dim,
                                        Metric metric, Interrupt* interrupt);

  std::size_t dim() const noexcept { return projection_.mean.size(); }
  std::size_t components() const noexcept { return projection_.components(); }
  double share() const noexcept { return share_; }  // of the variance, of the rows it is made from
  std::size_t stride() const noexcept { return short_codes_.stride(); }  // bytes of a short code

  // Writes stride() bytes; adds the row to `held`.
  void encode(const float* row, Scratch& scratch, std::uint8_t* code, Held& held) const;
  // Prepares `query` for keys of short codes.
  void prepare(const float* query, Scratch& scratch, CodeQuery& prepared) const;

  // At most kMostBytes, with their own checksum (cpp/FORMAT.md, "reduction.bin").
  std::string to_bytes() const;
  // Throws Error(kCorruption) when the bytes cannot be a reduction of that dimension and metric.
  static Reduction from_bytes(ByteSpan bytes, std::size_t dim, Metric metric);

 private:
  // Everything that projecting takes.
  struct Projection {
    Metric metric = Metric::kCosine;
    ScalarQuantizer quantizer;        // of the directions
    std::vector<std::uint8_t> codes;  // of the directions, one after the other
    std::vector<float> mean;          // of the rows
    std::vector<float> centre;        // its components

    std::size_t components() const noexcept { return centre.size(); }
    // The components of a vector (under cosine of its direction), less those of the mean, to
    // scratch.components.
    void project(const float* vector, Scratch& scratch) const;
  };
  Reduction(Projection projection, ScalarQuantizer short_codes, double share);

  Projection projection_;
  ScalarQuantizer short_codes_;
  double share_;
};

}  // namespace srvdb
