// The few types every layer shares.
//
// A *row* is the position of a vector inside one generation of a database: rows are handed out in
// order, never reused, and only compaction renumbers them. Row numbers are 32 bits wide; a
// generation holds at most kMaxRows rows, live and retired ones together.
#pragma once

#include <cstddef>
#include <cstdint>

namespace srvdb {

using Row = std::uint32_t;
using Sequence = std::uint64_t;  // position of a batch in the write-ahead log; 0 means "before any"

inline constexpr Row kNoRow = 0xFFFFFFFFu;
inline constexpr Row kMaxRows = 0xFFFFFF00u;

inline constexpr std::size_t kMaxDimension = 65536;         // components of one vector
inline constexpr std::size_t kMaxIdBytes = 511;             // LMDB's largest key
inline constexpr std::size_t kMaxMetadataBytes = 1u << 20;  // one JSON object
inline constexpr std::size_t kMaxBatchBytes = 64u << 20;    // one atomic batch: rows, ids, metadata
inline constexpr std::size_t kMaxBatchRows = 100'000;       // one atomic batch

}  // namespace srvdb
