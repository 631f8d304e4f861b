// The directions in which rows differ most. Thread-safe.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "srvdb/base/interrupt.h"
#include "srvdb/distance/metric.h"

namespace srvdb {

struct PrincipalComponents {
  std::vector<float> mean;        // of the rows, dim components
  std::vector<float> directions;  // count × dim, orthonormal, the one of most variance first
  std::vector<double> shares;  // of all variance, what the first 1, 2, … count directions hold;
                               // zeros where rows do not differ, or beyond what floats hold
};

// The first `count` (at most dim) of rows of `dim` components given by address (at least one;
// finite), about their mean; under cosine of the normalised rows. By subspace
// iteration on the covariance matrix, from a fixed start (Halko, Martinsson and Tropp, Finding
// structure with randomness, 2011, algorithm 4.4): what the directions hold together is as good as
// exact, single ones among near equals are not told apart. For a fixed sequence of rows the result
// is the same on every run. Throws Error(kInterrupted).
PrincipalComponents principal_components(std::span<const float* const> rows, std::size_t dim,
                                         Metric metric, std::size_t count, Interrupt* interrupt);

}  // namespace srvdb
