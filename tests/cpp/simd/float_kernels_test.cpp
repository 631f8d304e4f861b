// float32 and double-precision kernels of every instruction set against long double.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <limits>

#include "simd/kernel_cases.h"
#include "srvdb/base/aligned.h"
#include "srvdb/distance/margin.h"
#include "srvdb/distance/metric.h"

namespace srvdb::testing {
namespace {

using simd::Kernels;
using simd::kScoredAtOnce;
using simd::supported_kernels;

template <class Body>
void for_every_case(Body body) {
  for (const Kernels* kernels : supported_kernels()) {
    for (const std::size_t dim : ragged_dims()) {
      for (const Values kind : kAllValues) {
        SCOPED_TRACE(describe(*kernels, dim, kind));
        body(*kernels, dim, kind);
      }
    }
  }
}

TEST(FloatKernels, StayWithinTheProvenMargin) {
  for_every_case([](const Kernels& k, std::size_t dim, Values kind) {
    const auto a = make_values(kind, dim + 1, 1);
    const auto b = make_values(kind, dim + 1, 2);
    const float* x = a.data() + 1;  // not aligned to a register
    const float* y = b.data() + 1;
    const double margin = dot_margin(dim, reference_norm(x, dim), reference_norm(y, dim));
    const auto dot = static_cast<double>(k.dot_f32(x, y, dim));
    EXPECT_LE(std::abs(dot - reference_dot(x, y, dim)), margin);
    const auto l2 = static_cast<double>(k.l2sq_f32(x, y, dim));
    EXPECT_LE(std::abs(l2 - reference_l2(x, y, dim)), l2_margin(dim, l2));
    if (kind != Values::kHuge) {
      EXPECT_LT(margin, 1e15);
    }
  });
}

TEST(FloatKernels, RowsAgreeWithPairsAtAnyStrideAndCount) {
  for_every_case([](const Kernels& k, std::size_t dim, Values kind) {
    const std::size_t stride = dim + 3;
    const auto q = make_values(kind, dim, 3);
    const auto rows = make_values(kind, stride * 9, 4);
    for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{4}, std::size_t{9}}) {
      std::vector<float> dot(n + 1, -7), l2(n + 1, -7);
      k.dot_f32_rows(q.data(), rows.data(), stride, n, dim, dot.data());
      k.l2sq_f32_rows(q.data(), rows.data(), stride, n, dim, l2.data());
      for (std::size_t i = 0; i < n; ++i) {
        const float* row = rows.data() + i * stride;
        const double margin =
            dot_margin(dim, reference_norm(q.data(), dim), reference_norm(row, dim));
        EXPECT_LE(std::abs(static_cast<double>(dot[i]) - reference_dot(q.data(), row, dim)),
                  margin);
        const auto got = static_cast<double>(l2[i]);
        EXPECT_LE(std::abs(got - reference_l2(q.data(), row, dim)), l2_margin(dim, got));
      }
      EXPECT_EQ(dot[n], -7);
      EXPECT_EQ(l2[n], -7);
    }
  });
}

TEST(FloatKernels, DoNotFlushDenormals) {
  const std::vector<float> tiny(33, std::numeric_limits<float>::denorm_min());
  const std::vector<float> two(33, 2.0f);
  for (const Kernels* k : supported_kernels()) {
    EXPECT_EQ(k->dot_f32(tiny.data(), two.data(), 33),
              66 * std::numeric_limits<float>::denorm_min())
        << k->name;
  }
}

TEST(FloatKernels, ThresholdTestsKeepNaN) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  for (const Kernels* k : supported_kernels()) {
    SCOPED_TRACE(k->name);
    for (std::size_t n = 0; n < 40; ++n) {
      std::vector<float> scores(n);
      std::vector<std::int32_t> keys(n);
      std::vector<std::uint32_t> above, below, low_keys;
      for (std::size_t i = 0; i < n; ++i) {
        scores[i] = i % 7 == 3 ? kNaN : static_cast<float>(i * 5 % 11);
        keys[i] = static_cast<std::int32_t>(i * 5 % 11) - 5;
        if (!(scores[i] < 6)) above.push_back(static_cast<std::uint32_t>(i));
        if (!(scores[i] > 6)) below.push_back(static_cast<std::uint32_t>(i));
        if (keys[i] <= 1) low_keys.push_back(static_cast<std::uint32_t>(i));
      }
      std::vector<std::uint32_t> out(n);
      out.resize(k->select_not_below_f32(scores.data(), n, 6, out.data()));
      EXPECT_EQ(out, above);
      out.resize(n);
      out.resize(k->select_not_above_f32(scores.data(), n, 6, out.data()));
      EXPECT_EQ(out, below);
      out.resize(n);
      out.resize(k->select_not_above_i32(keys.data(), n, 1, out.data()));
      EXPECT_EQ(out, low_keys);
    }
  }
}

