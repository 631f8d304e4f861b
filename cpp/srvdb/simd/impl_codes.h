// Distances between a prepared query and 8-bit codes: the loops over rows; the 64-byte steps are
// intrinsics of the instruction set. Included only by kernel translation units (see
// kernels_impl.h).
//
// A step type provides
//   Element                       element of the query: int16 or int8
//   Sum                           running sums of a row, Sum{} is zero
//   step(sum, query, code)        adds 64 codes
//   key(sum)                      the key
// and may provide
//   keys(sums, out)               the keys of four rows
// The instruction set provides
//   select(keys, ids, n, limit, out)   CodeKernels::near for up to 16 keys
#pragma once

#include "srvdb/simd/impl_common.h"
#include "srvdb/simd/kernels.h"

namespace srvdb::simd {
namespace {

template <class Step, class Select>
struct CodeLoops {
  using Element = typename Step::Element;
  static constexpr std::size_t kAtOnce = 4;         // rows whose sums run side by side
  static constexpr std::size_t kAheadBytes = 8192;  // of scattered rows on their way from memory
  // Of a scan: how far ahead a line is asked for with each that is read. Wide rows are asked for
  // twice, first as far as the second level, as the first has no room for as many as there must be
  // on their way.
  static constexpr std::size_t kScanAheadBytes = 8192;
  static constexpr std::size_t kWideStride = 512;
  static constexpr std::size_t kWideFarBytes = 16384;
  static constexpr std::size_t kWideNearBytes = 2048;

  static std::int32_t one(const void* query, const std::uint8_t* code,
                          std::size_t stride) noexcept {
    const auto* q = static_cast<const Element*>(query);
    typename Step::Sum sum{};
    for (std::size_t i = 0; i < stride; i += 64) Step::step(sum, q + i, code + i);
    return Step::key(sum);
  }

  static void many(const void* query, const std::uint8_t* base, std::size_t stride,
                   const std::uint32_t* ids, std::size_t n, std::int32_t* out) noexcept {
    const auto* q = static_cast<const Element*>(query);
    const std::size_t rows_ahead =
        stride >= kAheadBytes ? kAtOnce : (kAheadBytes / stride + kAtOnce - 1) / kAtOnce * kAtOnce;
    const std::size_t warm = min_size(rows_ahead, n);
    for (std::size_t i = 0; i < warm; ++i) fetch(base, stride, ids[i]);
    std::size_t i = 0;
    for (; i + kAtOnce <= n; i += kAtOnce) {
      const std::size_t next = i + rows_ahead;
      const std::size_t last = min_size(next + kAtOnce, n);
      for (std::size_t j = next; j < last; ++j) fetch(base, stride, ids[j]);
      const std::uint8_t* const code[] = {base + ids[i] * stride, base + ids[i + 1] * stride,
                                          base + ids[i + 2] * stride, base + ids[i + 3] * stride};
      four(
          q, code, stride, [](std::size_t) {}, out + i);
    }
    for (; i < n; ++i) out[i] = one(query, base + ids[i] * stride, stride);
  }

  static std::size_t near(const void* query, const std::uint8_t* base, std::size_t stride,
                          const std::uint32_t* ids, std::size_t n, std::size_t asked,
                          std::size_t last, std::int32_t limit, std::uint64_t* out) noexcept {
    const auto* q = static_cast<const Element*>(query);
    if (stride == 128) return near_loop<128>(q, base, 128, ids, n, asked, last, limit, out);
    return near_loop<0>(q, base, stride, ids, n, asked, last, limit, out);
  }

  static void rows(const void* query, const std::uint8_t* base, std::size_t stride, std::size_t n,
                   std::int32_t* out) noexcept {
    const auto* q = static_cast<const Element*>(query);
    const bool wide = stride >= kWideStride;
    const std::size_t ahead = wide ? kWideNearBytes : kScanAheadBytes;
    std::size_t i = 0;
    for (; i + kAtOnce <= n; i += kAtOnce) {
      const std::uint8_t* at = base + i * stride;
      if (wide) {
        for (std::size_t b = 0; b < kAtOnce * stride; b += 64) {
          prefetch_scattered(at, kWideFarBytes + b);
        }
      }
      const std::uint8_t* const code[] = {at, at + stride, at + 2 * stride, at + 3 * stride};
      const auto ask = [at, ahead](std::size_t b) {
        for (std::size_t r = 0; r < kAtOnce; ++r) prefetch(at, ahead + kAtOnce * b + 64 * r);
      };
      four(q, code, stride, ask, out + i);
    }
    for (; i < n; ++i) out[i] = one(query, base + i * stride, stride);
  }

