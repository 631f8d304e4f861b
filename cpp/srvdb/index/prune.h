// Choosing the links of a row among candidates: robust pruning on distances between codes.
// Internal to the index layer.
//
// Distances are squared Euclidean ones between codes, whatever the metric (rows are normalised
// before coding under cosine), as integers: the same choice on every instruction set. A candidate
// is passed over when a chosen neighbour is nearer to it, by the factor alpha, than the row is:
// the neighbour leads there. (Subramanya et al., DiskANN, 2019, algorithm 2.)
//
// Not thread-safe: one Pruner a worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "srvdb/base/aligned.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/index/rows.h"
#include "srvdb/simd/dispatch.h"

namespace srvdb {

// Squared Euclidean distances from one code to others.
class CodeProbe {
 public:
  // Takes the code of the row to measure from; `stride` bytes.
  void set(const std::uint8_t* code, std::size_t stride);
  // out[i]: distance to row ids[i] of the codes at base.
  void many(const std::uint8_t* base, const Row* ids, std::size_t n, std::int32_t* out) const;
  // out[i]: distance to row i of n consecutive rows at base.
  void rows(const std::uint8_t* base, std::size_t n, std::int32_t* out) const;

 private:
  // Beyond this many bytes a sum of squares of differences could pass 2^31.
  static constexpr std::size_t kMaxPiece = 32768;
  std::int32_t long_distance(const std::uint8_t* code) const;

  simd::CodeKernels kernels_{};
  AlignedBuffer<std::int16_t> wide_;
  std::size_t stride_ = 0;
};

// How links are chosen.
struct PruneRule {
  std::int64_t alpha_num = 64;  // alpha squared is alpha_num / kAlphaDen
  bool fill = true;             // spare places go to the nearest candidates passed over
  static constexpr std::int64_t kAlphaDen = 64;
};

class Pruner {
 public:
  // Chooses at most `bound` of the candidates, which are sorted (key, row), distinct, without the
  // row itself, and whose keys are distances to the row. The choice is left in chosen(), best
  // first.
  void prune(const CodesView& codes, std::span<const Neighbor> candidates, std::size_t bound,
             const PruneRule& rule);
  std::span<const Row> chosen() const noexcept { return chosen_; }

 private:
  CodeProbe probe_;
  std::vector<Row> chosen_;
  std::vector<Neighbor> open_;    // neither chosen nor passed over, in order
  std::vector<Neighbor> passed_;  // passed over
  std::vector<Row> ids_;
  std::vector<std::int32_t> keys_;
};

}  // namespace srvdb