TEST(DoubleKernels, AreAccurateAndHaveTheSameBitsEverywhere) {
  for_every_case([](const Kernels& k, std::size_t dim, Values kind) {
    const Kernels& first = *supported_kernels().front();
    const auto a = make_values(kind, dim, 5);
    const auto b = make_values(kind, dim, 6);
    double norm = 0;
    double first_norm = 0;
    const double fused = k.dot_norm_f64(a.data(), b.data(), dim, &norm);
    first.dot_norm_f64(a.data(), b.data(), dim, &first_norm);
    const auto bits = [](double x) { return std::bit_cast<std::uint64_t>(x); };
    EXPECT_EQ(bits(fused), bits(first.dot_f64(a.data(), b.data(), dim)));
    EXPECT_EQ(bits(fused), bits(k.dot_f64(a.data(), b.data(), dim)));
    EXPECT_EQ(bits(norm), bits(first_norm));
    EXPECT_EQ(bits(norm), bits(k.norm2_f64(b.data(), dim)));
    const double l2 = k.l2sq_f64(a.data(), b.data(), dim);
    EXPECT_EQ(bits(l2), bits(first.l2sq_f64(a.data(), b.data(), dim)));
    const double scale = reference_norm(a.data(), dim) * reference_norm(b.data(), dim) + 1e-300;
    EXPECT_NEAR(fused / scale, reference_dot(a.data(), b.data(), dim) / scale, 1e-13);
    const double exact = reference_l2(a.data(), b.data(), dim);
    EXPECT_NEAR(l2, exact, 1e-13 * exact);
  });
}

TEST(DoubleKernels, GiveTheSameBitsForRowsSideBySide) {
  for_every_case([](const Kernels& k, std::size_t dim, Values kind) {
    const auto a = make_values(kind, dim, 5);
    std::vector<std::vector<float>> rows;
    for (unsigned r = 0; r < kScoredAtOnce; ++r) rows.push_back(make_values(kind, dim, 6 + r));
    std::array<const float*, kScoredAtOnce> at{};
    for (std::size_t r = 0; r < kScoredAtOnce; ++r) at[r] = rows[r].data();
    std::array<double, kScoredAtOnce> dots{}, l2{}, fused{}, norms{};
    k.dot_f64_rows(a.data(), at.data(), at.data(), dim, dots.data());
    k.l2sq_f64_rows(a.data(), at.data(), at.data(), dim, l2.data());
    k.dot_norm_f64_rows(a.data(), at.data(), at.data(), dim, fused.data(), norms.data());
    const auto bits = [](double x) { return std::bit_cast<std::uint64_t>(x); };
    for (std::size_t r = 0; r < kScoredAtOnce; ++r) {
      EXPECT_EQ(bits(dots[r]), bits(k.dot_f64(a.data(), at[r], dim)));
      EXPECT_EQ(bits(fused[r]), bits(dots[r]));
      EXPECT_EQ(bits(norms[r]), bits(k.norm2_f64(at[r], dim)));
      EXPECT_EQ(bits(l2[r]), bits(k.l2sq_f64(a.data(), at[r], dim)));
    }
  });
}

// The definition, written out: eight lanes, in order, and the tree.
TEST(DoubleKernels, FollowTheStatedOrderOfOperations) {
  for (const std::size_t dim : ragged_dims()) {
    const auto a = make_values(Values::kMixed, dim, 7);
    const auto b = make_values(Values::kMixed, dim, 8);
    double s[8] = {};
    for (std::size_t i = 0; i < dim; ++i) {
      const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      const double square = d * d;
      s[i % 8] += square;
    }
    const double expected = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
    for (const Kernels* k : supported_kernels()) {
      EXPECT_EQ(k->l2sq_f64(a.data(), b.data(), dim), expected)
          << describe(*k, dim, Values::kMixed);
    }
  }
}

TEST(DoubleKernels, NormIsFiniteExactlyForFiniteVectors) {
  for (const Kernels* k : supported_kernels()) {
    std::vector<float> row(100, std::numeric_limits<float>::max());
    EXPECT_TRUE(std::isfinite(k->norm2_f64(row.data(), 100)));
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      for (const std::size_t at : {std::size_t{0}, std::size_t{64}, std::size_t{99}}) {
        auto copy = row;
        copy[at] = bad;
        EXPECT_FALSE(std::isfinite(k->norm2_f64(copy.data(), 100))) << k->name;
        EXPECT_EQ(check_row(copy.data(), 100, *k).first_bad, static_cast<std::ptrdiff_t>(at));
      }
    }
  }
}

}  // namespace
}  // namespace srvdb::testing
