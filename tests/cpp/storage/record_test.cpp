#include "srvdb/storage/record.h"

#include <gtest/gtest.h>

#include "srvdb/base/error.h"

namespace srvdb {
namespace {

std::string joined(RecordBuilder& builder) {
  std::string out;
  for (const ByteSpan part : builder.parts()) out += as_text(part);
  EXPECT_EQ(out.size(), builder.bytes());
  return out;
}

std::string full_record() {
  const std::vector<std::string_view> ids{"a", "bb", "ccc"};
  const std::vector<std::optional<std::string_view>> texts{"{\"x\":1}", std::nullopt, ""};
  const std::vector<float> floats{1, 2, 3, 4, 5, 6};
  RecordBuilder builder;
  builder.ids(ids);
  builder.targets(ids);
  builder.metadata(texts);
  builder.rows({0, 2, 7, 3, {reinterpret_cast<const std::uint8_t*>(floats.data()), 24}});
  builder.direct_rows({1, 2, 10, 4, 0xABCDu});
  builder.position({"kafka", 99});
  builder.row_mask({true, false, true});
  return joined(builder);
}

TEST(Record, ReadsBackEverySection) {
  const std::string payload = full_record();
  const DecodedRecord record = decode_record(as_byte_span(payload));
  EXPECT_EQ(record.ids, (std::vector<std::string_view>{"a", "bb", "ccc"}));
  EXPECT_EQ(record.targets, record.ids);
  ASSERT_EQ(record.metadata.size(), 3u);
  EXPECT_EQ(record.metadata[0], "{\"x\":1}");
  EXPECT_EQ(record.metadata[1], std::nullopt);
  EXPECT_EQ(record.metadata[2], "");
  ASSERT_EQ(record.rows.size(), 1u);
  EXPECT_EQ(record.rows[0].first_row, 7u);
  EXPECT_EQ(load<float>(record.rows[0].bytes.data() + 20), 6.0f);
  ASSERT_EQ(record.direct_rows.size(), 1u);
  EXPECT_EQ(record.direct_rows[0].crc, 0xABCDu);
  EXPECT_EQ(record.direct_rows[0].count, 4u);
  ASSERT_TRUE(record.position);
  EXPECT_EQ(record.position->source, "kafka");
  EXPECT_EQ(record.position->position, 99u);
  EXPECT_EQ(record.row_mask, (std::vector<bool>{true, false, true}));
}

TEST(Record, EmptyPayloadHasNoSections) {
  const DecodedRecord record = decode_record({});
  EXPECT_FALSE(record.has_ids || record.has_targets || record.has_metadata);
}

// A payload cut anywhere either ends between two sections or is refused.
TEST(Record, CutPayloadIsRefusedAtEveryByte) {
  const std::string payload = full_record();
  int refused = 0;
  for (std::size_t length = 0; length < payload.size(); ++length) {
    try {
      decode_record(as_byte_span(payload).first(length));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption);
      ++refused;
    }
  }
  EXPECT_EQ(refused, static_cast<int>(payload.size()) - 7);
}

TEST(Record, DamagedPayloadNeverReadsOutOfBounds) {
  const std::string payload = full_record();
  for (std::size_t at = 0; at < payload.size(); ++at) {
    for (int mask = 1; mask < 256; ++mask) {
      // A heap copy of the exact size, so that the sanitizer sees any byte too far.
      std::vector<std::uint8_t> damaged(payload.begin(), payload.end());
      damaged[at] = static_cast<std::uint8_t>(damaged[at] ^ mask);
      try {
        const DecodedRecord record = decode_record(damaged);
        std::size_t sum = 0;
        for (const auto id : record.ids) sum += static_cast<std::size_t>(id.front());
        for (const auto& rows : record.rows) {
          EXPECT_EQ(rows.bytes.size(), std::size_t{rows.count} * rows.dimension * 4);
          if (!rows.bytes.empty()) sum += rows.bytes.back();
        }
        EXPECT_GE(sum, 0u);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kCorruption);
      }
    }
  }
}

TEST(Record, RefusesSectionsThatComeTwiceAndUnknownOnes) {
  RecordBuilder twice;
  twice.position({"s", 1});
  twice.position({"s", 2});
  const std::string payload = joined(twice);
  EXPECT_THROW(decode_record(as_byte_span(payload)), Error);
  std::string unknown;
  put<std::uint8_t>(unknown, 200);
  put<std::uint64_t>(unknown, 0);
  EXPECT_THROW(decode_record(as_byte_span(unknown)), Error);
}

}  // namespace
}  // namespace srvdb
