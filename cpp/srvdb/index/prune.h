// Choosing the links of a row among candidates: robust pruning on distances between codes. Internal
// to the index layer.
//
// Distances are integers, the same on every instruction set: squared Euclidean ones between codes
// under l2 and cosine (where rows are normalised before coding), minus the inner product under ip.
// A candidate is passed over when a chosen neighbour is nearer to it than the row is, by the factor
// alpha: the neighbour leads there. (Subramanya et al., DiskANN, 2019, algorithm 2; Morozov and
// Babenko, Non-metric similarity graphs, 2018, for ip.)
//
// Not thread-safe: one CodeProbe and one Pruner a worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "srvdb/base/aligned.h"
#include "srvdb/distance/metric.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/index/rows.h"
#include "srvdb/simd/dispatch.h"

namespace srvdb {

// Distances from one code to others.
class CodeProbe {
 public:
  CodeProbe(Metric metric, std::size_t dim);

  // Takes the code of the row to measure from.
  void set(const std::uint8_t* code);
  // out[i]: distance to row ids[i] of the codes at base.
  void many(const std::uint8_t* base, const Row* ids, std::size_t n, std::int32_t* out) const;
  // out[i]: distance to row i of n consecutive rows at base.
  void rows(const std::uint8_t* base, std::size_t n, std::int32_t* out) const;

 private:
  // Beyond this many bytes a sum of squares of differences could pass 2^31.
  static constexpr std::size_t kMaxPiece = 32768;
  std::int32_t long_distance(const std::uint8_t* code) const;

  bool dot_;  // ip
  std::size_t dim_;
  std::size_t stride_;
  simd::CodeKernels kernels_;
  AlignedBuffer<std::int16_t> wide_;   // the code, for squared distances
  AlignedBuffer<std::int8_t> narrow_;  // the code less 128, for inner products
  std::int32_t shift_ = 0;  // what makes the inner-product kernel's key minus the product
};

// The order in which candidates for a row's links are looked at: nearer first; equally near ones in
// an order that is different for each row. Were it the same for all, thousands of equal rows would
// all link to the same few of them, and no link would lead to the rest.
struct CandidateOrder {
  Row self;
  bool operator()(const Neighbor& a, const Neighbor& b) const noexcept {
    if (a.key != b.key) return a.key < b.key;
    return mix(a.row) < mix(b.row);
  }
  // One to one in `row`, so that no two rows are equal.
  std::uint32_t mix(Row row) const noexcept {
    std::uint32_t x = row ^ (self * 0x9E3779B1u);
    x = (x ^ x >> 16) * 0x85EBCA6Bu;
    return x ^ x >> 13;
  }
};

class Pruner {
 public:
  // Under ip alpha is 1, the distances being no metric.
  Pruner(Metric metric, std::size_t dim) : relaxed_(metric != Metric::kIp), probe_(metric, dim) {}

  // Chooses at most `bound` of the candidates, which are in CandidateOrder{self}, distinct,
  // without the row itself, and whose keys are distances to the row. The choice is left in
  // chosen(), best first.
  void prune(const CodesView& codes, Row self, std::span<const Neighbor> candidates,
             std::size_t bound);

  // What a candidate was when the links were last chosen.
  enum class Role : std::uint8_t { kKept, kSpare, kNew };
  struct Known {
    Neighbor candidate;
    Role role;
  };
  // The same with fewer distances, for few new candidates beside the links that prune(), or this,
  // has chosen for the row by the same codes: kept ones are known not to lead to each other, spare
  // ones to be led to by a kept one. False, and nothing is chosen, when that does not tell the
  // answer (a kept one is passed over, which may have led to a spare one), and under ip, where
  // distances between codes depend on the direction.
  bool prune_known(const CodesView& codes, std::span<const Known> candidates, std::size_t bound);

  // Best first: those that were kept, then the spare ones.
  std::span<const Row> chosen() const noexcept { return chosen_; }
  std::size_t kept() const noexcept { return kept_; }

 private:
  // alpha squared, as a fraction
  static constexpr std::int64_t kAlphaNum = 77;
  static constexpr std::int64_t kAlphaDen = 64;
  bool leads(std::int32_t from_chosen, std::int32_t from_row) const noexcept {
    if (!relaxed_) return from_chosen < from_row;
    return from_chosen * kAlphaNum <= from_row * kAlphaDen;
  }

  bool relaxed_;
  CodeProbe probe_;
  std::size_t kept_ = 0;
  std::vector<Row> chosen_;
  std::vector<Neighbor> open_;    // neither chosen nor passed over, in order
  std::vector<Neighbor> passed_;  // passed over
  std::vector<Row> ids_;
  std::vector<std::int32_t> keys_;
  std::vector<std::size_t> fresh_;   // prune_known: new candidates, by position
  std::vector<std::uint8_t> taken_;  // likewise: whether a candidate was kept
};

}  // namespace srvdb
