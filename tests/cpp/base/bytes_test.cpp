#include "srvdb/base/bytes.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>

namespace srvdb {
namespace {

TEST(Put, WritesLittleEndianBytes) {
  std::string out;
  put<std::uint32_t>(out, 0x11223344u);
  put<std::uint16_t>(out, 0x5566u);
  EXPECT_EQ(out, std::string("\x44\x33\x22\x11\x66\x55", 6));
}

TEST(PutText, WritesTheLengthAndTheBytes) {
  std::string out;
  put_text(out, std::string("a\0b", 3));
  EXPECT_EQ(out, std::string("\x03\0\0\0a\0b", 7));
}

TEST(LoadAndStore, WorkAtAnyAlignment) {
  std::array<std::uint8_t, 24> raw{};
  for (std::size_t offset = 0; offset < 8; ++offset) {
    store<double>(raw.data() + offset, -1.5);
    EXPECT_EQ(load<double>(raw.data() + offset), -1.5);
  }
}

TEST(ByteReader, ReadsBackWhatWasPut) {
  std::string out;
  put<std::uint8_t>(out, 7);
  put<std::int64_t>(out, -2);
  put_text(out, "id");
  put<float>(out, 0.5f);
  ByteReader reader(as_byte_span(out));
  EXPECT_EQ(reader.get<std::uint8_t>(), 7);
  EXPECT_EQ(reader.get<std::int64_t>(), -2);
  EXPECT_EQ(reader.text(), "id");
  EXPECT_EQ(reader.remaining(), 4u);
  EXPECT_EQ(reader.get<float>(), 0.5f);
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.remaining(), 0u);
}

TEST(ByteReader, StaysFailedAfterAShortRead) {
  const std::string three("abc");
  ByteReader reader(as_byte_span(three));
  EXPECT_EQ(reader.get<std::uint32_t>(), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.get<std::uint8_t>(), 0) << "bytes that were left are not handed out any more";
  EXPECT_TRUE(reader.bytes(1).empty());
  EXPECT_FALSE(reader.ok());
}

TEST(ByteReader, RefusesATextThatIsLongerThanTheBytes) {
  std::string out;
  put<std::uint32_t>(out, 0xFFFFFFFFu);
  out += "abc";
  ByteReader reader(as_byte_span(out));
  EXPECT_TRUE(reader.text().empty());
  EXPECT_FALSE(reader.ok());
}

TEST(ByteReader, TakesZeroBytesFromNothing) {
  ByteReader reader(ByteSpan{});
  EXPECT_TRUE(reader.bytes(0).empty());
  EXPECT_TRUE(reader.ok());
}

}  // namespace
}  // namespace srvdb
