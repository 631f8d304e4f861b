// Integer kernels: exact, on every instruction set, at the extremes of their range.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "simd/kernel_cases.h"
#include "srvdb/base/aligned.h"

namespace srvdb::testing {
namespace {

using simd::CodeKernels;
using simd::Kernels;
using simd::supported_kernels;

struct Codes {
  Codes(std::size_t dim, std::size_t rows, int fill = -1)
      : stride(round_up(dim, 64)), codes(stride * rows), wide(stride), narrow(stride) {
    std::mt19937 random(static_cast<std::uint32_t>(dim));
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t i = 0; i < dim; ++i) {
        codes[r * stride + i] = static_cast<std::uint8_t>(fill < 0 ? random() % 256 : 255);
      }
    }
    for (std::size_t i = 0; i < dim; ++i) {
      wide[i] = static_cast<std::int16_t>(fill < 0 ? static_cast<int>(random() % 700) - 200 : 0);
      narrow[i] =
          static_cast<std::int8_t>(fill < 0 ? static_cast<int>(random() % 256) - 128 : fill);
    }
  }
  std::int32_t l2(std::size_t row) const {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < stride; ++i) {
      const std::int64_t d = codes[row * stride + i] - wide[i];
      sum += d * d;
    }
    return static_cast<std::int32_t>(sum);
  }
  std::int32_t neg_dot(std::size_t row) const {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < stride; ++i) sum += codes[row * stride + i] * narrow[i];
    return static_cast<std::int32_t>(-sum);
  }

  std::size_t stride;
  AlignedBuffer<std::uint8_t> codes;
  AlignedBuffer<std::int16_t> wide;
  AlignedBuffer<std::int8_t> narrow;
};

template <class Expected>
void expect_keys(const CodeKernels& kernels, const void* query, const Codes& data, std::size_t rows,
                 Expected expected) {
  std::vector<std::uint32_t> ids;
  for (std::size_t i = 0; i < rows; ++i) ids.push_back(static_cast<std::uint32_t>(i * 7 % rows));
  for (std::size_t n = 0; n <= rows; ++n) {
    std::vector<std::int32_t> many(n + 1, 1234567), in_order(n + 1, 1234567);
    kernels.many(query, data.codes.data(), data.stride, ids.data(), n, many.data());
    kernels.rows(query, data.codes.data(), data.stride, n, in_order.data());
    for (std::size_t i = 0; i < n; ++i) {
      EXPECT_EQ(many[i], expected(ids[i]));
      EXPECT_EQ(in_order[i], expected(i));
      EXPECT_EQ(kernels.one(query, data.codes.data() + i * data.stride, data.stride), expected(i));
    }
    EXPECT_EQ(many[n], 1234567);
    EXPECT_EQ(in_order[n], 1234567);
  }
}

// `near` against the keys of `many`, for limits that let all, some and none through, with the rows
// that are left asked for on the way.
void expect_near(const CodeKernels& kernels, const void* query, const Codes& data,
                 std::size_t rows) {
  constexpr std::uint64_t kUntouched = 0x1234567812345678;
  std::vector<std::uint32_t> ids;
  for (std::size_t i = 0; i < rows; ++i) ids.push_back(static_cast<std::uint32_t>(i * 5 % rows));
  std::vector<std::int32_t> keys(rows);
  kernels.many(query, data.codes.data(), data.stride, ids.data(), rows, keys.data());
  for (const std::int32_t limit : {INT32_MIN, keys[0] - 1, keys[0], keys[rows / 2], INT32_MAX}) {
    for (std::size_t n = 0; n <= rows; ++n) {
      std::vector<std::uint64_t> expected;
      for (std::size_t i = 0; i < n; ++i) {
        const std::uint32_t upper = static_cast<std::uint32_t>(keys[i]) ^ 0x80000000u;
        if (keys[i] <= limit) expected.push_back(std::uint64_t{upper} << 32 | ids[i] * 2);
      }
      std::vector<std::uint64_t> out(n + 17, kUntouched);
      const std::size_t found = kernels.near(query, data.codes.data(), data.stride, ids.data(), n,
                                             n / 2, rows, limit, out.data());
      EXPECT_EQ(out.back(), kUntouched);
      out.resize(found);
      EXPECT_EQ(out, expected) << n << " rows, limit " << limit;
    }
  }
}

TEST(CodeKernels, NearGivesTheRowsUpToALimitOnEveryInstructionSet) {
  constexpr std::size_t kRows = 38;
  for (const std::size_t dim : ragged_dims()) {
    const Codes data(dim, kRows);
    for (const Kernels* k : supported_kernels()) {
      SCOPED_TRACE(describe(*k, dim, Values::kOrdinary));
      expect_near(k->l2_u8, data.wide.data(), data, kRows);
      expect_near(k->dot_u8s8, data.narrow.data(), data, kRows);
    }
  }
}

TEST(CodeKernels, AreExactOnEveryInstructionSet) {
  constexpr std::size_t kRows = 38;
  for (const std::size_t dim : ragged_dims()) {
    const Codes data(dim, kRows);
    for (const Kernels* k : supported_kernels()) {
      SCOPED_TRACE(describe(*k, dim, Values::kOrdinary));
      expect_keys(k->l2_u8, data.wide.data(), data, kRows,
                  [&](std::size_t row) { return data.l2(row); });
      expect_keys(k->dot_u8s8, data.narrow.data(), data, kRows,
                  [&](std::size_t row) { return data.neg_dot(row); });
    }
  }
}

