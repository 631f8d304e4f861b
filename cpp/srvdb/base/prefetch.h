// Asking for memory before it is needed. Hints: any address will do. Thread-safe.
#pragma once

#include <cstddef>

namespace srvdb {

// Of __builtin_prefetch(): as far as the second-level cache, for many lines at once that are
// scattered in memory. The first level takes so few requests at a time that others are lost or
// wait (benchmarks/EXPERIMENTS.md, "Graph: prefetch"). simd/impl_common.h has the same for kernels.
inline constexpr int kSecondLevel = 2;

inline void prefetch_lines(const void* at, std::size_t bytes) noexcept {
  for (std::size_t i = 0; i < bytes; i += 64) {
    __builtin_prefetch(static_cast<const char*>(at) + i, 0, kSecondLevel);
  }
}

}  // namespace srvdb
