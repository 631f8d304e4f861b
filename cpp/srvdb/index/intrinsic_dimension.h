// The intrinsic dimension of a set of rows: how fast the number of rows within a distance of a row
// grows with it. In a set of intrinsic dimension d there are about c * r^d rows within r, so the
// b-th nearest row is (b / a)^(1/d) times as far away as the a-th.
//
// Estimated from the distances of the near rows that each row was linked among, and averaged over
// rows (Levina and Bickel, Maximum Likelihood Estimation of Intrinsic Dimension, 2004, with two
// distances of a row in place of all).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

namespace srvdb {

// The mean of the estimates of so many rows; more than kMaxRows count as that many, so that it
// follows a set that changes.
class IntrinsicDimension {
 public:
  static constexpr double kLeast = 0.5;  // estimates are kept within
  static constexpr double kMost = 100;

  IntrinsicDimension() = default;
  IntrinsicDimension(float mean, std::uint32_t rows) : mean_(mean), rows_(rows) {}

  // 0 while nothing is known.
  float mean() const noexcept { return rows_ == 0 ? 0 : mean_; }
  std::uint32_t rows() const noexcept { return rows_; }
  // The dimension of a set of so many rows; 0 while estimates of too few of them are known.
  double of(std::size_t rows) const noexcept {
    const bool enough = rows_ != 0 && rows_ >= std::min(rows, kMaxRows) / kEnough;
    return enough ? static_cast<double>(mean_) : 0;
  }

  // With the estimates of more rows, of which zeros do not count.
  IntrinsicDimension with(std::span<const float> estimates) const noexcept {
    double sum = rows_ * static_cast<double>(mean_);
    std::size_t rows = rows_;
    for (const float estimate : estimates) {
      sum += static_cast<double>(estimate);
      rows += estimate != 0 ? 1u : 0u;
    }
    if (rows == 0) return {};
    return {static_cast<float>(sum / static_cast<double>(rows)),
            static_cast<std::uint32_t>(std::min(rows, kMaxRows))};
  }

  // From the squared distances of n near rows of one row, ascending: at(i) is that of the i-th,
  // from 0. 0 where they are too few, or too close together to tell.
  template <typename At>
  static float of_row(std::size_t n, const At& at) noexcept {
    n = std::min(n, kFar);
    if (n < kFew) return 0;
    const std::size_t near = n * kNear / kFar;
    const auto inner = static_cast<double>(at(near - 1));
    const auto outer = static_cast<double>(at(n - 1));
    if (!(inner > 0)) return 0;
    const double growth = std::log(outer / inner);
    const double ranks = std::log(static_cast<double>(n) / static_cast<double>(near));
    return static_cast<float>(std::clamp(2 * ranks / growth, kLeast, kMost));
  }

 private:
  static constexpr std::size_t kMaxRows = 1 << 20;
  static constexpr std::size_t kEnough = 8;
  static constexpr std::size_t kNear = 6;
  static constexpr std::size_t kFar = 24;
  static constexpr std::size_t kFew = 16;  // near rows

  float mean_ = 0;
  std::uint32_t rows_ = 0;
};

}  // namespace srvdb
