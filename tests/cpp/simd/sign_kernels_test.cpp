// Codes of signs: the same rows pass on every instruction set, and the transform is the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "simd/kernel_cases.h"
#include "srvdb/base/aligned.h"

namespace srvdb::testing {
namespace {

using simd::Kernels;
using simd::SignTest;
using simd::supported_kernels;

// Random codes of signs and a query.
struct Signs {
  Signs(std::size_t n_bits, std::size_t n_rows, bool extreme = false)
      : bits(n_bits),
        rows(n_rows),
        stride(round_up(bits / 8 + 8, 64)),
        codes(rows * stride),
        query(bits) {
    std::mt19937 random(static_cast<std::uint32_t>(bits));
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < bits; ++i) {
      query[i] = static_cast<std::int8_t>(extreme ? -simd::kMostSignQuery
                                                  : static_cast<int>(random() % 31) - 15);
    }
    for (std::size_t r = 0; r < rows; ++r) {
      std::uint8_t* const code = codes.data() + r * stride;
      for (std::size_t i = 0; i < bits / 8; ++i) {
        code[i] = static_cast<std::uint8_t>(extreme ? 255 : random() % 256);
      }
      const float given[] = {std::abs(normal(random)), 100 * normal(random)};
      std::memcpy(code + bits / 8, given, sizeof given);
    }
  }
  std::int32_t sum_of(std::size_t row) const {
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < bits; ++i) {
      if ((codes[row * stride + i / 8] >> (i % 8) & 1) != 0) sum += query[i];
    }
    return sum;
  }
  float score_of(std::size_t row, const SignTest& test) const {
    float given[2];
    std::memcpy(given, codes.data() + row * stride + bits / 8, sizeof given);
    const float along = given[0] * static_cast<float>(2 * sum_of(row) - test.sum);
    return along + test.weight * given[1];
  }
  std::vector<std::uint32_t> expected(const std::vector<std::uint32_t>& ids,
                                      const SignTest& test) const {
    std::vector<std::uint32_t> out;
    for (const std::uint32_t id : ids) {
      if (!(score_of(id, test) < test.least)) out.push_back(id);
    }
    return out;
  }

  std::size_t bits, rows, stride;
  AlignedBuffer<std::uint8_t> codes;
  AlignedBuffer<std::int8_t> query;
};

std::vector<std::uint32_t> selected(const Kernels& kernels, const Signs& signs,
                                    const std::vector<std::uint32_t>& ids, const SignTest& test) {
  std::vector<std::uint32_t> out(ids.size() + 1, 77);
  const std::size_t n =
      kernels.select_signs(signs.query.data(), signs.bits, signs.codes.data(), signs.stride,
                           ids.data(), ids.size(), test, out.data());
  EXPECT_EQ(out.back(), 77u);  // room for n
  out.resize(n);
  return out;
}

TEST(SignKernels, LetPassTheRowsThatTheirContractSays) {
  for (const std::size_t bits : {64U, 128U, 512U, 576U, 768U, 1024U, 1088U, 4096U}) {
    const Signs signs(bits, 40);
    SignTest test{.sum = 31, .weight = 0.5F, .least = 0};
    std::vector<float> scores;
    for (std::size_t r = 0; r < signs.rows; ++r) scores.push_back(signs.score_of(r, test));
    std::sort(scores.begin(), scores.end());
    test.least = scores[20];
    for (std::size_t n = 0; n <= 37; ++n) {
      std::vector<std::uint32_t> ids;
      for (std::size_t i = 0; i < n; ++i) ids.push_back(static_cast<std::uint32_t>(i * 7 % 40));
      const auto expected = signs.expected(ids, test);
      EXPECT_TRUE(n < 37 || expected.size() >= 17) << expected.size();
      for (const Kernels* kernels : supported_kernels()) {
        EXPECT_EQ(selected(*kernels, signs, ids, test), expected) << kernels->name << ' ' << bits;
      }
    }
  }
}

TEST(SignKernels, SumTheLargestQueryWithoutOverflow) {
  const Signs signs(4096, 4, true);
  ASSERT_EQ(signs.sum_of(0), -15 * 4096);
  const std::vector<std::uint32_t> ids{0, 1, 2, 3};
  for (std::size_t r = 0; r < 4; ++r) {
    SignTest test{.sum = -15 * 4096, .weight = 0, .least = 0};
    test.least = signs.score_of(r, test);
    const auto expected = signs.expected(ids, test);
    for (const Kernels* kernels : supported_kernels()) {
      EXPECT_EQ(selected(*kernels, signs, ids, test), expected) << kernels->name;
    }
  }
}

TEST(SignKernels, ANumberThatIsNoneLetsItsRowPass) {
  Signs signs(512, 8);
  const float none[] = {std::numeric_limits<float>::quiet_NaN(), 0};
  std::memcpy(signs.codes.data() + 3 * signs.stride + 64, none, sizeof none);
  const SignTest test{.sum = 0, .weight = 1, .least = std::numeric_limits<float>::max()};
  for (const Kernels* kernels : supported_kernels()) {
    EXPECT_EQ(selected(*kernels, signs, {0, 1, 2, 3, 4, 5, 6, 7}, test),
              std::vector<std::uint32_t>{3})
        << kernels->name;
  }
}

TEST(SignKernels, TheTransformIsTheSameEverywhereAndItsOwnInverse) {
  for (const std::size_t n : {16U, 32U, 512U, 1024U, 4096U}) {
    const std::vector<float> values = make_values(Values::kOrdinary, n, 3);
    const float unit = 1 / std::sqrt(static_cast<float>(n / simd::kHadamardLanes));
    std::vector<float> first;
    for (const Kernels* kernels : supported_kernels()) {
      std::vector<float> x = values;
      kernels->hadamard_f32(x.data(), n, unit);
      if (first.empty()) first = x;
      EXPECT_EQ(x, first) << kernels->name;
      EXPECT_NEAR(reference_norm(x.data(), n), reference_norm(values.data(), n), 1e-3);
      kernels->hadamard_f32(x.data(), n, unit);
      for (std::size_t i = 0; i < n; ++i) ASSERT_NEAR(x[i], values[i], 1e-4F);
    }
    float column = 0;  // the first row is the sum of all
    for (std::size_t i = 5; i < n; i += simd::kHadamardLanes) column += values[i];
    EXPECT_NEAR(first[5], column * unit, 1e-3F);
  }
}

}  // namespace
}  // namespace srvdb::testing
