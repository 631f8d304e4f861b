#include "srvdb/database/batch_check.h"

#include <gtest/gtest.h>

#include <limits>

#include "fixture.h"
#include "srvdb/database/pending.h"

namespace srvdb {
namespace {

std::vector<std::uint32_t> order_of(const Batch& batch) {
  return sort_ids(batch.ids.size(), batch.ids.data());
}

struct Case {
  std::vector<std::string_view> ids = {"a", "b", "c"};
  std::vector<std::string_view> metadata;
  std::vector<float> rows = std::vector<float>(12, 1.0f);
  Batch batch() const { return {ids, rows.data(), 4, metadata, 100}; }
};

std::string refusal(const Case& c, ErrorCode expected) {
  std::string message;
  EXPECT_EQ(code_of(
                [&] {
                  check_batch(c.batch());
                  check_finite(c.batch());
                  check_duplicates(c.batch(), order_of(c.batch()), false);
                },
                &message),
            expected);
  return message;
}

TEST(BatchCheckTest, NamesTheItemCountedFromTheCallersFirstOne) {
  Case c;
  c.ids[1] = "";
  EXPECT_NE(refusal(c, ErrorCode::kInvalidInput).find("item 101: "), std::string::npos);
  c = {};
  c.rows[9] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(refusal(c, ErrorCode::kInvalidInput).find("item 102: component 1"), std::string::npos);
  c = {};
  c.metadata = {"{}", "[]", ""};
  EXPECT_NE(refusal(c, ErrorCode::kInvalidInput).find("item 101: metadata"), std::string::npos);
  c = {};
  c.ids[2] = "a";
  EXPECT_NE(refusal(c, ErrorCode::kDuplicateId).find("item 102: id 'a'"), std::string::npos);
}

TEST(BatchCheckTest, RefusesWhatNoDatabaseTakes) {
  Case c;
  c.metadata = {"{}"};
  refusal(c, ErrorCode::kInvalidInput);
  c = {};
  const std::string longest(kMaxIdBytes, 'x');
  const std::string longer(kMaxIdBytes + 1, 'x');
  c.ids[0] = longest;
  check_batch(c.batch());
  c.ids[0] = longer;
  refusal(c, ErrorCode::kInvalidInput);
  const std::string huge = "{\"a\":\"" + std::string(kMaxMetadataBytes, 'x') + "\"}";
  c = {};
  c.metadata = {"", "", huge};
  refusal(c, ErrorCode::kInvalidInput);
  Batch batch = c.batch();
  batch.dim = kMaxDimension + 1;
  EXPECT_EQ(code_of([&] { check_batch(batch); }), ErrorCode::kDimension);
}

TEST(BatchCheckTest, ABatchHasLimitsOfRowsAndBytes) {
  const std::vector<std::string_view> many(kMaxBatchRows + 1, "x");
  EXPECT_EQ(code_of([&] { check_batch({many, nullptr, 1, {}}); }), ErrorCode::kInvalidInput);
  const std::vector<std::string_view> wide(kMaxBatchBytes / (kMaxDimension * sizeof(float)), "x");
  EXPECT_EQ(code_of([&] {
              check_batch({wide, nullptr, kMaxDimension, {}});
            }),
            ErrorCode::kInvalidInput);  // the ids are beyond it
}

TEST(BatchCheckTest, OfEqualIdsTheLastIsKeptWithItsRowAndText) {
  Case c;
  c.ids = {"a", "b", "a"};
  c.metadata = {"{\"n\":0}", "{\"n\":1}", "{\"n\":2}"};
  for (std::size_t i = 0; i < 12; ++i) c.rows[i] = static_cast<float>(i);
  const std::vector<bool> drop = check_duplicates(c.batch(), order_of(c.batch()), true);
  EXPECT_EQ(drop, (std::vector<bool>{true, false, false}));
  const KeptItems kept(c.batch(), drop);
  ASSERT_EQ(kept.batch().ids.size(), 2u);
  EXPECT_EQ(kept.batch().ids[1], "a");
  EXPECT_EQ(kept.batch().metadata[1], "{\"n\":2}");
  EXPECT_EQ(kept.batch().rows[4], 8.0f);
}

}  // namespace
}  // namespace srvdb
