#include "srvdb/storage/verified_rows.h"

#include <algorithm>
#include <memory>

namespace srvdb {

VerifiedRows::VerifiedRows() : chunks_(kChunks) {}

VerifiedRows::~VerifiedRows() {
  for (std::uint32_t i = 0; i < kChunks; ++i) {
    const std::unique_ptr<Chunk> owned(chunks_[i].load(std::memory_order_relaxed));
  }
}

void VerifiedRows::set_word(std::uint32_t word, std::uint64_t bits) {
  std::atomic<Chunk*>& slot = chunks_[word / kWords];
  Chunk* chunk = slot.load(std::memory_order_acquire);
  if (chunk == nullptr) {
    auto fresh = std::make_unique<Chunk>();
    if (slot.compare_exchange_strong(chunk, fresh.get(), std::memory_order_acq_rel)) {
      chunk = fresh.release();
    }
  }
  chunk->words[word % kWords].fetch_or(bits, std::memory_order_relaxed);
}

void VerifiedRows::set_range(Row first, Row count) {
  const std::uint64_t end = std::uint64_t{first} + count;
  for (std::uint64_t row = first; row < end;) {
    const std::uint64_t stop = std::min(end, (row / 64 + 1) * 64);
    const std::uint64_t length = stop - row;
    const std::uint64_t ones = length == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << length) - 1;
    set_word(static_cast<std::uint32_t>(row / 64), ones << (row % 64));
    row = stop;
  }
}

void VerifiedRows::clear_from(Row first) noexcept {
  std::uint32_t word = first / 64;
  for (std::uint32_t i = word / kWords; i < kChunks; ++i) {
    Chunk* chunk = chunks_[i].load(std::memory_order_acquire);
    const std::uint32_t begin = i == first / 64 / kWords ? word % kWords : 0;
    if (chunk == nullptr) continue;
    for (std::uint32_t w = begin; w < kWords; ++w) {
      const bool partial = i * kWords + w == word;
      const std::uint64_t keep = partial ? (std::uint64_t{1} << (first % 64)) - 1 : 0;
      chunk->words[w].fetch_and(keep, std::memory_order_relaxed);
    }
  }
}

}  // namespace srvdb
