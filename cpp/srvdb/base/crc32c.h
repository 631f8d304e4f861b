// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, as in RFC 3720 appendix B.4): the checksum
// of every byte the project writes. crc32c("123456789") == 0xE3069283.
//
// Uses the processor's instruction where there is one (SSE4.2, ARMv8 CRC), detected once.
// Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace srvdb {

// Checksum of the bytes; `seed` continues an earlier checksum, so that
// crc32c(ab) == crc32c(b, size_b, crc32c(a, size_a)).
std::uint32_t crc32c(const void* data, std::size_t bytes, std::uint32_t seed = 0) noexcept;

inline std::uint32_t crc32c(std::string_view text, std::uint32_t seed = 0) noexcept {
  return crc32c(text.data(), text.size(), seed);
}

// The table-driven version that the fast one is tested against.
std::uint32_t crc32c_portable(const void* data, std::size_t bytes, std::uint32_t seed = 0) noexcept;

}  // namespace srvdb
