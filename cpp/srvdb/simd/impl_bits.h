// Sets of rows as bits, in plain code, and the table of kernels. Included only by kernel
// translation units (see kernels_impl.h).
//
// An instruction set has a struct with the members of PlainBits: of 64 codes of kBits bits each,
// one bit for each that is in a range, or in a set.
#pragma once

#include "srvdb/simd/bit_kernels.h"
#include "srvdb/simd/impl_common.h"

namespace srvdb::simd {
namespace {

struct PlainBits {
  template <unsigned kBits>
  SRVDB_INLINE static std::uint32_t code(const std::uint8_t* codes, std::size_t i) noexcept {
    if (kBits == 4) return codes[i / 2] >> (i % 2 * 4) & 15u;
    if (kBits == 8) return codes[i];
    return std::uint32_t{codes[2 * i]} | std::uint32_t{codes[2 * i + 1]} << 8;
  }

  struct Range {
    std::uint32_t low;
    std::uint32_t span;
    SRVDB_INLINE Range(std::uint32_t first, std::uint32_t last) noexcept
        : low(first), span(last - first) {}
    template <unsigned kBits>
    SRVDB_INLINE std::uint64_t word(const std::uint8_t* codes) const noexcept {
      constexpr std::uint64_t kGather =
          0x0102040810204080U;  // times 8 bytes of 0 or 1: bits on top
      std::uint8_t bytes[64];
      for (std::size_t i = 0; i < 64; ++i) bytes[i] = code<kBits>(codes, i) - low <= span ? 1 : 0;
      std::uint64_t word = 0;
      for (std::size_t i = 0; i < 8; ++i) {
        std::uint64_t eight;
        __builtin_memcpy(&eight, bytes + 8 * i, 8);
        word |= (eight * kGather >> 56) << (8 * i);
      }
      return word;
    }
  };

  // Of the codes from `first` (a multiple of kCodeSetStep) on, so many as a step has.
  struct Set {
    const std::uint64_t* bits;
    std::uint32_t first;
    SRVDB_INLINE Set(const std::uint64_t* set, std::size_t from) noexcept
        : bits(set + from / 64), first(static_cast<std::uint32_t>(from)) {}
    template <unsigned kBits>
    SRVDB_INLINE std::uint64_t word(const std::uint8_t* codes) const noexcept {
      std::uint64_t word = 0;
      for (std::size_t i = 0; i < 64; ++i) {
        const std::uint32_t c = code<kBits>(codes, i) - first;
        const std::uint64_t bit = c < kCodeSetStep ? bits[c / 64] >> (c % 64) & 1 : 0;
        word |= bit << i;
      }
      return word;
    }
  };

  SRVDB_INLINE static std::size_t ones(std::uint64_t word) noexcept {
    word -= word >> 1 & 0x5555555555555555U;
    word = (word & 0x3333333333333333U) + (word >> 2 & 0x3333333333333333U);
    word = (word + (word >> 4)) & 0x0F0F0F0F0F0F0F0FU;
    return static_cast<std::size_t>(word * 0x0101010101010101U >> 56);
  }
};

template <class Bits>
struct BitKernelsOf {
  template <unsigned kBits, class Test>
  SRVDB_INLINE static void each_word(const Test& test, const std::uint8_t* codes, std::size_t words,
                                     std::uint64_t* out) noexcept {
    for (std::size_t w = 0; w < words; ++w) {
      out[w] |= test.template word<kBits>(codes + w * (kBits * 8));
    }
  }
  template <class Test>
  SRVDB_INLINE static void add(const Test& test, const std::uint8_t* codes, unsigned code_bits,
                               std::size_t words, std::uint64_t* out) noexcept {
    if (code_bits == 4) {
      each_word<4>(test, codes, words, out);
    } else if (code_bits == 8) {
      each_word<8>(test, codes, words, out);
    } else {
      each_word<16>(test, codes, words, out);
    }
  }
  static void in_range(const std::uint8_t* codes, unsigned code_bits, std::size_t words,
                       std::uint32_t low, std::uint32_t high, std::uint64_t* out) noexcept {
    add(typename Bits::Range(low, high), codes, code_bits, words, out);
  }
  static void in_set(const std::uint8_t* codes, unsigned code_bits, std::size_t words,
                     const std::uint64_t* set, std::size_t set_codes, std::uint64_t* out) noexcept {
    for (std::size_t first = 0; first < set_codes; first += kCodeSetStep) {
      std::uint64_t any = 0;
      for (std::size_t w = 0; w < kCodeSetStep / 64; ++w) any |= set[first / 64 + w];
      if (any != 0) add(typename Bits::Set(set, first), codes, code_bits, words, out);
    }
  }
  static std::size_t count(const std::uint64_t* bits, std::size_t words) noexcept {
    std::size_t n = 0;
    for (std::size_t w = 0; w < words; ++w) n += Bits::ones(bits[w]);
    return n;
  }
};

template <class Bits>
constexpr BitKernels make_bit_kernels() {
  using Of = BitKernelsOf<Bits>;
  return {.in_range = &Of::in_range, .in_set = &Of::in_set, .count = &Of::count};
}

}  // namespace
}  // namespace srvdb::simd