TEST(CodeKernels, DotCannotOverflowAtTheLargestDimension) {
  for (const int query : {-128, 127}) {
    Codes data(65536, 1, 0);
    for (std::size_t i = 0; i < 65536; ++i) data.narrow[i] = static_cast<std::int8_t>(query);
    for (const Kernels* k : supported_kernels()) {
      EXPECT_EQ(k->dot_u8s8.one(data.narrow.data(), data.codes.data(), data.stride),
                -65536 * 255 * query)
          << k->name;
    }
  }
}

TEST(CodeKernels, L2HoldsUpToTheLargestInteger) {
  Codes data(33025, 1, 0);  // every difference is 255: 33,025 * 65,025 = 2^31 - 1 - 33,022
  for (const Kernels* k : supported_kernels()) {
    EXPECT_EQ(k->l2_u8.one(data.wide.data(), data.codes.data(), data.stride), 33025 * 65025);
  }
}

TEST(Encode, GivesTheSameCodesAndErrorBitsEverywhere) {
  for (const std::size_t dim : ragged_dims()) {
    const auto row = make_values(Values::kOrdinary, dim, 21);
    const simd::EncodeParams params{-2.0f, 64.0f, 255.0f, 1.25, 1.0 / 64, -2.0};
    std::vector<std::uint8_t> first(dim);
    const double error =
        supported_kernels().front()->encode_u8(row.data(), dim, params, first.data());
    double expected = 0;
    for (std::size_t i = 0; i < dim; ++i) {
      const double code = std::clamp(std::nearbyint((row[i] + 2.0f) * 64.0f), 0.0f, 255.0f);
      EXPECT_EQ(first[i], static_cast<std::uint8_t>(code));
      expected += std::pow(row[i] * 1.25 - (code / 64 - 2), 2);
    }
    EXPECT_NEAR(error, expected, 1e-12 * expected);
    for (const Kernels* k : supported_kernels()) {
      std::vector<std::uint8_t> codes(dim + 1, 99);
      EXPECT_EQ(k->encode_u8(row.data(), dim, params, codes.data()), error) << k->name;
      EXPECT_EQ(codes.back(), 99) << "wrote beyond the row";
      codes.pop_back();
      EXPECT_EQ(codes, first) << k->name;
    }
  }
}

// The codes of a query as round_i8 and round_i16 say, one component after another.
template <typename Code>
void expect_rounded(simd::Rounded (*simd::Kernels::*round)(const float*, std::size_t,
                                                           const simd::RoundParams&,
                                                           Code*) noexcept,
                    const simd::RoundParams& params, Values kind) {
  for (const std::size_t dim : ragged_dims()) {
    const auto query = make_values(kind, dim, 22);
    std::vector<Code> expected(dim);
    double error2 = 0;
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < dim; ++i) {
      const double value = static_cast<double>(query[i]) * params.unit;
      const double near = (value - params.shift) * (1 / params.step);
      const double code = std::nearbyint(std::clamp(near, params.low, params.high));
      expected[i] = static_cast<Code>(code);
      error2 += std::pow(value - (params.shift + params.step * code), 2);
      sum += static_cast<std::int64_t>(code);
    }
    const Kernels* const plain = supported_kernels().front();
    std::vector<Code> codes(dim + 1, 99);
    const double bits = (plain->*round)(query.data(), dim, params, codes.data()).error2;
    EXPECT_NEAR(bits, error2, 1e-12 * error2);
    for (const Kernels* k : supported_kernels()) {
      codes.assign(dim + 1, 99);
      const simd::Rounded rounded = (k->*round)(query.data(), dim, params, codes.data());
      EXPECT_EQ(rounded.error2, bits) << k->name;
      EXPECT_EQ(rounded.sum, sum) << k->name;
      EXPECT_EQ(codes.back(), 99) << "wrote beyond the query";
      codes.pop_back();
      EXPECT_EQ(codes, expected) << k->name;
    }
  }
}

TEST(Round, GivesTheSameQueryCodesAndErrorBitsEverywhere) {
  for (const Values kind : kAllValues) {
    expect_rounded(&Kernels::round_i8,
                   {.unit = 1 / 0.7, .shift = 0, .step = 1.0 / 90, .low = -127, .high = 127}, kind);
    expect_rounded(&Kernels::round_i16,
                   {.unit = 1, .shift = -2, .step = 1.0 / 300, .low = -200, .high = 700}, kind);
    expect_rounded(&Kernels::round_i16,
                   {.unit = 1, .shift = 0.3, .step = 0.01, .low = 0, .high = 255}, kind);
  }
}

TEST(Round, HalvesGoToTheEvenCode) {
  const std::vector<float> query{0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F, 3.5F, 126.5F, 127.5F, -500};
  for (const Kernels* k : supported_kernels()) {
    std::vector<std::int8_t> codes(query.size());
    k->round_i8(query.data(), query.size(),
                {.unit = 1, .shift = 0, .step = 1, .low = -127, .high = 127}, codes.data());
    EXPECT_EQ(codes, (std::vector<std::int8_t>{0, 2, 2, 0, -2, -2, 4, 126, 127, -127})) << k->name;
  }
}

TEST(Largest, IsTheMagnitudeFarthestFromZeroWhereverItStands) {
  for (const std::size_t dim : ragged_dims()) {
    auto row = make_values(Values::kOrdinary, dim, 23);
    for (const std::size_t at : {std::size_t{0}, dim / 2, dim - 1}) {
      const float before = std::exchange(row[at], -1e30F);
      for (const Kernels* k : supported_kernels()) {
        EXPECT_EQ(k->largest_f32(row.data(), dim), 1e30F) << k->name << " " << dim;
      }
      row[at] = before;
    }
  }
  for (const Kernels* k : supported_kernels()) EXPECT_EQ(k->largest_f32(nullptr, 0), 0) << k->name;
}

}  // namespace
}  // namespace srvdb::testing
