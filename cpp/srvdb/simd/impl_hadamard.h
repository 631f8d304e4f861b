// The Walsh-Hadamard transform down the columns of a matrix, in plain loops that the compiler turns
// into vectors. Included only by kernel translation units (see kernels_impl.h).
#pragma once

#include "srvdb/simd/impl_common.h"
#include "srvdb/simd/kernels.h"

namespace srvdb::simd {
namespace {

template <class Isa>  // one function for each instruction set
void hadamard(float* x, std::size_t n, float unit) noexcept {
  for (std::size_t h = kHadamardLanes; h < n; h *= 2) {
    for (std::size_t i = 0; i < n; i += 2 * h) {
      float* const __restrict low = x + i;
      float* const __restrict high = x + i + h;
      for (std::size_t j = 0; j < h; j += kHadamardLanes) {
        for (std::size_t lane = 0; lane < kHadamardLanes; ++lane) {
          const float a = low[j + lane];
          const float b = high[j + lane];
          low[j + lane] = a + b;
          high[j + lane] = a - b;
        }
      }
    }
  }
  for (std::size_t i = 0; i < n; ++i) x[i] *= unit;
}

}  // namespace
}  // namespace srvdb::simd
