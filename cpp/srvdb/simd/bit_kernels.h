// Sets of rows as words of bits: made from the codes of a column (filter/column.h), counted.
//
// Codes have 4, 8 or 16 bits and come one behind the other, of 4 bits the lower half of a byte
// first; the code of row r decides bit r % 64 of word r / 64. Whole words are done: where codes end
// inside of one, the caller fills it up. Nothing else is read or written; no alignment is needed.
// The same bits on every instruction set. Thread-safe; kernels keep no state.
//
// This header is included by translation units compiled for a single instruction set: it must
// define no function.
#pragma once

#include <cstddef>
#include <cstdint>

namespace srvdb::simd {

struct Kernels;

// A set of codes has a bit for each of a multiple of this many.
inline constexpr std::size_t kCodeSetStep = 1024;

struct BitKernels {
  // Adds the rows whose code c is in [low, high], both of which fit the codes.
  void (*in_range)(const std::uint8_t* codes, unsigned code_bits, std::size_t words,
                   std::uint32_t low, std::uint32_t high, std::uint64_t* out) noexcept;
  // Adds the rows whose code c is in a set: c < set_codes, a multiple of kCodeSetStep, and bit
  // c % 64 of set[c / 64] is 1.
  void (*in_set)(const std::uint8_t* codes, unsigned code_bits, std::size_t words,
                 const std::uint64_t* set, std::size_t set_codes, std::uint64_t* out) noexcept;
  // How many bits are 1.
  std::size_t (*count)(const std::uint64_t* bits, std::size_t words) noexcept;
};

// Those to go with a table of kernels (dispatch.h).
const BitKernels& bit_kernels(const Kernels& of) noexcept;
const BitKernels& bit_kernels();  // with the table in use

// Where the build has them.
extern const BitKernels kBaselineBits;
extern const BitKernels kAvx2Bits;
extern const BitKernels kAvx512Bits;

}  // namespace srvdb::simd
