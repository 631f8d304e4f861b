// All pairs of codes: the same sums as one pair at a time, on every instruction set.
#include <gtest/gtest.h>

#include <random>

#include "simd/kernel_cases.h"
#include "srvdb/base/aligned.h"

namespace srvdb::testing {
namespace {

TEST(PairKernels, AgreeWithPlainSumsOnEveryInstructionSet) {
  std::mt19937 random(1);
  for (const std::size_t dim : {1, 7, 16, 33, 64, 128, 768}) {
    const std::size_t stride = round_up(dim, 64);
    const std::size_t rows = 13, columns = 150, stored = 300;
    AlignedBuffer<std::uint8_t> codes(stored * stride);
    AlignedBuffer<std::int8_t> narrow(rows * stride);
    for (std::size_t i = 0; i < stored * stride; ++i) {
      codes[i] = static_cast<std::uint8_t>(i % stride < dim ? random() : 0);
    }
    for (std::size_t i = 0; i < rows * stride; ++i) {
      narrow[i] = static_cast<std::int8_t>(random());  // beyond the dimension as well
    }
    std::vector<std::uint32_t> ids(columns);
    for (auto& id : ids) id = static_cast<std::uint32_t>(random() % stored);
    const std::size_t out_stride = round_up(columns, simd::kPairColumns);
    std::vector<std::int32_t> bias(out_stride);
    for (auto& b : bias) b = static_cast<std::int32_t>(random());
    for (const simd::Kernels* kernels : simd::supported_kernels()) {
      for (const int shift : {0, 1}) {
        AlignedBuffer<std::uint8_t> panel(out_stride * stride);
        kernels->pack_pairs(codes.data(), ids.data(), columns, stride, panel.data());
        std::vector<std::int32_t> out(rows * out_stride);
        kernels->pair_keys(narrow.data(), rows, panel.data(), columns, stride, bias.data(), shift,
                           out.data(), out_stride);
        for (std::size_t i = 0; i < rows; ++i) {
          for (std::size_t j = 0; j < columns; ++j) {
            std::int64_t sum = 0;
            for (std::size_t d = 0; d < stride; ++d) {
              sum += narrow[i * stride + d] * codes[ids[j] * stride + d];
            }
            const auto expected = static_cast<std::int32_t>(
                static_cast<std::uint32_t>(bias[j]) - (static_cast<std::uint32_t>(sum) << shift));
            ASSERT_EQ(out[i * out_stride + j], expected)
                << kernels->name << " dim " << dim << " row " << i << " column " << j;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace srvdb::testing
