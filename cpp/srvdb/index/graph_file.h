// The graph as an immutable file image, written whole: encoding, and opening a mapped image in
// O(1).
//
// Image, little-endian: a header of kGraphHeaderBytes, zero-padded, then covers_rows nodes of
// node_bytes each (8 + 8·m):
//
//   header  0  8  magic "SRVGRPH1"
//           8  4  version = 1
//          12  4  metric (0 cosine, 1 ip, 2 l2: the numbers of distance/metric.h)
//          16  8  lineage: the database's number for this generation and restore
//          24  4  covers_rows
//          28  4  m
//          32  4  ef_construction
//          36  4  node_bytes
//          40  4  CRC-32C of bytes 0..40
//          44  4  intrinsic dimension of the rows, float32 (intrinsic_dimension.h)
//          48  4  rows that it is the mean of
//          52  4  CRC-32C of bytes 44..52; all three zero: not known
//   node    0  4  CRC-32C of the row number (u32) followed by bytes 4..node_bytes
//           4  4  degree, at most 2·m
//           8  4×2m  ids of neighbours, each below covers_rows; the places from degree on are zero
//
// The CRC of a node covers its number, so a node at the wrong place is found as well. The header
// is checked when the image is opened, a node when first touched (a bit in memory remembers it).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "srvdb/base/bytes.h"
#include "srvdb/base/interrupt.h"
#include "srvdb/index/graph.h"

namespace srvdb {

inline constexpr std::size_t kGraphHeaderBytes = 4096;
inline constexpr std::size_t kGraphHeaderUsed = 56;  // checksums included; the rest is zero

struct GraphImageHeader {
  GraphParams params;
  std::uint64_t lineage = 0;
  Row covers_rows = 0;
  IntrinsicDimension dimension;
};

// Header of an image; throws Error(kCorruption) or Error(kVersion) when it cannot be one, or when
// `bytes` is not exactly as long as the header says. `what` names the file in messages.
GraphImageHeader read_graph_header(ByteSpan bytes, const std::string& what);

// Bytes of the image of `rows` nodes.
std::size_t graph_image_bytes(const GraphParams& params, Row rows) noexcept;

// Gives the image of the first linked() rows to `sink`, piece by piece, in order. Links to rows
// linked later, by a builder at work, are left out. What sink throws passes through; so does
// Error(kInterrupted).
void write_graph_image(const Graph& graph, std::uint64_t lineage, Interrupt* interrupt,
                       const std::function<void(ByteSpan)>& sink);

// A graph over mapped bytes, which must stay mapped and unchanged as long as it lives. Reads the
// header only.
std::unique_ptr<Graph> open_graph_image(ByteSpan bytes, const std::string& what);

// The same graph in owned memory, ready for a builder; every node is checked on the way. Throws
// Error(kCorruption) when one is damaged.
std::unique_ptr<Graph> copy_graph(const Graph& graph, Interrupt* interrupt,
                                  std::shared_ptr<SegmentSource> source = nullptr);

}  // namespace srvdb