 private:
  SRVDB_INLINE static void fetch(const std::uint8_t* base, std::size_t stride,
                                 std::uint32_t id) noexcept {
    const std::uint8_t* code = base + id * stride;
    for (std::size_t b = 0; b < stride; b += 64) prefetch_scattered(code, b);
  }

  // kStride: the stride where it is known when compiled, else 0.
  template <std::size_t kStride>
  SRVDB_INLINE static std::size_t near_loop(const Element* q, const std::uint8_t* base,
                                            std::size_t given_stride, const std::uint32_t* ids,
                                            std::size_t n, std::size_t asked, std::size_t last,
                                            std::int32_t limit, std::uint64_t* out) noexcept {
    constexpr std::size_t kGroup = 16;
    const std::size_t stride = kStride != 0 ? kStride : given_stride;
    const std::size_t steps = (n + kAtOnce - 1) / kAtOnce;
    const std::size_t left = last > asked ? last - asked : 0;
    const std::size_t pace = steps != 0 ? (left + steps - 1) / steps : 0;  // rows to ask for a step
    std::size_t count = 0;
    alignas(64) std::int32_t keys[kGroup];
    for (std::size_t first = 0; first < n; first += kGroup) {
      const std::size_t group = min_size(n - first, kGroup);
      for (std::size_t i = 0; i < group; i += kAtOnce) {
        for (std::size_t more = kAtOnce; more < pace && asked < last; ++more, ++asked) {
          fetch(base, stride, ids[asked]);
        }
        // The last row stands in for what is missing.
        const std::uint8_t* code[kAtOnce];
        const std::uint8_t* next[kAtOnce];
        for (std::size_t r = 0; r < kAtOnce; ++r) {
          code[r] = base + ids[min_size(first + i + r, n - 1)] * stride;
          next[r] = asked < last ? base + ids[asked++] * stride : code[r];
        }
        const auto ask = [&next](std::size_t b) {
          for (std::size_t r = 0; r < kAtOnce; ++r) prefetch_scattered(next[r], b);
        };
        four(q, code, stride, ask, keys + i);
      }
      count += Select::select(keys, ids + first, group, limit, out + count);
    }
    return count;
  }

  // The keys of four rows. `ask(i)` asks for rows to come, a line for each of the four lines that
  // are read from byte i on: more at a time than the first level takes would be lost or waited for.
  template <typename Ask>
  SRVDB_INLINE static void four(const Element* q, const std::uint8_t* const (&code)[kAtOnce],
                                std::size_t stride, Ask&& ask, std::int32_t* out) noexcept {
    typename Step::Sum s0{}, s1{}, s2{}, s3{};
    for (std::size_t i = 0; i < stride; i += 64) {
      ask(i);
      Step::step(s0, q + i, code[0] + i);
      Step::step(s1, q + i, code[1] + i);
      Step::step(s2, q + i, code[2] + i);
      Step::step(s3, q + i, code[3] + i);
    }
    if constexpr (requires { Step::keys(s0, s1, s2, s3, out); }) {
      Step::keys(s0, s1, s2, s3, out);
      return;
    }
    out[0] = Step::key(s0);
    out[1] = Step::key(s1);
    out[2] = Step::key(s2);
    out[3] = Step::key(s3);
  }
};

template <class Step, class Select>
constexpr CodeKernels make_code_kernels() {
  using Loops = CodeLoops<Step, Select>;
  return {.one = &Loops::one, .many = &Loops::many, .near = &Loops::near, .rows = &Loops::rows};
}

}  // namespace
}  // namespace srvdb::simd
