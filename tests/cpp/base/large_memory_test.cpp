#include "srvdb/base/large_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace srvdb {
namespace {

// Whether anything is mapped on the page that an address lies on.
bool is_mapped(std::uintptr_t address) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  void* const start = reinterpret_cast<void*>(address / page * page);
  return ::msync(start, page, MS_ASYNC) == 0 || errno != ENOMEM;
}

TEST(LargeMemory, GivesLargeBlocksBackToTheSystem) {
  std::uintptr_t first = 0;
  {
    LargeVector<char> large(std::size_t{8} << 20, 'x');
    first = reinterpret_cast<std::uintptr_t>(large.data());
    EXPECT_TRUE(is_mapped(first));
  }
  EXPECT_FALSE(is_mapped(first));
}

TEST(LargeMemory, KeepsItsContentsAcrossTheBorderOfLargeBlocks) {
  LargeVector<std::uint32_t> values;
  for (std::uint32_t i = 0; i < 3 * kLargeBytes / sizeof(i); ++i) values.push_back(i);
  const std::uint64_t sum = std::accumulate(values.begin(), values.end(), std::uint64_t{0});
  EXPECT_EQ(sum, std::uint64_t{values.size()} * (values.size() - 1) / 2);
  values.resize(3);
  values.shrink_to_fit();
  EXPECT_EQ(values, (LargeVector<std::uint32_t>{0, 1, 2}));
}

TEST(LargeMemory, RefusesSizesThatOverflow) {
  LargeAllocator<std::uint64_t> allocator;
  EXPECT_THROW(static_cast<void>(allocator.allocate(std::numeric_limits<std::size_t>::max() / 4)),
               std::bad_alloc);
}

// Of a small one after memory of its size has been used and freed, and of a large one.
TEST(LargeMemory, ZeroedElementsBeginAsZeros) {
  for (const std::size_t words : {std::size_t{100}, std::size_t{3} * kLargeBytes}) {
    { const std::vector<std::uint64_t> before(words, ~std::uint64_t{0}); }
    ZeroedVector<std::atomic<std::uint64_t>> marks(words);
    for (const auto& mark : marks) ASSERT_EQ(mark.load(), 0u);
    marks.back() = 7;
    const ZeroedVector<std::atomic<std::uint64_t>> moved = std::move(marks);
    EXPECT_EQ(moved.back().load(), 7u);
  }
  ZeroedVector<std::uint32_t> grown(1, 5);
  for (std::size_t size = 2; size < kLargeBytes; size *= 2) grown.resize(size);
  EXPECT_EQ(std::accumulate(grown.begin(), grown.end(), 0u), 5u);
}

// Of any size and place: what it brings in are zeros, and what was written there stays.
TEST(LargeMemory, PrefaultChangesNothing) {
  constexpr std::size_t kBytes = std::size_t{1} << 20;
  for (const std::size_t bytes :
       {std::size_t{0}, std::size_t{1}, std::size_t{5000}, kZeroedBytes, kBytes - 200}) {
    ZeroedVector<std::uint32_t> values(kBytes / 4);
    values.at(0) = 1;
    values.at(bytes / 4) += 2;
    prefault(values.data() + 25, bytes);
    values.at(bytes / 8) += 3;
    EXPECT_EQ(std::accumulate(values.begin(), values.end(), 0u), 6u) << bytes;
    std::vector<std::uint8_t> used(kBytes, 9);
    prefault(used.data() + 1, bytes);
    EXPECT_EQ(std::count(used.begin(), used.end(), 9), static_cast<std::ptrdiff_t>(kBytes));
  }
}

}  // namespace
}  // namespace srvdb
