// The pool of a graph walk in plain code; an instruction set may have its own (isa_avx512.h).
// Included only by kernel translation units (see kernels_impl.h).
#pragma once

#include "srvdb/simd/impl_common.h"
#include "srvdb/simd/kernels.h"

namespace srvdb::simd {
namespace {

SRVDB_INLINE std::uint64_t pool_word(std::int32_t key, std::uint32_t row) noexcept {
  const std::uint32_t upper = static_cast<std::uint32_t>(key) ^ 0x80000000u;
  return std::uint64_t{upper} << 32 | std::uint64_t{row} << 1;
}

struct PlainPool {
  SRVDB_INLINE static std::size_t select(const std::int32_t* keys, const std::uint32_t* ids,
                                         std::size_t n, std::int32_t limit,
                                         std::uint64_t* out) noexcept {
    std::size_t count = 0;
    for (std::size_t i = 0; i < n; ++i) {
      out[count] = pool_word(keys[i], ids[i]);
      count += keys[i] <= limit ? 1u : 0u;
    }
    return count;
  }

  static std::size_t insert(std::uint64_t* pool, std::size_t ef, const std::uint64_t* candidates,
                            std::size_t n) noexcept {
    std::size_t lowest = ef;
    for (std::size_t c = 0; c < n; ++c) {
      const std::uint64_t word = candidates[c];
      if (word > pool[ef - 1]) continue;
      const std::uint64_t* base = pool;  // the place lies in [base, base + length]
      for (std::size_t length = ef - 1; length != 0;) {
        const std::size_t half = (length + 1) / 2;
        base = base[half - 1] < word ? base + half : base;
        length -= half;
      }
      const auto place = static_cast<std::size_t>(base - pool);
      for (std::size_t i = ef - 1; i > place; --i) pool[i] = pool[i - 1];
      pool[place] = word;
      lowest = min_size(lowest, place);
    }
    return lowest;
  }

  static std::size_t open(const std::uint64_t* pool, std::size_t ef, std::size_t from) noexcept {
    while (from < ef && (pool[from] & 1) != 0) ++from;
    return from;
  }

  // Without a branch for an id that is marked, because either is as likely.
  template <class Other>
  SRVDB_INLINE static std::size_t split(std::uint64_t* marks, const std::uint32_t* ids,
                                        std::size_t n, std::uint32_t limit, std::uint32_t* out,
                                        const Other& other, std::uint32_t* largest) noexcept {
    std::size_t count = 0;
    std::uint32_t most = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint32_t id = ids[i];
      most = most < id ? id : most;
      if (id >= limit) continue;  // hardly ever
      const std::uint64_t word = marks[id / 64];
      const auto known = static_cast<std::size_t>(word >> (id % 64) & 1);
      out[count] = id;
      count += 1 - known;
      other(id, known);
      marks[id / 64] = word | std::uint64_t{1} << (id % 64);
    }
    *largest = most;
    return count;
  }
  static std::size_t take(std::uint64_t* marks, const std::uint32_t* ids, std::size_t n,
                          std::uint32_t limit, std::uint32_t* out,
                          std::uint32_t* largest) noexcept {
    const auto drop = [](std::uint32_t, std::size_t) noexcept {};
    return split(marks, ids, n, limit, out, drop, largest);
  }
  static std::size_t part(std::uint64_t* marks, const std::uint32_t* ids, std::size_t n,
                          std::uint32_t limit, std::uint32_t* out, std::uint32_t* others,
                          std::size_t* n_others, std::uint32_t* largest) noexcept {
    std::size_t more = 0;
    const auto keep = [&](std::uint32_t id, std::size_t known) noexcept {
      others[more] = id;
      more += known;
    };
    const std::size_t count = split(marks, ids, n, limit, out, keep, largest);
    *n_others += more;
    return count;
  }
};

template <class Pool>
constexpr PoolKernels make_pool_kernels() {
  return {.insert = &Pool::insert, .open = &Pool::open, .take = &Pool::take, .part = &Pool::part};
}

}  // namespace
}  // namespace srvdb::simd
