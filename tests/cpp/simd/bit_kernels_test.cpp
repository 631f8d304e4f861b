// Sets of rows made from codes, and counted, against loops over single codes.
#include "srvdb/simd/bit_kernels.h"

#include <gtest/gtest.h>

#include <bit>

#include "simd/kernel_cases.h"

namespace srvdb::testing {
namespace {

using simd::bit_kernels;
using simd::BitKernels;
using simd::kCodeSetStep;
using simd::Kernels;
using simd::supported_kernels;

constexpr std::size_t kWords = 37;

struct Codes {
  unsigned bits;
  std::vector<std::uint8_t> bytes;

  Codes(unsigned code_bits, std::uint32_t seed, std::uint32_t below) : bits(code_bits) {
    std::mt19937 random(seed);
    bytes.resize(kWords * 8 * bits + 1);  // an odd address: no alignment is promised
    for (std::size_t i = 0; i < kWords * 64; ++i)
      set(i, static_cast<std::uint32_t>(random() % below));
  }
  const std::uint8_t* data() const { return bytes.data() + 1; }
  void set(std::size_t i, std::uint32_t code) {
    if (bits == 4) {
      const unsigned shift = i % 2 * 4;
      bytes[1 + i / 2] =
          static_cast<std::uint8_t>((bytes[1 + i / 2] & ~(15u << shift)) | code << shift);
    } else {
      bytes[1 + i * (bits / 8)] = static_cast<std::uint8_t>(code);
      if (bits == 16) bytes[1 + 2 * i + 1] = static_cast<std::uint8_t>(code >> 8);
    }
  }
  std::uint32_t at(std::size_t i) const {
    if (bits == 4) return bytes[1 + i / 2] >> (i % 2 * 4) & 15u;
    if (bits == 8) return bytes[1 + i];
    return bytes[1 + 2 * i] | static_cast<std::uint32_t>(bytes[1 + 2 * i + 1]) << 8;
  }
  template <typename Wanted>
  std::vector<std::uint64_t> rows(const Wanted& wanted) const {
    std::vector<std::uint64_t> out(kWords);
    for (std::size_t i = 0; i < kWords * 64; ++i) {
      if (wanted(at(i))) out[i / 64] |= std::uint64_t{1} << (i % 64);
    }
    return out;
  }
};

template <typename Check>
void on_every_set(const Check& check) {
  for (const Kernels* kernels : supported_kernels()) {
    SCOPED_TRACE(kernels->name);
    check(bit_kernels(*kernels));
  }
}

TEST(BitKernels, RangesOfCodesOnEveryInstructionSet) {
  for (const unsigned bits : {4u, 8u, 16u}) {
    const std::uint32_t most = (1u << bits) - 1;
    const Codes codes(bits, bits, most + 1);
    const std::uint32_t some = codes.at(77);
    struct Range {
      std::uint32_t low, high;
    };
    for (const Range range : {Range{0, 0}, Range{0, most}, Range{1, most}, Range{some, some},
                              Range{most, most}, Range{most / 3, most / 2}}) {
      const auto expected =
          codes.rows([=](std::uint32_t c) { return c >= range.low && c <= range.high; });
      on_every_set([&](const BitKernels& kernels) {
        std::vector<std::uint64_t> out(kWords);
        kernels.in_range(codes.data(), bits, kWords, range.low, range.high, out.data());
        EXPECT_EQ(out, expected) << bits << " bits, " << range.low << " to " << range.high;
      });
    }
  }
}

TEST(BitKernels, SetsOfCodesOnEveryInstructionSet) {
  for (const unsigned bits : {4u, 8u, 16u}) {
    // Codes beyond the set are in none, as are those of an empty part of it.
    for (const std::size_t steps : {1, 2, 5, 64}) {
      const Codes codes(bits, static_cast<std::uint32_t>(bits + steps), 1u << bits);
      std::mt19937_64 random(steps);
      std::vector<std::uint64_t> set(steps * kCodeSetStep / 64);
      for (std::size_t i = 0; i < set.size(); ++i) {
        if (i / 16 % 3 != 1) set[i] = random() & random();
      }
      const auto expected = codes.rows([&](std::uint32_t c) {
        return c < set.size() * 64 && (set[c / 64] >> (c % 64) & 1) != 0;
      });
      on_every_set([&](const BitKernels& kernels) {
        std::vector<std::uint64_t> out(kWords);
        kernels.in_set(codes.data(), bits, kWords, set.data(), set.size() * 64, out.data());
        EXPECT_EQ(out, expected) << bits << " bits, " << steps << " steps";
      });
    }
  }
}

TEST(BitKernels, AddToWhatIsThere) {
  const Codes codes(8, 3, 256);
  on_every_set([&](const BitKernels& kernels) {
    std::vector<std::uint64_t> out(kWords, 0x8000000000000001u);
    const std::vector<std::uint64_t> nothing(kCodeSetStep / 64);
    kernels.in_range(codes.data(), 8, kWords, 7, 7, out.data());
    kernels.in_set(codes.data(), 8, kWords, nothing.data(), kCodeSetStep, out.data());
    const auto found = codes.rows([](std::uint32_t c) { return c == 7; });
    for (std::size_t w = 0; w < kWords; ++w) EXPECT_EQ(out[w], found[w] | 0x8000000000000001u);
  });
}

TEST(BitKernels, CountBits) {
  std::mt19937_64 random(5);
  std::vector<std::uint64_t> words(kWords);
  for (std::uint64_t& word : words) word = random() & random();
  words[3] = 0;
  words[9] = ~std::uint64_t{0};
  std::size_t expected = 0;
  for (const std::uint64_t word : words) expected += static_cast<std::size_t>(std::popcount(word));
  on_every_set([&](const BitKernels& kernels) {
    EXPECT_EQ(kernels.count(words.data(), words.size()), expected);
    EXPECT_EQ(kernels.count(words.data(), 0), 0u);
  });
}

}  // namespace
}  // namespace srvdb::testing
