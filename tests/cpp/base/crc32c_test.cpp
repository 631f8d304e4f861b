#include "srvdb/base/crc32c.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace srvdb {
namespace {

TEST(Crc32c, MatchesTheVectorsOfRfc3720) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  std::string rising;
  std::string falling;
  for (int i = 0; i < 32; ++i) {
    rising.push_back(static_cast<char>(i));
    falling.push_back(static_cast<char>(31 - i));
  }
  EXPECT_EQ(crc32c(rising), 0x46DD794Eu);
  EXPECT_EQ(crc32c(falling), 0x113FDB5Cu);
}

TEST(Crc32c, OfNothingIsTheSeed) {
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c(std::string_view(), 0x12345678u), 0x12345678u);
}

std::vector<std::uint8_t> random_bytes(std::size_t n) {
  std::mt19937 random(7);
  std::vector<std::uint8_t> out(n);
  for (auto& byte : out) byte = static_cast<std::uint8_t>(random());
  return out;
}

TEST(Crc32c, HardwareEqualsPortableAtEveryLengthAndOffset) {
  const auto bytes = random_bytes(400);
  for (std::size_t offset = 0; offset < 9; ++offset) {
    for (std::size_t length = 0; length + offset <= 130; ++length) {
      const auto* at = bytes.data() + offset;
      ASSERT_EQ(crc32c(at, length, 5), crc32c_portable(at, length, 5)) << offset << ' ' << length;
    }
  }
  EXPECT_EQ(crc32c(bytes.data(), 400), crc32c_portable(bytes.data(), 400));
}

// Long inputs are taken in three stretches side by side, of two sizes.
TEST(Crc32c, HardwareEqualsPortableWhereStretchesBeginAndEnd) {
  const auto bytes = random_bytes(7000);
  for (const std::size_t around : {504u, 1008u, 3072u, 3576u, 6144u, 6648u}) {
    for (std::size_t length = around - 17; length <= around + 17; ++length) {
      ASSERT_EQ(crc32c(bytes.data() + 3, length, 9), crc32c_portable(bytes.data() + 3, length, 9))
          << length;
    }
  }
}

TEST(Crc32c, ContinuesFromASeedAsIfTheBytesWereJoined) {
  const auto bytes = random_bytes(100);
  const std::uint32_t whole = crc32c(bytes.data(), bytes.size());
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    const std::uint32_t head = crc32c(bytes.data(), cut);
    EXPECT_EQ(crc32c(bytes.data() + cut, bytes.size() - cut, head), whole);
  }
}

TEST(Crc32c, NoticesEverySingleFlippedBit) {
  auto bytes = random_bytes(64);
  const std::uint32_t before = crc32c(bytes.data(), bytes.size());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] ^ (1u << (bit % 8)));
    EXPECT_NE(crc32c(bytes.data(), bytes.size()), before);
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] ^ (1u << (bit % 8)));
  }
}

}  // namespace
}  // namespace srvdb
