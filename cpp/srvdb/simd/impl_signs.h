// Which rows the codes of their signs let pass: the loop over rows; the steps of 64 components are
// intrinsics of the instruction set. Included only by kernel translation units (see
// kernels_impl.h).
//
// A type `Signs` of the instruction set's codes provides
//   Part                      sums of a row in 64 bytes, Part{} is zero
//   step(part, query, bits)   adds those of 64 components of the query, each to a byte of its own,
//                             whose bits, in 8 bytes, are set
//   Sum                       sums in 32 bits, Sum{} is zero
//   fold(sum, part)           adds the bytes
//   total(sum)                the sum
// and may provide
//   totals(sums, out)         the sums of four rows
#pragma once

#include "srvdb/simd/impl_common.h"
#include "srvdb/simd/kernels.h"

namespace srvdb::simd {
namespace {

template <class Signs>
struct SignLoops {
  using Part = typename Signs::Part;
  using Sum = typename Signs::Sum;
  static constexpr std::size_t kAtOnce = 4;  // rows whose sums run side by side
  static constexpr std::size_t kFolded = 8;  // steps whose sums a signed byte holds
  static_assert(kFolded * kMostSignQuery <= 127);

  static std::size_t select(const std::int8_t* query, std::size_t bits, const std::uint8_t* base,
                            std::size_t stride, const std::uint32_t* ids, std::size_t n,
                            const SignTest& test, std::uint32_t* out) noexcept {
    std::size_t count = 0;
    for (std::size_t i = 0; i < n; i += kAtOnce) {
      // The last row stands in for what is missing.
      const std::uint8_t* const c0 = at(base, stride, ids[i]);
      const std::uint8_t* const c1 = at(base, stride, ids[min_size(i + 1, n - 1)]);
      const std::uint8_t* const c2 = at(base, stride, ids[min_size(i + 2, n - 1)]);
      const std::uint8_t* const c3 = at(base, stride, ids[min_size(i + 3, n - 1)]);
      Sum s0{}, s1{}, s2{}, s3{};
      for (std::size_t from = 0; from < bits; from += 64 * kFolded) {
        const std::size_t to = min_size(bits, from + 64 * kFolded);
        Part p0{}, p1{}, p2{}, p3{};
        for (std::size_t d = from; d < to; d += 64) {
          Signs::step(p0, query + d, c0 + d / 8);
          Signs::step(p1, query + d, c1 + d / 8);
          Signs::step(p2, query + d, c2 + d / 8);
          Signs::step(p3, query + d, c3 + d / 8);
        }
        Signs::fold(s0, p0);
        Signs::fold(s1, p1);
        Signs::fold(s2, p2);
        Signs::fold(s3, p3);
      }
      std::int32_t sums[kAtOnce];
      if constexpr (requires { Signs::totals(s0, s1, s2, s3, sums); }) {
        Signs::totals(s0, s1, s2, s3, sums);
      } else {
        sums[0] = Signs::total(s0);
        sums[1] = Signs::total(s1);
        sums[2] = Signs::total(s2);
        sums[3] = Signs::total(s3);
      }
      const std::uint8_t* const codes[] = {c0, c1, c2, c3};
      const std::size_t rows = min_size(kAtOnce, n - i);
      for (std::size_t r = 0; r < rows; ++r) {
        float given[2];  // factor, addend
        __builtin_memcpy(given, codes[r] + bits / 8, sizeof given);
        const auto difference = static_cast<float>(2 * sums[r] - test.sum);
        const float along = given[0] * difference;
        const float score = along + test.weight * given[1];
        out[count] = ids[i + r];
        count += score < test.least ? 0u : 1u;
      }
    }
    return count;
  }

 private:
  SRVDB_INLINE static const std::uint8_t* at(const std::uint8_t* base, std::size_t stride,
                                             std::uint32_t id) noexcept {
    std::size_t offset = id * stride;
    asm("" : "+r"(offset));  // four products in a vector register take longer
    return base + offset;
  }
};

}  // namespace
}  // namespace srvdb::simd
