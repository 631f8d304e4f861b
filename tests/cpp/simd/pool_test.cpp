// The pool of a graph walk against a sorted vector.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "simd/kernel_cases.h"
#include "srvdb/base/aligned.h"

namespace srvdb::testing {
namespace {

using simd::Kernels;
using simd::kNoCandidate;
using simd::supported_kernels;

struct Reference {
  explicit Reference(std::size_t ef) : words(ef, kNoCandidate) {}
  void insert(std::uint64_t word) {
    words.insert(std::upper_bound(words.begin(), words.end(), word), word);
    words.pop_back();
  }
  std::vector<std::uint64_t> words;
};

AlignedBuffer<std::uint64_t> empty_pool(std::size_t ef) {
  AlignedBuffer<std::uint64_t> pool(round_up(ef, 8));
  std::fill_n(pool.data(), pool.size(), kNoCandidate);
  return pool;
}

void expect_equal(const AlignedBuffer<std::uint64_t>& pool, const Reference& reference) {
  const std::size_t ef = reference.words.size();
  EXPECT_TRUE(std::equal(reference.words.begin(), reference.words.end(), pool.data()));
  for (std::size_t i = ef; i < pool.size(); ++i) EXPECT_EQ(pool[i], kNoCandidate);
}

TEST(PoolKernels, KeepTheBestInOrderOnEveryInstructionSet) {
  for (const std::size_t ef : {1, 2, 7, 8, 9, 50, 63, 64, 65, 72, 128, 200, 333}) {
    for (const Kernels* k : supported_kernels()) {
      SCOPED_TRACE(std::string(k->name) + ", " + std::to_string(ef) + " places");
      std::mt19937_64 random(ef);
      AlignedBuffer<std::uint64_t> pool = empty_pool(ef);
      Reference reference(ef);
      for (int step = 0; step < 100; ++step) {
        std::vector<std::uint64_t> fresh(random() % 20);
        for (std::uint64_t& word : fresh) word = random() & ~std::uint64_t{1};
        const std::vector<std::uint64_t> before = reference.words;
        for (const std::uint64_t word : fresh) reference.insert(word);
        const std::size_t same = k->pool.insert(pool.data(), ef, fresh.data(), fresh.size());
        expect_equal(pool, reference);
        ASSERT_LE(same, ef);
        EXPECT_TRUE(std::equal(before.begin(), before.begin() + static_cast<std::ptrdiff_t>(same),
                               reference.words.begin()));
      }
    }
  }
}

TEST(PoolKernels, OpenFindsTheFirstUnmarkedOnEveryInstructionSet) {
  for (const std::size_t ef : {1, 8, 13, 100}) {
    for (const Kernels* k : supported_kernels()) {
      AlignedBuffer<std::uint64_t> pool = empty_pool(ef);
      for (std::size_t i = 0; i < ef; ++i) pool[i] = 4 * i;
      for (std::size_t i = 0; i < ef; ++i) {
        for (std::size_t from = 0; from <= i; ++from) {
          EXPECT_EQ(k->pool.open(pool.data(), ef, from), i) << k->name;
        }
        pool[i] |= 1;
      }
      EXPECT_GE(k->pool.open(pool.data(), ef, 0), ef) << k->name;
      EXPECT_GE(k->pool.open(empty_pool(ef).data(), ef, 0), ef) << k->name;
    }
  }
}

TEST(PoolKernels, TakeWhatIsNotMarkedOnEveryInstructionSet) {
  constexpr std::uint32_t kLimit = 1000;
  for (const Kernels* k : supported_kernels()) {
    std::mt19937 random(3);
    for (int round = 0; round < 500; ++round) {
      std::vector<std::uint64_t> marks(kLimit / 64 + 1);
      for (std::uint64_t& word : marks) word = (std::uint64_t{random()} << 32 | random());
      std::vector<std::uint32_t> ids(kLimit + 30);
      std::iota(ids.begin(), ids.end(), 0u);
      std::shuffle(ids.begin(), ids.end(), random);
      ids.resize(random() % 70);
      std::vector<std::uint64_t> marked = marks;
      std::vector<std::uint64_t> parted = marks;
      std::vector<std::uint32_t> expected;
      std::vector<std::uint32_t> rest{7};
      std::uint32_t most = 0;
      for (const std::uint32_t id : ids) {
        most = std::max(most, id);
        if (id >= kLimit) continue;
        if ((marks[id / 64] >> (id % 64) & 1) != 0) {
          rest.push_back(id);
          continue;
        }
        expected.push_back(id);
        marked[id / 64] |= std::uint64_t{1} << (id % 64);
      }
      std::vector<std::uint32_t> out(ids.size() + 16);
      std::uint32_t largest = 77;
      out.resize(k->pool.take(marks.data(), ids.data(), ids.size(), kLimit, out.data(), &largest));
      ASSERT_EQ(out, expected) << k->name;
      ASSERT_EQ(marks, marked) << k->name;
      ASSERT_EQ(largest, most) << k->name;
      std::vector<std::uint32_t> others(1 + ids.size() + 16, 7);
      std::size_t n_others = 1;
      out.resize(ids.size() + 16);
      out.resize(k->pool.part(parted.data(), ids.data(), ids.size(), kLimit, out.data(),
                              others.data() + 1, &n_others, &largest));
      others.resize(n_others);
      ASSERT_EQ(out, expected) << k->name;
      ASSERT_EQ(others, rest) << k->name;
      ASSERT_EQ(parted, marked) << k->name;
      ASSERT_EQ(largest, most) << k->name;
    }
  }
}

}  // namespace
}  // namespace srvdb::testing
