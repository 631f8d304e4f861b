#include "srvdb/storage/checked_blocks.h"

#include <gtest/gtest.h>

namespace srvdb::testing {
namespace {

TEST(CheckedBlocks, KnowABlockInTheTransactionItWasNotedIn) {
  CheckedBlocks blocks;
  EXPECT_FALSE(blocks.has({0, 0}, 1));
  blocks.note({0, 0}, 1);
  blocks.note({3, 70}, 9);
  EXPECT_TRUE(blocks.has({0, 0}, 1));
  EXPECT_TRUE(blocks.has({3, 70}, 9));
  EXPECT_FALSE(blocks.has({0, 0}, 2));
  EXPECT_FALSE(blocks.has({3, 71}, 9));
  EXPECT_FALSE(blocks.has({4, 70}, 9));
  blocks.note({0, 0}, 2);
  EXPECT_FALSE(blocks.has({0, 0}, 1));
  blocks.forget();
  EXPECT_FALSE(blocks.has({0, 0}, 2));
}

TEST(CheckedBlocks, NeverTakeOneBlockForAnother) {
  CheckedBlocks blocks;
  for (std::uint32_t field = 0; field < 70; ++field) {
    for (std::uint32_t chunk = 0; chunk < 500; ++chunk) blocks.note({field, chunk}, 5);
  }
  for (std::uint32_t field = 0; field < 70; ++field) {
    for (std::uint32_t chunk = 500; chunk < 600; ++chunk) {
      EXPECT_FALSE(blocks.has({field, chunk}, 5));
    }
  }
  const ColumnKey far{1u << 14, 0};  // beyond what is noted
  blocks.note(far, 5);
  EXPECT_FALSE(blocks.has(far, 5));
  EXPECT_FALSE(blocks.has({0, 1u << 18}, 5));
}

}  // namespace
}  // namespace srvdb::testing
