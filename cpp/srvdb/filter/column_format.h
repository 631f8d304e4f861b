// Constants of the bytes of a column's block, cpp/FORMAT.md; for column*.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace srvdb::filter::column_format {

inline constexpr std::uint8_t kVersion = 1;
inline constexpr std::size_t kHeaderBytes = 36;

// Flags of a block.
inline constexpr std::uint8_t kSparse = 1;
inline constexpr std::uint8_t kOneKind = 2;
inline constexpr std::uint8_t kFlags = kSparse | kOneKind;

// The byte that says what a value is.
inline constexpr std::uint8_t kKindMask = 7;
inline constexpr std::uint8_t kTrue = 8;
inline constexpr std::uint8_t kCut = 64;
inline constexpr std::uint8_t kElement = 128;

inline constexpr unsigned kRawNumber = 8;  // bytes; fewer: offsets from a base

// Bytes of an index into so many values.
inline constexpr unsigned index_bytes(std::size_t count) noexcept {
  if (count <= 256) return 1;
  return count <= 65536 ? 2 : 4;
}

}  // namespace srvdb::filter::column_format
