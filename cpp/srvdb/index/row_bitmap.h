// A set of rows that never changes: the retired ("dead") rows of a View, the rows that match a
// filter, the rows that a search leaves out.
//
// Chunks of 65,536 rows, 8 KiB each, shared between versions: with_rows() and the set operations
// copy only the chunks they change, and a chunk without a member costs one null pointer, so a View
// with few dead rows is cheap to make and to keep. Immutable after construction, hence safe to read
// from any thread; copying a RowBitmap copies one pointer for each 65,536 rows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "srvdb/base/types.h"

namespace srvdb {

class RowBitmap {
 public:
  static constexpr unsigned kChunkBits = 16;
  static constexpr std::size_t kChunkRows = std::size_t{1} << kChunkBits;

  RowBitmap() = default;  // the empty set
  // The rows whose bits are set; row r is bit r % 64 of words[r / 64]. Throws std::bad_alloc.
  static RowBitmap from_words(std::span<const std::uint64_t> words);

  bool test(Row row) const noexcept {
    const std::size_t chunk = row >> kChunkBits;
    if (chunk >= chunks_.size() || !chunks_[chunk]) return false;
    const std::size_t bit = row & (kChunkRows - 1);
    return (chunks_[chunk]->words[bit / 64] >> (bit % 64) & 1) != 0;
  }
  // Members among rows [64 * index, 64 * index + 64), lowest row in the lowest bit.
  std::uint64_t word(std::size_t index) const noexcept {
    const std::size_t chunk = index / kWords;
    if (chunk >= chunks_.size() || !chunks_[chunk]) return 0;
    return chunks_[chunk]->words[index % kWords];
  }
  // The kChunkRows / 64 words of the index-th chunk of rows; null: it has no member.
  const std::uint64_t* chunk_words(std::size_t index) const noexcept {
    const Chunk* const found = chunk(index);
    return found != nullptr ? found->words.data() : nullptr;
  }
  // word(first) and on, as many as there is room for.
  void copy_words(std::size_t first, std::span<std::uint64_t> out) const noexcept;
  // Number of members.
  std::size_t count() const noexcept { return count_; }
  // Number of members in [first, last).
  std::size_t count(Row first, Row last) const;
  bool empty() const noexcept { return count_ == 0; }
  std::vector<Row> rows() const;  // the members, ascending

  // This set and the given rows, in any order, repeats allowed. Throws std::bad_alloc.
  RowBitmap with_rows(std::span<const Row> rows) const;
  // This set without the given rows.
  RowBitmap without_rows(std::span<const Row> rows) const;
  // The rows of this set that are in the other, too; that are not in it; those of either.
  RowBitmap operator&(const RowBitmap& other) const;
  RowBitmap operator-(const RowBitmap& other) const;
  RowBitmap operator|(const RowBitmap& other) const;
  // This set and every row below `rows` that is not among `kept`: what a search leaves out that is
  // to find nothing but those.
  RowBitmap with_all_but(const RowBitmap& kept, Row rows) const;
  // (*this - other).count(), nothing made.
  std::size_t count_without(const RowBitmap& other) const;
  // That both are the same set made once: cheap, and false for some equal sets.
  bool shares_all(const RowBitmap& other) const noexcept { return chunks_ == other.chunks_; }
  // Memory of the chunks, those shared with others too.
  std::size_t memory_bytes() const noexcept;

 private:
  static constexpr std::size_t kWords = kChunkRows / 64;
  struct Chunk {
    std::array<std::uint64_t, kWords> words{};
    std::size_t count = 0;
  };
  using ChunkPointer = std::shared_ptr<const Chunk>;

  RowBitmap changed(std::span<const Row> rows, bool member) const;
  const Chunk* chunk(std::size_t number) const noexcept {
    return number < chunks_.size() ? chunks_[number].get() : nullptr;
  }
  // Makes the chunk of the words that word_at(0..) gives; null when it is empty.
  template <typename WordAt>
  static ChunkPointer make_chunk(WordAt&& word_at);
  void push_back(ChunkPointer chunk);

  std::vector<std::shared_ptr<const Chunk>> chunks_;
  std::size_t count_ = 0;
};

}  // namespace srvdb
