#include "srvdb/database/row_chunks.h"

#include <set>

#include "srvdb/base/bytes.h"

namespace srvdb {
namespace {

// The bits of one chunk as the store keeps them: row r of the chunk is bit r % 8 of byte r / 8.
std::string chunk_bytes(const RowBitmap& rows, std::uint32_t number) {
  std::string bytes;
  bytes.reserve(kChunkBytes);
  const std::size_t first = std::size_t{number} * (kChunkBytes / 8);
  for (std::size_t w = 0; w < kChunkBytes / 8; ++w) put<std::uint64_t>(bytes, rows.word(first + w));
  return bytes;
}

}  // namespace

void put_chunks(MetaStore::WriteTxn& txn, RowSet set, const RowBitmap& rows,
                const std::vector<Row>& changed) {
  std::set<std::uint32_t> chunks;
  for (const Row row : changed) chunks.insert(row >> RowBitmap::kChunkBits);
  for (const std::uint32_t chunk : chunks) {
    txn.put_chunk(set, chunk, as_byte_span(chunk_bytes(rows, chunk)));
  }
}

}  // namespace srvdb
