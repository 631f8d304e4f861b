// A query prepared for integer distances to 8-bit codes, and the kernels bound to it.
//
// Made by ScalarQuantizer::prepare(), reusable without new allocations. CodeDistance is the
// inner-loop view of it: three function pointers, a pointer and a stride, chosen once a query. A
// CodeDistance borrows the CodeQuery, which must outlive it and stay unchanged. Reading is
// thread-safe.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "srvdb/base/aligned.h"
#include "srvdb/distance/metric.h"
#include "srvdb/simd/dispatch.h"

namespace srvdb {

// Bytes of a row of codes: the dimension rounded up to 64.
constexpr std::size_t code_stride(std::size_t dim) noexcept {
  return round_up(dim, 64);
}

// Which keys can still matter, for one query and one wanted score: what CodeQuery::key_limit()
// says, with all that does not depend on the row worked out before.
class KeyLimit {
 public:
  // Largest key with which a row of at most that error and norm could have an exact score >= the
  // wanted one; INT32_MIN when no row can, INT32_MAX when every row might.
  std::int32_t operator()(float row_error, double row_norm) const noexcept {
    return to_key(value(row_error, row_norm));
  }
  // Whether that is not below `key`. Quicker than comparing with it, for many rows.
  bool admits(std::int32_t key, float row_error, double row_norm) const noexcept {
    return !(static_cast<double>(key) - 1 > value(row_error, row_norm));
  }

  // For what compares keys in another form. With y = base() + per_error() * error + per_norm() *
  // norm, the limit is y * y where square(), else y - key_zero(), each with room for rounding.
  bool square() const noexcept { return square_; }
  double base() const noexcept { return base_; }
  double per_error() const noexcept { return per_error_; }
  double per_norm() const noexcept { return per_norm_; }
  double key_zero() const noexcept { return key_zero_; }

  // Relative room for every rounding in double precision along the way, the exact score's included
  // (a sum of 65,536 terms is off by less than 2^-36).
  static constexpr double kSlack = 0x1p-33;

 private:
  friend class CodeQuery;
  double value(float row_error, double row_norm) const noexcept {
    const double y = base_ + per_error_ * static_cast<double>(row_error) + per_norm_ * row_norm;
    return square_ ? y * y : y * (y > 0 ? 1 + kSlack : 1 - kSlack) - key_zero_;
  }
  static std::int32_t to_key(double key) noexcept {
    if (!(key < 2147483646.0)) return std::numeric_limits<std::int32_t>::max();
    if (key < -2147483647.0) return std::numeric_limits<std::int32_t>::min();
    return static_cast<std::int32_t>(std::floor(key)) + 1;
  }

  // l2: the square root of the limit is linear in the row's error; else the limit is linear in
  // error and norm.
  bool square_ = false;
  double base_ = 0;
  double per_error_ = 0;
  double per_norm_ = 0;
  double key_zero_ = 0;
};

class CodeQuery {
 public:
  Metric metric() const noexcept { return metric_; }
  std::size_t stride() const noexcept { return stride_; }
  // |query|, as it was given; 0 under l2, where nothing needs it, and of a query from a code.
  double norm() const noexcept { return norm_; }

  // Not below how far the query as it is coded lies from the query (under cosine: its direction).
  double query_error() const noexcept { return query_error_; }

  // True when, under l2, the query is exactly what its code stands for, and codes decode without
  // rounding: approx_score() is the exact score of every row whose error norm is zero.
  bool exact() const noexcept { return metric_ == Metric::kL2 && query_error_ == 0; }

  // The score that the key stands for (higher is better, in the units of exact_score()): what it
  // would be if neither the row nor the query had been rounded.
  double approx_score(std::int32_t key) const noexcept;

  // The key of a row where the query is: squared distances, under cosine those of the directions,
  // grow as keys do above it. Not a number under ip, whose keys are no distances.
  double nearest_key() const noexcept;

  // The standard deviation, about, of the key of a row of that key, from one that neither the row
  // nor the query had been rounded for. Under cosine and l2.
  double key_deviation(std::int32_t key) const noexcept {
    if (metric_ != Metric::kL2) return rounding_;
    // |x + d|^2 by the terms 2 <x, d> and |d|^2, where rounding_ is twice the deviation of one
    // component of d.
    const double own = rounding_ * rounding_ * static_cast<double>(dim_) / 8;
    return rounding_ * std::sqrt(static_cast<double>(std::max(key, 0)) + own);
  }

  // The same of the score that the key stands for.
  double score_deviation(std::int32_t key) const noexcept {
    return key_deviation(key) * (metric_ == Metric::kL2 ? step_ * step_ : step_);
  }

