// Double-precision kernels over float32 input, and the coding of rows: the same bits on every
// instruction set. Included only by kernel translation units (see kernels_impl.h).
//
// Component i belongs to logical lane i % 8; a lane adds its terms in order, and the lanes are
// added as ((0+4)+(2+6)) + ((1+5)+(3+7)). A ragged end is handled as if zeros followed. The product
// of two floats is exact in double, so whether it is fused with the sum makes no difference; every
// other operation is rounded by itself (the build turns contraction off).
#pragma once

#include "srvdb/simd/impl_common.h"
#include "srvdb/simd/kernels.h"

namespace srvdb::simd {
namespace {

template <class Isa>
struct DoubleKernels {
  using F = xsimd::batch<float, typename Isa::Arch>;
  using D = xsimd::batch<double, typename Isa::Arch>;
  static constexpr std::size_t kLanes = 8;
  static constexpr std::size_t kParts = kLanes / D::size;
  static_assert(kParts * D::size == kLanes);
  // Rows whose sums fit into the registers side by side.
  static constexpr std::size_t kSide = kParts >= kScoredAtOnce ? 1 : kScoredAtOnce / kParts;

  // Eight running sums.
  struct Lanes {
    D part[kParts];

    SRVDB_INLINE Lanes() noexcept {
      for (std::size_t p = 0; p < kParts; ++p) part[p] = D(0.0);
    }
    SRVDB_INLINE double sum(const double (&tail)[kLanes] = {}) const noexcept {
      double s[kLanes];
      for (std::size_t p = 0; p < kParts; ++p) part[p].store_unaligned(s + p * D::size);
      for (std::size_t i = 0; i < kLanes; ++i) s[i] += tail[i];
      return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
    }
  };

  SRVDB_INLINE static D square_diff(D sum, D a, D b) noexcept {
    const D d = a - b;
    return sum + d * d;
  }

  static double dot(const float* a, const float* b, std::size_t dim) noexcept {
    Lanes sum;
    each8(a, b, dim, [&](std::size_t p, D x, D y) { sum.part[p] = xsimd::fma(x, y, sum.part[p]); });
    return sum.sum();
  }

  static double l2sq(const float* a, const float* b, std::size_t dim) noexcept {
    Lanes sum;
    each8(a, b, dim,
          [&](std::size_t p, D x, D y) { sum.part[p] = square_diff(sum.part[p], x, y); });
    return sum.sum();
  }

  static double dot_norm(const float* a, const float* b, std::size_t dim,
                         double* b_norm2) noexcept {
    Lanes sum;
    Lanes norm;
    each8(a, b, dim, [&](std::size_t p, D x, D y) {
      sum.part[p] = xsimd::fma(x, y, sum.part[p]);
      norm.part[p] = xsimd::fma(y, y, norm.part[p]);
    });
    *b_norm2 = norm.sum();
    return sum.sum();
  }

  static void dot_rows(const float* a, const float* const* b, const float* const* ahead,
                       std::size_t dim, double* out) noexcept {
    for (std::size_t r = 0; r < kScoredAtOnce; r += kSide) {
      Lanes sum[kSide];
      each8_rows(a, b + r, ahead + r, dim, [&](std::size_t row, std::size_t p, D x, D y) {
        sum[row].part[p] = xsimd::fma(x, y, sum[row].part[p]);
      });
      for (std::size_t i = 0; i < kSide; ++i) out[r + i] = sum[i].sum();
    }
  }

  static void l2sq_rows(const float* a, const float* const* b, const float* const* ahead,
                        std::size_t dim, double* out) noexcept {
    for (std::size_t r = 0; r < kScoredAtOnce; r += kSide) {
      Lanes sum[kSide];
      each8_rows(a, b + r, ahead + r, dim, [&](std::size_t row, std::size_t p, D x, D y) {
        sum[row].part[p] = square_diff(sum[row].part[p], x, y);
      });
      for (std::size_t i = 0; i < kSide; ++i) out[r + i] = sum[i].sum();
    }
  }

  static void dot_norm_rows(const float* a, const float* const* b, const float* const* ahead,
                            std::size_t dim, double* out, double* b_norm2) noexcept {
    for (std::size_t r = 0; r < kScoredAtOnce; r += kSide) {
      Lanes sum[kSide];
      Lanes norm[kSide];
      each8_rows(a, b + r, ahead + r, dim, [&](std::size_t row, std::size_t p, D x, D y) {
        sum[row].part[p] = xsimd::fma(x, y, sum[row].part[p]);
        norm[row].part[p] = xsimd::fma(y, y, norm[row].part[p]);
      });
      for (std::size_t i = 0; i < kSide; ++i) {
        out[r + i] = sum[i].sum();
        b_norm2[r + i] = norm[i].sum();
      }
    }
  }

