#include "srvdb/index/row_bitmap.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "srvdb/simd/bit_kernels.h"

namespace srvdb {
namespace {

std::size_t count_bits(std::span<const std::uint64_t> words) {
  return simd::bit_kernels().count(words.data(), words.size());
}

}  // namespace

std::size_t RowBitmap::count(Row first, Row last) const {
  std::size_t members = 0;
  for (std::uint64_t row = first; row < last;) {
    const std::size_t chunk = row >> kChunkBits;
    if (chunk >= chunks_.size()) break;
    const std::uint64_t chunk_end = (std::uint64_t{chunk} + 1) << kChunkBits;
    const std::uint64_t end = std::min<std::uint64_t>(last, chunk_end);
    if (chunks_[chunk] && row + kChunkRows == chunk_end && end == chunk_end) {
      members += chunks_[chunk]->count;
    } else if (chunks_[chunk]) {
      const std::size_t from = row % kChunkRows / 64;
      const std::size_t to = (end - 1) % kChunkRows / 64;  // the last word
      const auto& words = chunks_[chunk]->words;
      members += count_bits(std::span(words).subspan(from, to - from + 1));
      const std::uint64_t before = words[from] & ((std::uint64_t{1} << (row % 64)) - 1);
      const std::uint64_t behind = words[to] & ~(~std::uint64_t{0} >> (63 - (end - 1) % 64));
      members -= static_cast<std::size_t>(std::popcount(before) + std::popcount(behind));
    }
    row = end;
  }
  return members;
}

void RowBitmap::copy_words(std::size_t first, std::span<std::uint64_t> out) const noexcept {
  while (!out.empty()) {
    const std::size_t at = first % kWords;
    const std::span<std::uint64_t> part = out.first(std::min(kWords - at, out.size()));
    if (const Chunk* const from = chunk(first / kWords)) {
      std::copy_n(from->words.data() + at, part.size(), part.begin());
    } else {
      std::fill(part.begin(), part.end(), std::uint64_t{0});
    }
    first += part.size();
    out = out.subspan(part.size());
  }
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

template <typename WordAt>
RowBitmap::ChunkPointer RowBitmap::make_chunk(WordAt&& word_at) {
  auto out = std::make_shared<Chunk>();
  for (std::size_t w = 0; w < kWords; ++w) {
    out->words[w] = word_at(w);
  }
  out->count = count_bits(out->words);
  return out->count != 0 ? out : nullptr;
}

void RowBitmap::push_back(ChunkPointer chunk) {
  if (chunk) count_ += chunk->count;
  chunks_.push_back(std::move(chunk));
}

RowBitmap RowBitmap::from_words(std::span<const std::uint64_t> words) {
  RowBitmap out;
  for (std::size_t first = 0; first < words.size(); first += kWords) {
    const auto part = words.subspan(first, std::min(kWords, words.size() - first));
    const bool any = std::ranges::any_of(part, [](std::uint64_t word) { return word != 0; });
    out.push_back(any ? make_chunk([&](std::size_t w) { return w < part.size() ? part[w] : 0; })
                      : nullptr);
  }
  return out;
}

RowBitmap RowBitmap::operator&(const RowBitmap& other) const {
  RowBitmap out;
  for (std::size_t i = 0; i < std::min(chunks_.size(), other.chunks_.size()); ++i) {
    const Chunk* const a = chunk(i);
    const Chunk* const b = other.chunk(i);
    if (a == nullptr || b == nullptr || a == b) {
      out.push_back(a == nullptr ? nullptr : other.chunks_[i]);
    } else {
      out.push_back(make_chunk([=](std::size_t w) { return a->words[w] & b->words[w]; }));
    }
  }
  return out;
}

RowBitmap RowBitmap::operator-(const RowBitmap& other) const {
  RowBitmap out;
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    const Chunk* const a = chunk(i);
    const Chunk* const b = other.chunk(i);
    if (a == nullptr || b == nullptr) {
      out.push_back(chunks_[i]);
    } else {
      out.push_back(make_chunk([=](std::size_t w) { return a->words[w] & ~b->words[w]; }));
    }
  }
  return out;
}

RowBitmap RowBitmap::operator|(const RowBitmap& other) const {
  RowBitmap out;
  for (std::size_t i = 0; i < std::max(chunks_.size(), other.chunks_.size()); ++i) {
    const Chunk* const a = chunk(i);
    const Chunk* const b = other.chunk(i);
    if (a == nullptr || b == nullptr || a == b) {
      out.push_back(a != nullptr               ? chunks_[i]
                    : i < other.chunks_.size() ? other.chunks_[i]
                                               : nullptr);
    } else {
      out.push_back(make_chunk([=](std::size_t w) { return a->words[w] | b->words[w]; }));
    }
  }
  return out;
}

RowBitmap RowBitmap::with_all_but(const RowBitmap& kept, Row rows) const {
  RowBitmap out;
  const std::size_t bound = (std::size_t{rows} + kChunkRows - 1) / kChunkRows;
  for (std::size_t i = 0; i < std::max(chunks_.size(), bound); ++i) {
    const Chunk* const own = chunk(i);
    const Chunk* const spared = kept.chunk(i);
    out.push_back(make_chunk([&](std::size_t w) {
      const std::size_t first = (i * kWords + w) * 64;
      std::uint64_t word = own != nullptr ? own->words[w] : 0;
      if (first >= rows) return word;
      std::uint64_t others = spared != nullptr ? ~spared->words[w] : ~std::uint64_t{0};
      if (rows - first < 64) others &= (std::uint64_t{1} << (rows - first)) - 1;
      return word | others;
    }));
  }
  return out;
}

std::size_t RowBitmap::count_without(const RowBitmap& other) const {
  std::size_t members = 0;
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    const Chunk* const a = chunk(i);
    const Chunk* const b = other.chunk(i);
    if (a == nullptr) continue;
    if (b == nullptr) {
      members += a->count;
      continue;
    }
    std::array<std::uint64_t, kWords> words;
    for (std::size_t w = 0; w < kWords; ++w) words[w] = a->words[w] & ~b->words[w];
    members += count_bits(words);
  }
  return members;
}

std::size_t RowBitmap::memory_bytes() const noexcept {
  std::size_t bytes = chunks_.capacity() * sizeof(ChunkPointer);
  for (const ChunkPointer& chunk : chunks_) bytes += chunk ? sizeof(Chunk) : 0;
  return bytes;
}

}  // namespace srvdb
