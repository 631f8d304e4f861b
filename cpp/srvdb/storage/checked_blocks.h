// Which blocks of columns had the right checksum when they were looked at in a transaction.
//
// A key and a transaction's number stand for one value for good, so that its checksum need be
// worked out once for each commit and not at each reading. A table of fixed size: what is noted
// last takes the place of what was there. Any thread, any time. Throws std::bad_alloc when made.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "srvdb/base/large_memory.h"
#include "srvdb/storage/meta_store.h"

namespace srvdb {

class CheckedBlocks {
 public:
  bool has(ColumnKey key, std::uint64_t transaction) const noexcept {
    const std::uint64_t wanted = word(key, transaction);
    return wanted != 0 && words_[place(key)].load(std::memory_order_relaxed) == wanted;
  }
  void note(ColumnKey key, std::uint64_t transaction) noexcept {
    words_[place(key)].store(word(key, transaction), std::memory_order_relaxed);
  }
  void forget() noexcept {
    for (std::atomic<std::uint64_t>& word : words_) word.store(0, std::memory_order_relaxed);
  }

 private:
  static constexpr std::size_t kSlots = 16384;
  static constexpr unsigned kFieldBits = 14, kChunkBits = 18;  // the rest is the transaction's

  // 0: such a key is not noted. Transactions 2^32 commits apart look alike.
  static std::uint64_t word(ColumnKey key, std::uint64_t transaction) noexcept {
    if (key.field >> kFieldBits != 0 || key.chunk >> kChunkBits != 0) return 0;
    return transaction << (kFieldBits + kChunkBits) | std::uint64_t{key.field} << kChunkBits |
           key.chunk;
  }
  // Blocks of one field do not come into each other's way.
  static std::size_t place(ColumnKey key) noexcept {
    return (key.field * 0x9E3779B1U + key.chunk) % kSlots;
  }

  ZeroedVector<std::atomic<std::uint64_t>> words_ =
      ZeroedVector<std::atomic<std::uint64_t>>(kSlots);
};

}  // namespace srvdb
