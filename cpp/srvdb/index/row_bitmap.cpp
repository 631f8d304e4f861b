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

std::vector<Row> RowBitmap::rows() const {
  std::vector<Row> out;
  out.reserve(count_);
  for (std::size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
    if (!chunks_[chunk]) continue;
    for (std::size_t w = 0; w < kWords; ++w) {
      for (std::uint64_t word = chunks_[chunk]->words[w]; word != 0; word &= word - 1) {
        out.push_back(static_cast<Row>((chunk << kChunkBits) + 64 * w +
                                       static_cast<std::size_t>(__builtin_ctzll(word))));
      }
    }
  }
  return out;
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
