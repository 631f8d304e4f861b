#include "srvdb/index/graph.h"

#include <string>
#include <utility>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"

namespace srvdb {
namespace {

constexpr std::size_t kMaxSegments = (std::size_t{kMaxGraphRows} >> Graph::kSegmentBits) + 1;

void check_params(const GraphParams& params) {
  if (params.m >= GraphParams::kMinM && params.m <= GraphParams::kMaxM &&
      params.ef_construction >= 1) {
    return;
  }
  throw Error(ErrorCode::kInvalidInput,
              "graph: expected m in " + std::to_string(GraphParams::kMinM) + ".." +
                  std::to_string(GraphParams::kMaxM) +
                  " and ef_construction >= 1, got m = " + std::to_string(params.m) +
                  ", ef_construction = " + std::to_string(params.ef_construction));
}

void store_word(std::uint32_t* word, std::uint32_t value) noexcept {
  std::atomic_ref(*word).store(value, std::memory_order_relaxed);
}

}  // namespace

Graph::Graph(const GraphParams& params, std::shared_ptr<SegmentSource> source)
    : params_(params),
      bound_(params.bound()),
      node_words_(params.node_words()),
      source_(std::move(source)) {
  check_params(params);
  segments_ = std::make_unique<std::atomic<const std::uint32_t*>[]>(kMaxSegments);
}

Graph::Graph(const GraphParams& params, const std::uint32_t* nodes, Row rows)
    : params_(params), bound_(params.bound()), node_words_(params.node_words()) {
  check_params(params);
  const std::size_t segments = (std::size_t{rows} + kSegmentRows - 1) >> kSegmentBits;
  segments_ = std::make_unique<std::atomic<const std::uint32_t*>[]>(segments);
  for (std::size_t s = 0; s < segments; ++s) {
    segments_[s].store(nodes + (s << kSegmentBits) * node_words_, std::memory_order_relaxed);
  }
  checked_ = ZeroedVector<std::atomic<std::uint64_t>>(std::size_t{rows} / 64 + 1);
  prefault(checked_.data(), checked_.size() * sizeof(checked_[0]));
  set_linked(rows);
}

Graph::~Graph() = default;

std::size_t Graph::memory_bytes() const noexcept {
  const std::size_t segments =
      mapped() ? 0 : (std::size_t{linked()} + kSegmentRows - 1) >> kSegmentBits;
  return segments * kSegmentRows * node_words_ * 4;
}

void Graph::reserve(Row rows) {
  assert(!mapped());
  if (rows > kMaxGraphRows) {
    throw Error(ErrorCode::kInvalidInput, "graph: expected at most " +
                                              std::to_string(kMaxGraphRows) + " rows, got " +
                                              std::to_string(rows));
  }
  const std::size_t wanted = (std::size_t{rows} + kSegmentRows - 1) >> kSegmentBits;
  while (owned_.size() < wanted) {
    const std::size_t bytes = std::size_t{kSegmentRows} * node_words_ * 4;
    owned_.push_back(source_ ? source_->make(bytes) : SegmentMemory(bytes));
    segments_[owned_.size() - 1].store(static_cast<const std::uint32_t*>(owned_.back().data()),
                                       std::memory_order_relaxed);
  }
}

void Graph::set_links(Row row, std::span<const Row> ids) noexcept {
  assert(!mapped() && ids.size() <= bound_);
  auto* segment = static_cast<std::uint32_t*>(owned_[row >> kSegmentBits].data());
  std::uint32_t* node = segment + (row & (kSegmentRows - 1)) * node_words_;
  for (std::size_t i = 0; i < ids.size(); ++i) store_word(node + 2 + i, ids[i]);
  store_word(node + 1, static_cast<std::uint32_t>(ids.size()));
}

void Graph::links(Row row, std::vector<Row>& out) const {
  const std::uint32_t* const words = node(row);
  out.resize(degree(words));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = load_word(words + 2 + i);
}

bool Graph::check_node(Row row, const std::uint32_t* node) const noexcept {
  if (node[0] != node_crc(row, node, node_words_) || node[1] > bound_) return false;
  checked_[row / 64].fetch_or(std::uint64_t{1} << (row % 64), std::memory_order_relaxed);
  return true;
}

std::uint32_t node_crc(Row row, const std::uint32_t* node, std::size_t node_words) noexcept {
  return crc32c(node + 1, (node_words - 1) * 4, crc32c(&row, sizeof(row)));
}

}  // namespace srvdb
