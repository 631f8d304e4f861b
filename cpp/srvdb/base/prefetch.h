// Asking for memory before it is needed. Hints: any address will do. Thread-safe.
//
// Only through these functions: GCC takes a function that does nothing but __builtin_prefetch() for
// one without effects, and drops the calls of it that are not inlined early. An empty volatile asm
// is an effect. simd/impl_common.h has the same for kernels.
#pragma once

#include <cstddef>

namespace srvdb {

// How far: of many lines at once that are scattered in memory, to the second-level cache. The first
// level takes so few requests at a time that others are lost or wait (benchmarks/EXPERIMENTS.md,
// "Graph: prefetch").
inline constexpr int kFirstLevel = 3;
inline constexpr int kSecondLevel = 2;

template <int kLevel = kFirstLevel>
inline void prefetch_line(const void* at) noexcept {
  __builtin_prefetch(at, 0, kLevel);
  asm volatile("");
}

inline void prefetch_lines(const void* at, std::size_t bytes) noexcept {
  for (std::size_t i = 0; i < bytes; i += 64) {
    prefetch_line<kSecondLevel>(static_cast<const char*>(at) + i);
  }
}

}  // namespace srvdb
