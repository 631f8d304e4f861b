// What the kernel templates share. Included only by kernel translation units (see kernels_impl.h).
#pragma once

#include <cstddef>
#include <cstdint>

#define SRVDB_INLINE inline __attribute__((always_inline))

#include "xsimd/xsimd.hpp"

namespace srvdb::simd {
namespace {

// A hint: the address may lie beyond the array.
SRVDB_INLINE void prefetch(const void* base, std::size_t offset_bytes) noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(base) + offset_bytes;
  __builtin_prefetch(reinterpret_cast<const void*>(at), 0, 3);
  asm volatile("");  // an effect, for which calls are kept (base/prefetch.h)
}

// The same for many lines at once that are scattered in memory: as far as the second-level cache.
// The first level takes so few requests at a time that others were dropped or waited for
// (base/prefetch.h).
SRVDB_INLINE void prefetch_scattered(const void* base, std::size_t offset_bytes) noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(base) + offset_bytes;
  __builtin_prefetch(reinterpret_cast<const void*>(at), 0, 2);
  asm volatile("");
}

SRVDB_INLINE std::size_t min_size(std::size_t a, std::size_t b) noexcept {
  return a < b ? a : b;
}

// Appends base + i for every set bit i of mask; returns the new count.
SRVDB_INLINE std::size_t append_bits(std::uint64_t mask, std::size_t base, std::uint32_t* out,
                                     std::size_t count) noexcept {
  for (; mask != 0; mask &= mask - 1) {
    out[count++] =
        static_cast<std::uint32_t>(base) + static_cast<std::uint32_t>(__builtin_ctzll(mask));
  }
  return count;
}

constexpr std::uint64_t low_bits(std::size_t n) noexcept {
  return n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1;
}

}  // namespace
}  // namespace srvdb::simd
