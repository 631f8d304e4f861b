// float32 kernels for one pair, for one query against consecutive rows, and threshold tests.
// Included only by kernel translation units (see kernels_impl.h).
#pragma once

#include "srvdb/simd/impl_common.h"

namespace srvdb::simd {
namespace {

struct Dot {
  template <class B>
  SRVDB_INLINE static B step(B sum, B a, B b) noexcept {
    return xsimd::fma(a, b, sum);
  }
};

struct L2 {
  template <class B>
  SRVDB_INLINE static B step(B sum, B a, B b) noexcept {
    const B d = a - b;
    return xsimd::fma(d, d, sum);
  }
};

template <class Isa>
struct FloatKernels {
  using B = xsimd::batch<float, typename Isa::Arch>;
  using BI = xsimd::batch<std::int32_t, typename Isa::Arch>;
  static constexpr std::size_t kWidth = B::size;
  static constexpr std::size_t kRowsAtOnce = 4;
  static constexpr std::size_t kPrefetchBytes = 1024;  // ahead of the rows being read

  template <class Op>
  static float pair(const float* a, const float* b, std::size_t dim) noexcept {
    B s0(0.0f), s1(0.0f), s2(0.0f), s3(0.0f);
    std::size_t i = 0;
    for (; i + 4 * kWidth <= dim; i += 4 * kWidth) {
      s0 = Op::step(s0, load(a + i), load(b + i));
      s1 = Op::step(s1, load(a + i + kWidth), load(b + i + kWidth));
      s2 = Op::step(s2, load(a + i + 2 * kWidth), load(b + i + 2 * kWidth));
      s3 = Op::step(s3, load(a + i + 3 * kWidth), load(b + i + 3 * kWidth));
    }
    for (; i + kWidth <= dim; i += kWidth) s0 = Op::step(s0, load(a + i), load(b + i));
    if (i < dim) {
      s1 = Op::step(s1, Isa::load_partial(a + i, dim - i), Isa::load_partial(b + i, dim - i));
    }
    return xsimd::reduce_add((s0 + s1) + (s2 + s3));
  }

  template <class Op>
  static void rows(const float* query, const float* base, std::size_t stride, std::size_t n,
                   std::size_t dim, float* out) noexcept {
    std::size_t r = 0;
    for (; r + kRowsAtOnce <= n; r += kRowsAtOnce) {
      four_rows<Op>(query, base + r * stride, stride, dim, out + r);
    }
    for (; r < n; ++r) out[r] = pair<Op>(query, base + r * stride, dim);
  }

  static std::size_t select_not_below(const float* scores, std::size_t n, float threshold,
                                      std::uint32_t* out) noexcept {
    const B limit(threshold);
    return select(scores, n, out, [&](B x) { return ~(x < limit).mask(); });
  }
  static std::size_t select_not_above(const float* scores, std::size_t n, float threshold,
                                      std::uint32_t* out) noexcept {
    const B limit(threshold);
    return select(scores, n, out, [&](B x) { return ~(x > limit).mask(); });
  }
  static std::size_t select_keys_not_above(const std::int32_t* keys, std::size_t n,
                                           std::int32_t threshold, std::uint32_t* out) noexcept {
    const BI limit(threshold);
    std::size_t count = 0;
    std::size_t i = 0;
    for (; i + BI::size <= n; i += BI::size) {
      const std::uint64_t above = (BI::load_unaligned(keys + i) > limit).mask();
      count = append_bits(~above & low_bits(BI::size), i, out, count);
    }
    for (; i < n; ++i) {
      if (keys[i] <= threshold) out[count++] = static_cast<std::uint32_t>(i);
    }
    return count;
  }

 private:
  SRVDB_INLINE static B load(const float* at) noexcept { return B::load_unaligned(at); }

  // Four rows share the loads of the query; one line of each row is prefetched for each line read.
  template <class Op>
  SRVDB_INLINE static void four_rows(const float* query, const float* base, std::size_t stride,
                                     std::size_t dim, float* out) noexcept {
    constexpr std::size_t kLine = 64 / sizeof(float);
    constexpr std::size_t kStep = kWidth > kLine ? kWidth : kLine;
    const float* r0 = base;
    const float* r1 = base + stride;
    const float* r2 = base + 2 * stride;
    const float* r3 = base + 3 * stride;
    B s0(0.0f), s1(0.0f), s2(0.0f), s3(0.0f);
    std::size_t i = 0;
    for (; i + kStep <= dim; i += kStep) {
      const std::size_t ahead = kPrefetchBytes + 4 * i * sizeof(float);
      prefetch(r0, ahead);
      prefetch(r0, ahead + 64);
      prefetch(r0, ahead + 128);
      prefetch(r0, ahead + 192);
      for (std::size_t j = i; j < i + kStep; j += kWidth) {
        const B q = load(query + j);
        s0 = Op::step(s0, q, load(r0 + j));
        s1 = Op::step(s1, q, load(r1 + j));
        s2 = Op::step(s2, q, load(r2 + j));
        s3 = Op::step(s3, q, load(r3 + j));
      }
    }
    for (; i < dim; i += kWidth) {
      const std::size_t left = min_size(dim - i, kWidth);
      const B q = load_up_to(query + i, left);
      s0 = Op::step(s0, q, load_up_to(r0 + i, left));
      s1 = Op::step(s1, q, load_up_to(r1 + i, left));
      s2 = Op::step(s2, q, load_up_to(r2 + i, left));
      s3 = Op::step(s3, q, load_up_to(r3 + i, left));
    }
    out[0] = xsimd::reduce_add(s0);
    out[1] = xsimd::reduce_add(s1);
    out[2] = xsimd::reduce_add(s2);
    out[3] = xsimd::reduce_add(s3);
  }

  SRVDB_INLINE static B load_up_to(const float* at, std::size_t n) noexcept {
    return n == kWidth ? load(at) : Isa::load_partial(at, n);
  }

  template <class Passes>
  SRVDB_INLINE static std::size_t select(const float* scores, std::size_t n, std::uint32_t* out,
                                         Passes passes) noexcept {
    std::size_t count = 0;
    std::size_t i = 0;
    for (; i + kWidth <= n; i += kWidth) {
      count = append_bits(passes(load(scores + i)) & low_bits(kWidth), i, out, count);
    }
    if (i < n) {
      const B last = Isa::load_partial(scores + i, n - i);
      count = append_bits(passes(last) & low_bits(n - i), i, out, count);
    }
    return count;
  }
};

}  // namespace
}  // namespace srvdb::simd
