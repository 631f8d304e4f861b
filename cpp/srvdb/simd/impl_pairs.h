// Inner products of all pairs out of two sets of 8-bit codes: the plain form, for instruction sets
// without one of their own. Included only by kernel translation units (see kernels_impl.h).
#pragma once

#include "srvdb/simd/impl_common.h"

namespace srvdb::simd {
namespace {

// The panel holds the codes one after the other.
template <class NegDot>
struct PlainPairs {
  static void pack(const std::uint8_t* base, const std::uint32_t* ids, std::size_t n,
                   std::size_t stride, std::uint8_t* panel) noexcept {
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint8_t* const code = base + ids[i] * stride;
      for (std::size_t d = 0; d < stride; ++d) panel[i * stride + d] = code[d];
    }
  }

  static void keys(const std::int8_t* rows, std::size_t n_rows, const std::uint8_t* panel,
                   std::size_t n_columns, std::size_t stride, const std::int32_t* bias, int shift,
                   std::int32_t* out, std::size_t out_stride) noexcept {
    for (std::size_t i = 0; i < n_rows; ++i) {
      const std::int8_t* const row = rows + i * stride;
      std::int32_t* const to = out + i * out_stride;
      std::size_t j = 0;
      for (; j + 4 <= n_columns; j += 4) some<4>(row, panel + j * stride, stride, to + j);
      for (; j < n_columns; ++j) some<1>(row, panel + j * stride, stride, to + j);
      for (j = 0; j < n_columns; ++j) {
        // Unsigned: what passes 2^31 on the way comes back.
        to[j] = static_cast<std::int32_t>((static_cast<std::uint32_t>(to[j]) << shift) +
                                          static_cast<std::uint32_t>(bias[j]));
      }
    }
  }

 private:
  template <std::size_t kCount>
  SRVDB_INLINE static void some(const std::int8_t* row, const std::uint8_t* columns,
                                std::size_t stride, std::int32_t* out) noexcept {
    typename NegDot::Sum sums[kCount]{};
    for (std::size_t d = 0; d < stride; d += 64) {
#pragma GCC unroll 4
      for (std::size_t c = 0; c < kCount; ++c) {
        NegDot::step(sums[c], row + d, columns + c * stride + d);
      }
    }
    for (std::size_t c = 0; c < kCount; ++c) out[c] = NegDot::key(sums[c]);
  }
};

}  // namespace
}  // namespace srvdb::simd