  // Not below the exact score of a row with that key, error norm (from encode()) and norm (|row|,
  // used under ip only). Proven, rounding included.
  double score_bound(std::int32_t key, float row_error, double row_norm) const noexcept;

  // Likewise not above it.
  double score_floor(std::int32_t key, float row_error, double row_norm) const noexcept;

  // Largest key with which a row of at most that error and norm could still have an exact score >=
  // min_score: rows with a larger key can be skipped. For a block take its largest error and norm.
  // INT32_MIN when no row can; INT32_MAX when every row might.
  std::int32_t key_limit(double min_score, float row_error, double row_norm) const noexcept {
    return key_limits(min_score)(row_error, row_norm);
  }
  KeyLimit key_limits(double min_score) const noexcept;

  // After ScalarQuantizer::prepare_bytes(): the query as stride() signed bytes b, for tiles. The
  // key of a code c is -<c, b> under cosine and ip, else Z + bytes_zero() - 2 <c, b>, where Z is
  // the sum of (c - 128)^2 over the dimension. No |<c, b>| is above bytes_reach().
  const std::int8_t* bytes() const noexcept { return narrow_.data(); }
  std::int64_t bytes_zero() const noexcept { return bytes_zero_; }
  std::int64_t bytes_reach() const noexcept { return bytes_reach_; }

 private:
  friend class ScalarQuantizer;
  friend class CodeDistance;

  // How far the score (under l2: the distance) can lie from what the key says.
  double rounding_bound(float row_error, double row_norm) const noexcept;

  Metric metric_ = Metric::kCosine;
  std::size_t dim_ = 0;
  std::size_t stride_ = 0;
  AlignedBuffer<std::int16_t> wide_;   // l2
  AlignedBuffer<std::int8_t> narrow_;  // cosine, ip, and l2 after prepare_bytes()
  double step_ = 0;         // l2: the code's scale; else: the code's scale times the query's
  double key_zero_ = 0;     // cosine, ip: the sum of 128 * q, which keys contain
  double norm_ = 0;         // see norm()
  double query_norm_ = 0;   // |q|; under cosine 1 (0 for a zero query)
  double query_error_ = 0;  // ||q - q^||, rounded up
  double rounding_ = 0;     // see key_deviation()
  std::int64_t bytes_zero_ = 0;
  std::int64_t bytes_reach_ = 0;
};

class CodeDistance {
 public:
  explicit CodeDistance(const CodeQuery& query, const simd::Kernels& kernels = simd::kernels())
      : kernels_(query.metric_ == Metric::kL2 ? kernels.l2_u8 : kernels.dot_u8s8),
        query_(query.metric_ == Metric::kL2 ? static_cast<const void*>(query.wide_.data())
                                            : static_cast<const void*>(query.narrow_.data())),
        stride_(query.stride_),
        nearest_key_(query.nearest_key()),
        prepared_(&query) {}

  std::int32_t key(const std::uint8_t* code) const noexcept {
    return kernels_.one(query_, code, stride_);
  }
  // Keys of the rows ids[0..n) of the codes at base: scattered rows, prefetched.
  void keys_many(const std::uint8_t* base, const std::uint32_t* ids, std::size_t n,
                 std::int32_t* out) const noexcept {
    kernels_.many(query_, base, stride_, ids, n, out);
  }
  // The rows of ids[0..n) with a key of at most `limit`, as candidates (simd::PoolKernels); room
  // for n + 16. Asks for the rows ids[asked..last) on the way.
  std::size_t near(const std::uint8_t* base, const std::uint32_t* ids, std::size_t n,
                   std::size_t asked, std::size_t last, std::int32_t limit,
                   std::uint64_t* out) const noexcept {
    return kernels_.near(query_, base, stride_, ids, n, asked, last, limit, out);
  }
  // Keys of n consecutive rows.
  void keys_rows(const std::uint8_t* base, std::size_t n, std::int32_t* out) const noexcept {
    kernels_.rows(query_, base, stride_, n, out);
  }
  std::size_t stride() const noexcept { return stride_; }
  double nearest_key() const noexcept { return nearest_key_; }
  double key_deviation(std::int32_t key) const noexcept { return prepared_->key_deviation(key); }
  double approx_score(std::int32_t key) const noexcept { return prepared_->approx_score(key); }

 private:
  simd::CodeKernels kernels_;
  const void* query_;
  std::size_t stride_;
  double nearest_key_;
  const CodeQuery* prepared_;
};

}  // namespace srvdb
