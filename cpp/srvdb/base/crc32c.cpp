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

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t crc32c_hardware(const void* data, std::size_t bytes,
                                                                std::uint32_t seed) noexcept {
  const auto* p = static_cast<const std::uint8_t*>(data);
  std::uint64_t c = seed ^ 0xFFFFFFFFu;
  for (; bytes >= 8; bytes -= 8, p += 8) c = _mm_crc32_u64(c, load<std::uint64_t>(p));
  for (; bytes > 0; --bytes, ++p) c = _mm_crc32_u8(static_cast<std::uint32_t>(c), *p);
  return static_cast<std::uint32_t>(c) ^ 0xFFFFFFFFu;
}
bool has_hardware() noexcept {
  return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) std::uint32_t crc32c_hardware(const void* data, std::size_t bytes,
                                                              std::uint32_t seed) noexcept {
  const auto* p = static_cast<const std::uint8_t*>(data);
  std::uint32_t c = seed ^ 0xFFFFFFFFu;
  for (; bytes >= 8; bytes -= 8, p += 8) c = __crc32cd(c, load<std::uint64_t>(p));
  for (; bytes > 0; --bytes, ++p) c = __crc32cb(c, *p);
  return c ^ 0xFFFFFFFFu;
}
bool has_hardware() noexcept {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & (1u << 7)) != 0;  // HWCAP_CRC32
#else
  return true;  // every 64-bit Apple processor has it
#endif
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
