// One bit a row, set once: "this row's checksum has been verified". Grows by itself.
//
// Chunks of 1,048,576 rows are made when first touched, and take memory where they are, as does
// the table of them. Thread-safe; relaxed atomics,
// because a set bit guards nothing but repeated work.
#pragma once

#include <atomic>
#include <cstdint>

#include "srvdb/base/large_memory.h"
#include "srvdb/base/types.h"

namespace srvdb {

class VerifiedRows {
 public:
  VerifiedRows();
  ~VerifiedRows();
  VerifiedRows(const VerifiedRows&) = delete;
  VerifiedRows& operator=(const VerifiedRows&) = delete;

  // The 64 bits of rows [64 * word, 64 * word + 64), least significant first.
  std::uint64_t word(std::uint32_t word) const noexcept {
    const Chunk* chunk = chunks_[word / kWords].load(std::memory_order_acquire);
    return chunk == nullptr ? 0 : chunk->words[word % kWords].load(std::memory_order_relaxed);
  }
  bool test(Row row) const noexcept { return (word(row / 64) >> (row % 64) & 1) != 0; }

  void set_word(std::uint32_t word, std::uint64_t bits);  // ors the bits in; may throw bad_alloc
  void set_range(Row first, Row count);
  void clear_from(Row first) noexcept;  // not beside set_* on the same rows

 private:
  static constexpr std::uint32_t kWords = 16384;  // of 64 rows: a chunk of 128 KiB
  static constexpr std::uint32_t kChunks = 4096;
  struct Chunk {
    ZeroedVector<std::atomic<std::uint64_t>> words =
        ZeroedVector<std::atomic<std::uint64_t>>(kWords);
  };
  ZeroedVector<std::atomic<Chunk*>> chunks_;
};

}  // namespace srvdb
