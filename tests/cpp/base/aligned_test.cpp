#include "srvdb/base/aligned.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <new>
#include <utility>

namespace srvdb {
namespace {

TEST(RoundUp, GoesToTheNextMultiple) {
  EXPECT_EQ(round_up(0, 64), 0u);
  EXPECT_EQ(round_up(1, 64), 64u);
  EXPECT_EQ(round_up(64, 64), 64u);
  EXPECT_EQ(round_up(65, 64), 128u);
  EXPECT_EQ(round_up(10, 3), 12u);
}

TEST(AlignedBuffer, StartsOnACacheLineAndIsZero) {
  for (const std::size_t n : {1u, 7u, 16u, 1000u}) {
    AlignedBuffer<float> buffer(n);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % kAlignment, 0u);
    ASSERT_EQ(buffer.size(), n);
    for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(buffer[i], 0.0f);
  }
}

TEST(AlignedBuffer, IsEmptyByDefaultAndAfterResetToZero) {
  AlignedBuffer<std::uint8_t> buffer;
  EXPECT_EQ(buffer.size(), 0u);
  EXPECT_EQ(buffer.data(), nullptr);
  buffer.reset(10);
  buffer.reset(0);
  EXPECT_EQ(buffer.size(), 0u);
}

TEST(AlignedBuffer, ForgetsItsContentsOnReset) {
  AlignedBuffer<int> buffer(4);
  buffer[2] = 9;
  buffer.reset(4);
  EXPECT_EQ(buffer[2], 0);
}

TEST(AlignedBuffer, HandsItsMemoryOverWhenMoved) {
  AlignedBuffer<int> from(4);
  from[1] = 5;
  const int* const at = from.data();
  const AlignedBuffer<int> to(std::move(from));
  EXPECT_EQ(to.data(), at);
  EXPECT_EQ(to[1], 5);
}

TEST(AlignedBuffer, RefusesASizeThatOverflows) {
  AlignedBuffer<double> buffer;
  EXPECT_THROW(buffer.reset(std::numeric_limits<std::size_t>::max() / 4), std::bad_alloc);
}

}  // namespace
}  // namespace srvdb
