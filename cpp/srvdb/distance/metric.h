// The metrics a database can have, and the score that a user sees.
//
// Scores: higher is better. Distances: lower is better.
//   cosine  score = <q, x> / (|q| |x|), in [-1, 1]; 0 when either is zero; distance = 1 - score
//   ip      score = <q, x>; distance = -score
//   l2      score = -|q - x|^2; distance = -score
// Every score comes from the double-precision kernels: the same bits on every processor.
// Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "srvdb/simd/dispatch.h"

namespace srvdb {

// The values are part of the file format.
enum class Metric : std::uint8_t { kCosine = 0, kIp = 1, kL2 = 2 };

// "cosine", "ip", "l2".
std::string_view metric_name(Metric metric) noexcept;
// Throws Error(kInvalidInput) for an unknown name; the message lists the names.
Metric parse_metric(std::string_view name);
// The metric with that stored value, if there is one.
std::optional<Metric> metric_from_byte(std::uint8_t value) noexcept;

double score_to_distance(Metric metric, double score) noexcept;

// Scores rows against one query; keeps the query's address, which must outlive it.
class ExactScorer {
 public:
  ExactScorer(Metric metric, const float* query, std::size_t dim,
              const simd::Kernels& kernels = simd::kernels());
  // With |query|, as check_row() has it.
  ExactScorer(Metric metric, const float* query, std::size_t dim, double query_norm,
              const simd::Kernels& kernels = simd::kernels());

  double score(const float* row) const noexcept;
  // The scores of simd::kScoredAtOnce rows, the same bits; asks for those at `ahead` on the way.
  void score_rows(const float* const* rows, const float* const* ahead,
                  double* scores) const noexcept;
  Metric metric() const noexcept { return metric_; }
  // |query|, in double precision.
  double query_norm() const noexcept { return query_norm_; }

 private:
  double cosine(double dot, double norm2) const noexcept;

  Metric metric_;
  const float* query_;
  std::size_t dim_;
  const simd::Kernels* kernels_;
  double query_norm_;
};

// One score; for many rows use ExactScorer.
double exact_score(Metric metric, const float* query, const float* row, std::size_t dim);

// What storing a row needs to know about it.
struct RowCheck {
  std::ptrdiff_t first_bad = -1;  // position of the first NaN or infinity, -1 when there is none
  double norm = 0;                // |row|, when there is none
};
RowCheck check_row(const float* row, std::size_t dim,
                   const simd::Kernels& kernels = simd::kernels()) noexcept;

// A float that is not below the (non-negative) value; at most one step above the nearest.
float round_up_to_float(double value) noexcept;

}  // namespace srvdb
