// Which blocks of columns had the right checksum when they were looked at in a transaction.
//
// A key and a transaction's number stand for one value for good, so that its checksum need be
// worked out once for each commit and not at each reading. A table of fixed size: what is noted
// last takes the place of what was there. Any thread, any time. Throws std::bad_alloc when made.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "srvdb/storage/meta_store.h"

namespace srvdb {

class CheckedBlocks {
 public:
  // calloc gives a large block untouched, so that what is not used costs nothing.
  CheckedBlocks() : words_(static_cast<std::uint64_t*>(std::calloc(kSlots, sizeof(*words_)))) {
    if (!words_) throw std::bad_alloc();
  }
  bool has(ColumnKey key, std::uint64_t transaction) const noexcept {
    const std::uint64_t wanted = word(key, transaction);
    return wanted != 0 && slot(key).load(std::memory_order_relaxed) == wanted;
  }
  void note(ColumnKey key, std::uint64_t transaction) noexcept {
    slot(key).store(word(key, transaction), std::memory_order_relaxed);
  }
  void forget() noexcept {
    for (std::size_t i = 0; i < kSlots; ++i) {
      std::atomic_ref(words_.get()[i]).store(0, std::memory_order_relaxed);
    }
  }

 private:
  static constexpr std::size_t kSlots = 16384;
  static constexpr unsigned kFieldBits = 14, kChunkBits = 18;  // the rest is the transaction's

  struct Free {
    void operator()(std::uint64_t* words) const noexcept { std::free(words); }
  };

  // 0: such a key is not noted. Transactions 2^32 commits apart look alike.
  static std::uint64_t word(ColumnKey key, std::uint64_t transaction) noexcept {
    if (key.field >> kFieldBits != 0 || key.chunk >> kChunkBits != 0) return 0;
    return transaction << (kFieldBits + kChunkBits) | std::uint64_t{key.field} << kChunkBits |
           key.chunk;
  }
  // Blocks of one field do not come into each other's way.
  std::atomic_ref<std::uint64_t> slot(ColumnKey key) const noexcept {
    return std::atomic_ref(words_.get()[(key.field * 0x9E3779B1U + key.chunk) % kSlots]);
  }

  std::unique_ptr<std::uint64_t, Free> words_;
};

}  // namespace srvdb
