#include "srvdb/index/row_bitmap.h"

#include <algorithm>
#include <bit>

namespace srvdb {

std::size_t RowBitmap::count(Row first, Row last) const noexcept {
  std::size_t members = 0;
  for (std::uint64_t row = first; row < last;) {
    const std::size_t chunk = row >> kChunkBits;
    if (chunk >= chunks_.size()) break;
    const std::uint64_t chunk_end = (std::uint64_t{chunk} + 1) << kChunkBits;
    const std::uint64_t end = std::min<std::uint64_t>(last, chunk_end);
    if (chunks_[chunk] && row + kChunkRows == chunk_end && end == chunk_end) {
      members += chunks_[chunk]->count;
    } else if (chunks_[chunk]) {
      for (std::uint64_t at = row; at < end; at = (at / 64 + 1) * 64) {
        std::uint64_t bits = word(at / 64) >> (at % 64);
        const std::uint64_t span = std::min<std::uint64_t>(end - at, 64 - at % 64);
        if (span < 64) bits &= (std::uint64_t{1} << span) - 1;
        members += static_cast<std::size_t>(std::popcount(bits));
      }
    }
    row = end;
  }
  return members;
}

RowBitmap RowBitmap::with_rows(std::span<const Row> rows) const {
  return changed(rows, true);
}

RowBitmap RowBitmap::without_rows(std::span<const Row> rows) const {
  return changed(rows, false);
}

RowBitmap RowBitmap::changed(std::span<const Row> rows, bool member) const {
  RowBitmap out(*this);
  std::vector<std::shared_ptr<Chunk>> fresh(out.chunks_.size());
  for (const Row row : rows) {
    if (out.test(row) == member) continue;
    const std::size_t chunk = row >> kChunkBits;
    if (chunk >= out.chunks_.size()) out.chunks_.resize(chunk + 1);
    if (chunk >= fresh.size()) fresh.resize(chunk + 1);
    if (!fresh[chunk]) {
      fresh[chunk] = out.chunks_[chunk] ? std::make_shared<Chunk>(*out.chunks_[chunk])
                                        : std::make_shared<Chunk>();
      out.chunks_[chunk] = fresh[chunk];
    }
    const std::size_t bit = row & (kChunkRows - 1);
    const std::uint64_t mask = std::uint64_t{1} << (bit % 64);
    fresh[chunk]->words[bit / 64] ^= mask;  // it differed
    if (member) {
      ++fresh[chunk]->count;
      ++out.count_;
    } else {
      --fresh[chunk]->count;
      --out.count_;
    }
  }
  for (auto& chunk : out.chunks_) {
    if (chunk && chunk->count == 0) chunk.reset();
  }
  return out;
}

}  // namespace srvdb