  static double norm2(const float* a, std::size_t dim) noexcept {
    Lanes sum;
    each8(a, a, dim, [&](std::size_t p, D x, D) { sum.part[p] = xsimd::fma(x, x, sum.part[p]); });
    return sum.sum();
  }

  static double encode(const float* row, std::size_t dim, const EncodeParams& params,
                       std::uint8_t* code) noexcept {
    constexpr std::size_t kBlock = 64;
    Lanes sum;
    double tail[kLanes] = {};
    alignas(64) float rounded[kBlock];
    for (std::size_t i = 0; i < dim; i += kBlock) {
      const std::size_t n = min_size(dim - i, kBlock);
      round_block(row + i, n, params, rounded, code + i);
      add_errors(row + i, rounded, n, params, sum, tail);
    }
    return sum.sum(tail);
  }

 private:
  // f(part, x, y) for every part of every eight components; the last eight are filled with zeros.
  template <class Body>
  SRVDB_INLINE static void each8(const float* a, const float* b, std::size_t dim,
                                 Body body) noexcept {
    std::size_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) each_part(a + i, b + i, body);
    if (i == dim) return;
    float x[kLanes] = {};
    float y[kLanes] = {};
    for (std::size_t j = 0; i + j < dim; ++j) {
      x[j] = a[i + j];
      y[j] = b[i + j];
    }
    each_part(x, y, body);
  }

  // f(row, part, x, y) likewise for kSide rows; asks for the rows at `ahead`, a line for each that
  // is read.
  template <class Body>
  SRVDB_INLINE static void each8_rows(const float* a, const float* const* b,
                                      const float* const* ahead, std::size_t dim,
                                      Body body) noexcept {
    constexpr std::size_t kLine = 64 / sizeof(float);
    const auto row_body = [&](std::size_t row) {
      return [&body, row](std::size_t p, D x, D y) { body(row, p, x, y); };
    };
    std::size_t i = 0;
    for (; i + kLine <= dim; i += kLine) {
#pragma GCC unroll 4
      for (std::size_t r = 0; r < kSide; ++r) {
        auto of_row = row_body(r);
        prefetch_scattered(ahead[r], i * sizeof(float));
        each_part(a + i, b[r] + i, of_row);
        each_part(a + i + kLanes, b[r] + i + kLanes, of_row);
      }
    }
    for (std::size_t r = 0; r < kSide; ++r) {
      prefetch_scattered(ahead[r], i * sizeof(float));
      each8(a + i, b[r] + i, dim - i, row_body(r));
    }
  }

  template <class Body>
  SRVDB_INLINE static void each_part(const float* a, const float* b, Body& body) noexcept {
#pragma GCC unroll 4
    for (std::size_t p = 0; p < kParts; ++p) {
      body(p, Isa::load_double(a + p * D::size), Isa::load_double(b + p * D::size));
    }
  }

  // Codes of up to 64 components, as bytes and as floats.
  SRVDB_INLINE static void round_block(const float* x, std::size_t n, const EncodeParams& params,
                                       float* rounded, std::uint8_t* code) noexcept {
    const F shift(params.shift), mul(params.mul), top(params.max_code), zero(0.0f);
    alignas(64) std::int32_t whole[64];
    for (std::size_t i = 0; i < n; i += F::size) {
      const F v = n - i >= F::size ? F::load_unaligned(x + i) : Isa::load_partial(x + i, n - i);
      const F scaled = (v - shift) * mul;
      const auto c = xsimd::nearbyint_as_int(xsimd::min(xsimd::max(scaled, zero), top));
      c.store_aligned(whole + i);
      xsimd::to_float(c).store_aligned(rounded + i);
    }
    for (std::size_t i = 0; i < n; ++i) code[i] = static_cast<std::uint8_t>(whole[i]);
  }

  SRVDB_INLINE static void add_errors(const float* x, const float* rounded, std::size_t n,
                                      const EncodeParams& params, Lanes& sum,
                                      double (&tail)[kLanes]) noexcept {
    const D unit(params.unit), scale(params.scale), offset(params.offset);
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (std::size_t p = 0; p < kParts; ++p) {
        const D value = Isa::load_double(x + i + p * D::size) * unit;
        const D coded = Isa::load_double(rounded + i + p * D::size) * scale;
        sum.part[p] = square_diff(sum.part[p], value, coded + offset);
      }
    }
    for (std::size_t lane = 0; i < n; ++i, ++lane) {
      const double value = static_cast<double>(x[i]) * params.unit;
      const double coded = static_cast<double>(rounded[i]) * params.scale;
      const double d = value - (coded + params.offset);
      tail[lane] = d * d;
    }
  }
};

}  // namespace
}  // namespace srvdb::simd
