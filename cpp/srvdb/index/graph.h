// A navigable graph over the rows of one generation: a single flat layer of directed links, walked
// on 8-bit codes by best-first search (graph_search.h) and grown by GraphBuilder (graph_build.h).
//
// Node n is row n. A node is {crc u32, degree u32, ids u32 × bound} with bound = 2·m (graph_file.h
// has the bytes); links only, the codes lie apart (rows.h). Nodes live in segments of 65,536:
// pieces of a mapped read-only image, or owned, zeroed, huge-page advised memory. Rows below
// linked() have their links; rows above are not reachable and must be scanned by the caller.
//
// Threads: any number of readers without locks while one thread changes links. Ids and degrees are
// relaxed atomics; linked() is read with acquire and set with release after the nodes below it are
// complete. A reader sees a link list in some mixture of its states before and after a change;
// every id in it is a row, and ids at or above the reader's limit are to be skipped.
//
// Damage: a mapped node is compared with its CRC when first touched (a bit remembers it), and ids
// are bounds-checked by whoever follows them. Nothing here throws on damage: sound() says so.
#pragma once

#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "srvdb/base/large_memory.h"
#include "srvdb/base/prefetch.h"
#include "srvdb/base/types.h"
#include "srvdb/distance/metric.h"
#include "srvdb/index/intrinsic_dimension.h"
#include "srvdb/index/segment_memory.h"

namespace srvdb {

struct GraphParams {
  std::uint32_t m = 16;                 // half the degree bound, kMinM..kMaxM
  std::uint32_t ef_construction = 200;  // candidates examined for a new row
  Metric metric = Metric::kCosine;

  static constexpr std::uint32_t kMinM = 2;
  static constexpr std::uint32_t kMaxM = 128;

  std::uint32_t bound() const noexcept { return 2 * m; }  // ids of a node, at most
  std::size_t node_words() const noexcept { return 2 + std::size_t{bound()}; }
  std::size_t node_bytes() const noexcept { return 4 * node_words(); }
  friend bool operator==(const GraphParams&, const GraphParams&) = default;
};

// Rows of a graph stay below this: a walk marks rows in the top bit. Later rows stay in the tail.
inline constexpr Row kMaxGraphRows = 0x7FFFFFFF;

class Graph {
 public:
  static constexpr unsigned kSegmentBits = 16;
  static constexpr Row kSegmentRows = Row{1} << kSegmentBits;

  // An empty graph in owned memory. Throws Error(kInvalidInput) for parameters out of range.
  // Its segments come from `source`, by default plain memory.
  explicit Graph(const GraphParams& params, std::shared_ptr<SegmentSource> source = nullptr);
  // A graph over `rows` nodes of a mapped image, which must outlive it unchanged (graph_file.h).
  Graph(const GraphParams& params, const std::uint32_t* nodes, Row rows);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  const GraphParams& params() const noexcept { return params_; }
  Row linked() const noexcept { return linked_.load(std::memory_order_acquire); }
  // True when the nodes lie in a mapped image: no builder, and sound() has work to do.
  bool mapped() const noexcept { return !checked_.empty(); }
  // Of the linked rows. Not known under ip, of a few rows, of equal ones, nor from an image without
  // it.
  IntrinsicDimension dimension() const noexcept {
    return dimension_.load(std::memory_order_relaxed);
  }
  // Bytes of owned memory that hold nodes.
  std::size_t memory_bytes() const noexcept;

  // Node of a row below linked(): its words, to be read with load_word().
  const std::uint32_t* node(Row row) const noexcept {
    const std::uint32_t* segment = segments_[row >> kSegmentBits].load(std::memory_order_relaxed);
    return segment + (row & (kSegmentRows - 1)) * node_words_;
  }
  static std::uint32_t load_word(const std::uint32_t* word) noexcept {
    return std::atomic_ref(*const_cast<std::uint32_t*>(word)).load(std::memory_order_relaxed);
  }
  // Ids of a node, at most; below it for a damaged degree too.
  std::uint32_t degree(const std::uint32_t* node) const noexcept {
    const std::uint32_t degree = load_word(node + 1);
    return degree < bound_ ? degree : bound_;
  }
  // The ids of a row's node, as they are now.
  void links(Row row, std::vector<Row>& out) const;
  // Asks for a node and what sound() looks at from memory. A hint.
  void prefetch(Row row) const noexcept {
    prefetch_lines(node(row), node_words_ * sizeof(std::uint32_t));
    if (!checked_.empty()) prefetch_line(&checked_[row / 64]);
  }
  // False when a mapped node is not what was written. True for owned nodes.
  bool sound(Row row, const std::uint32_t* node) const noexcept {
    if (checked_.empty()) return true;
    const std::uint64_t bits = checked_[row / 64].load(std::memory_order_relaxed);
    if ((bits >> (row % 64) & 1) != 0) [[likely]]
      return true;
    return check_node(row, node);
  }

  // --- One writer at a time (GraphBuilder, copy_graph). Owned graphs only.

  // Makes nodes [0, rows) addressable. Throws std::bad_alloc and what the source throws;
  // Error(kInvalidInput) beyond kMaxGraphRows.
  void reserve(Row rows);
  // Replaces the links of a node: at most bound() distinct ids.
  void set_links(Row row, std::span<const Row> ids) noexcept;
  void set_dimension(IntrinsicDimension dimension) noexcept {
    dimension_.store(dimension, std::memory_order_relaxed);
  }
  // Publishes all nodes below `rows`.
  void set_linked(Row rows) noexcept { linked_.store(rows, std::memory_order_release); }

 private:
  bool check_node(Row row, const std::uint32_t* node) const noexcept;

  GraphParams params_;
  std::uint32_t bound_;
  std::size_t node_words_;
  std::atomic<Row> linked_{0};
  std::atomic<IntrinsicDimension> dimension_;
  std::unique_ptr<std::atomic<const std::uint32_t*>[]> segments_;
  std::shared_ptr<SegmentSource> source_;                     // null: plain memory
  std::vector<SegmentMemory> owned_;                          // the writer's
  mutable ZeroedVector<std::atomic<std::uint64_t>> checked_;  // one bit a node; empty: owned
};

// CRC-32C of a node as graph_file.h says: of its row number, then all its words but the first.
std::uint32_t node_crc(Row row, const std::uint32_t* node, std::size_t node_words) noexcept;

}  // namespace srvdb
