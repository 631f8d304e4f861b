#include "srvdb/base/crc32c.h"

#include <array>

#include "srvdb/base/bytes.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#endif

namespace srvdb {
namespace {

constexpr std::array<std::array<std::uint32_t, 256>, 8> make_tables() {
  std::array<std::array<std::uint32_t, 256>, 8> t{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1u) != 0 ? 0x82F63B78u : 0u);
    t[0][i] = c;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t i = 0; i < 256; ++i) t[k][i] = (t[k - 1][i] >> 8) ^ t[0][t[k - 1][i] & 0xFFu];
  }
  return t;
}
constexpr auto kTables = make_tables();

// The instruction takes three cycles and can begin every cycle: so three stretches of equal length
// are taken side by side, and joined. The checksum of a stretch and n zero bytes behind it is
// linear in the stretch's own: a table for each byte of it.
constexpr std::size_t kLongStretch = 1024;
constexpr std::size_t kShortStretch = 168;  // three make 504 bytes: a row of 128 float32, nearly

struct Shift {
  std::array<std::array<std::uint32_t, 256>, 4> table{};
  std::uint32_t operator()(std::uint32_t c) const noexcept {
    return table[0][c & 0xFFu] ^ table[1][(c >> 8) & 0xFFu] ^ table[2][(c >> 16) & 0xFFu] ^
           table[3][c >> 24];
  }
};

constexpr Shift make_shift(std::size_t zero_bytes) {
  std::array<std::uint32_t, 32> of_bit{};
  for (std::size_t bit = 0; bit < 32; ++bit) {
    std::uint32_t c = 1u << bit;
    for (std::size_t i = 0; i < zero_bytes; ++i) c = (c >> 8) ^ kTables[0][c & 0xFFu];
    of_bit[bit] = c;
  }
  Shift out;
  for (std::size_t k = 0; k < 4; ++k) {
    for (std::size_t value = 0; value < 256; ++value) {
      for (std::size_t bit = 0; bit < 8; ++bit) {
        if ((value >> bit & 1u) != 0) out.table[k][value] ^= of_bit[8 * k + bit];
      }
    }
  }
  return out;
}
constexpr Shift kShiftLong = make_shift(kLongStretch);
constexpr Shift kShiftShort = make_shift(kShortStretch);

#if defined(__x86_64__)
#define SRVDB_CRC_TARGET __attribute__((target("sse4.2")))
SRVDB_CRC_TARGET inline std::uint64_t step8(std::uint64_t c, const std::uint8_t* p) noexcept {
  return _mm_crc32_u64(c, load<std::uint64_t>(p));
}
SRVDB_CRC_TARGET inline std::uint64_t step1(std::uint64_t c, const std::uint8_t* p) noexcept {
  return _mm_crc32_u8(static_cast<std::uint32_t>(c), *p);
}
bool has_hardware() noexcept {
  return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
#define SRVDB_CRC_TARGET __attribute__((target("+crc")))
SRVDB_CRC_TARGET inline std::uint64_t step8(std::uint64_t c, const std::uint8_t* p) noexcept {
  return __crc32cd(static_cast<std::uint32_t>(c), load<std::uint64_t>(p));
}
SRVDB_CRC_TARGET inline std::uint64_t step1(std::uint64_t c, const std::uint8_t* p) noexcept {
  return __crc32cb(static_cast<std::uint32_t>(c), *p);
}
bool has_hardware() noexcept {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & (1u << 7)) != 0;  // HWCAP_CRC32
#else
  return true;  // every 64-bit Apple processor has it
#endif
}
#endif

#if defined(SRVDB_CRC_TARGET)
// Takes 3 × `stretch` bytes (a multiple of 8).
SRVDB_CRC_TARGET inline std::uint64_t three_stretches(std::uint64_t c, const std::uint8_t* p,
                                                      std::size_t stretch,
                                                      const Shift& shift) noexcept {
  std::uint64_t c1 = 0;
  std::uint64_t c2 = 0;
  for (const std::uint8_t* const end = p + stretch; p != end; p += 8) {
    c = step8(c, p);
    c1 = step8(c1, p + stretch);
    c2 = step8(c2, p + 2 * stretch);
  }
  const std::uint32_t first = shift(static_cast<std::uint32_t>(c)) ^ static_cast<std::uint32_t>(c1);
  return shift(first) ^ static_cast<std::uint32_t>(c2);
}

SRVDB_CRC_TARGET std::uint32_t crc32c_hardware(const void* data, std::size_t bytes,
                                               std::uint32_t seed) noexcept {
  const auto* p = static_cast<const std::uint8_t*>(data);
  std::uint64_t c = seed ^ 0xFFFFFFFFu;
  for (; bytes >= 3 * kLongStretch; bytes -= 3 * kLongStretch, p += 3 * kLongStretch) {
    c = three_stretches(c, p, kLongStretch, kShiftLong);
  }
  for (; bytes >= 3 * kShortStretch; bytes -= 3 * kShortStretch, p += 3 * kShortStretch) {
    c = three_stretches(c, p, kShortStretch, kShiftShort);
  }
  for (; bytes >= 8; bytes -= 8, p += 8) c = step8(c, p);
  for (; bytes > 0; --bytes, ++p) c = step1(c, p);
  return static_cast<std::uint32_t>(c) ^ 0xFFFFFFFFu;
}
#else
std::uint32_t crc32c_hardware(const void* data, std::size_t bytes, std::uint32_t seed) noexcept {
  return crc32c_portable(data, bytes, seed);
}
bool has_hardware() noexcept {
  return false;
}
#endif

}  // namespace

std::uint32_t crc32c_portable(const void* data, std::size_t bytes, std::uint32_t seed) noexcept {
  const auto* p = static_cast<const std::uint8_t*>(data);
  std::uint32_t c = seed ^ 0xFFFFFFFFu;
  for (; bytes >= 8; bytes -= 8, p += 8) {
    const std::uint64_t x = load<std::uint64_t>(p) ^ c;
    c = 0;
    for (std::size_t k = 0; k < 8; ++k) c ^= kTables[7 - k][(x >> (8 * k)) & 0xFFu];
  }
  for (; bytes > 0; --bytes, ++p) c = (c >> 8) ^ kTables[0][(c ^ *p) & 0xFFu];
  return c ^ 0xFFFFFFFFu;
}

std::uint32_t crc32c(const void* data, std::size_t bytes, std::uint32_t seed) noexcept {
  static const bool hardware = has_hardware();
  return hardware ? crc32c_hardware(data, bytes, seed) : crc32c_portable(data, bytes, seed);
}

}  // namespace srvdb
