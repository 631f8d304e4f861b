// Chooses the range that 8-bit codes cover. Thread-safe.
#pragma once

#include <cstddef>
#include <span>

#include "srvdb/distance/metric.h"

namespace srvdb {

// A code c stands for offset + scale * c. Both are float32 values; scale > 0.
struct CodeRange {
  double scale = 1;
  double offset = 0;
};

// The range for rows of `dim` components, given by address (at least one; finite), coded as
// 0..max_code. Under cosine the rows are normalised first. Integers under l2 get codes without
// error where their span allows it; else the range with the least squared error over the rows,
// which may cut off rare extremes.
CodeRange choose_range(std::span<const float* const> rows, std::size_t dim, Metric metric,
                       int max_code);

}  // namespace srvdb
