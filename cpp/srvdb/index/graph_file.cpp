#include "srvdb/index/graph_file.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"

namespace srvdb {
namespace {

constexpr std::string_view kMagic = "SRVGRPH1";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderUsed = 40;                    // bytes before the header's CRC
constexpr std::size_t kDimensionAt = kHeaderUsed + 4;      // behind it
constexpr std::size_t kDimensionUsed = 8;                  // bytes before its CRC
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;  // given to the sink at a time
static_assert(kGraphHeaderUsed == kDimensionAt + kDimensionUsed + 4);
static_assert(kGraphHeaderBytes % 64 == 0 && kGraphHeaderBytes >= kGraphHeaderUsed);

std::string encode_header(const GraphParams& params, std::uint64_t lineage, Row rows,
                          IntrinsicDimension dimension) {
  std::string out(kMagic);
  put<std::uint32_t>(out, kVersion);
  put<std::uint32_t>(out, static_cast<std::uint32_t>(params.metric));
  put<std::uint64_t>(out, lineage);
  put<std::uint32_t>(out, rows);
  put<std::uint32_t>(out, params.m);
  put<std::uint32_t>(out, params.ef_construction);
  put<std::uint32_t>(out, static_cast<std::uint32_t>(params.node_bytes()));
  put<std::uint32_t>(out, crc32c(out));
  if (dimension.rows() != 0) {
    put(out, dimension.mean());
    put<std::uint32_t>(out, dimension.rows());
    put<std::uint32_t>(out, crc32c(out.data() + kDimensionAt, kDimensionUsed));
  }
  out.resize(kGraphHeaderBytes, '\0');
  return out;
}

[[noreturn]] void fail(ErrorCode code, const std::string& what, const std::string& expected,
                       const std::string& got, std::size_t offset) {
  throw Error(code, what + ": expected " + expected + ", got " + got + " at offset " +
                        std::to_string(offset));
}

IntrinsicDimension read_dimension(ByteSpan bytes, const std::string& what) {
  const ByteSpan all = bytes.subspan(kDimensionAt, kDimensionUsed + 4);
  ByteReader reader(all);
  const auto mean = reader.get<float>();
  const auto rows = reader.get<std::uint32_t>();
  const auto crc = reader.get<std::uint32_t>();
  if (std::all_of(all.begin(), all.end(), [](std::uint8_t byte) { return byte == 0; })) return {};
  if (crc != crc32c(bytes.data() + kDimensionAt, kDimensionUsed)) {
    fail(ErrorCode::kCorruption, what, "a matching checksum of the intrinsic dimension", "another",
         kDimensionAt + kDimensionUsed);
  }
  if (!(mean >= IntrinsicDimension::kLeast && mean <= IntrinsicDimension::kMost)) {
    fail(ErrorCode::kCorruption, what, "an intrinsic dimension of 0.5 to 100", std::to_string(mean),
         kDimensionAt);
  }
  return {mean, rows};
}

// Copies the links of a node that point below `rows`; a builder may be at work.
void copy_links(const Graph& graph, Row row, Row rows, std::vector<Row>& out) {
  const std::uint32_t* const node = graph.node(row);
  const std::uint32_t degree = graph.degree(node);
  out.clear();
  for (std::uint32_t i = 0; i < degree; ++i) {
    const Row id = Graph::load_word(node + 2 + i);
    if (id < rows) out.push_back(id);
  }
}

}  // namespace

std::size_t graph_image_bytes(const GraphParams& params, Row rows) noexcept {
  return kGraphHeaderBytes + std::size_t{rows} * params.node_bytes();
}

GraphImageHeader read_graph_header(ByteSpan bytes, const std::string& what) {
  if (bytes.size() < kGraphHeaderBytes) {
    fail(ErrorCode::kCorruption, what, std::to_string(kGraphHeaderBytes) + " bytes of header",
         std::to_string(bytes.size()), 0);
  }
  ByteReader reader(bytes.first(kHeaderUsed + 4));
  if (as_text(reader.bytes(kMagic.size())) != kMagic) {
    fail(ErrorCode::kCorruption, what, "the magic of a graph", "other bytes", 0);
  }
  const auto version = reader.get<std::uint32_t>();
  const auto metric = reader.get<std::uint32_t>();
  GraphImageHeader header;
  header.lineage = reader.get<std::uint64_t>();
  header.covers_rows = reader.get<std::uint32_t>();
  header.params.m = reader.get<std::uint32_t>();
  header.params.ef_construction = reader.get<std::uint32_t>();
  const auto node_bytes = reader.get<std::uint32_t>();
  const auto crc = reader.get<std::uint32_t>();
  if (crc != crc32c(bytes.data(), kHeaderUsed)) {
    fail(ErrorCode::kCorruption, what, "a matching header checksum", "another", kHeaderUsed);
  }
  if (version != kVersion) {
    fail(ErrorCode::kVersion, what, "graph version " + std::to_string(kVersion),
         std::to_string(version), 8);
  }
  const auto known =
      metric <= 0xFF ? metric_from_byte(static_cast<std::uint8_t>(metric)) : std::nullopt;
  if (!known || header.params.m < GraphParams::kMinM || header.params.m > GraphParams::kMaxM ||
      header.params.ef_construction == 0 || header.covers_rows > kMaxGraphRows ||
      node_bytes != header.params.node_bytes()) {
    fail(ErrorCode::kCorruption, what, "parameters of a graph", "values out of range", 12);
  }
  header.params.metric = *known;
  const std::size_t expected = graph_image_bytes(header.params, header.covers_rows);
  if (bytes.size() != expected) {
    fail(ErrorCode::kCorruption, what, std::to_string(expected) + " bytes",
         std::to_string(bytes.size()), std::min(bytes.size(), expected));
  }
  header.dimension = read_dimension(bytes, what);
  return header;
}

void write_graph_image(const Graph& graph, std::uint64_t lineage, Interrupt* interrupt,
                       const std::function<void(ByteSpan)>& sink) {
  const GraphParams& params = graph.params();
  const Row rows = graph.linked();
  sink(as_byte_span(encode_header(params, lineage, rows, graph.dimension())));
  const std::size_t words = params.node_words();
  const auto at_once =
      static_cast<Row>(std::max<std::size_t>(kPieceBytes / params.node_bytes(), 1));
  std::vector<std::uint32_t> piece;
  std::vector<Row> links;
  for (Row first = 0; first < rows;) {
    check(interrupt);
    const Row last = first + std::min(at_once, rows - first);
    piece.assign(std::size_t{last - first} * words, 0);
    for (Row row = first; row < last; ++row) {
      std::uint32_t* const node = piece.data() + std::size_t{row - first} * words;
      copy_links(graph, row, rows, links);
      node[1] = static_cast<std::uint32_t>(links.size());
      std::copy(links.begin(), links.end(), node + 2);
      node[0] = node_crc(row, node, words);
    }
    sink({reinterpret_cast<const std::uint8_t*>(piece.data()), piece.size() * 4});
    first = last;
  }
}

std::unique_ptr<Graph> open_graph_image(ByteSpan bytes, const std::string& what) {
  const GraphImageHeader header = read_graph_header(bytes, what);
  const std::uint8_t* const nodes = bytes.data() + kGraphHeaderBytes;
  assert(reinterpret_cast<std::uintptr_t>(nodes) % alignof(std::uint32_t) == 0);
  auto graph = std::make_unique<Graph>(header.params, reinterpret_cast<const std::uint32_t*>(nodes),
                                       header.covers_rows);
  graph->set_dimension(header.dimension);
  return graph;
}

std::unique_ptr<Graph> copy_graph(const Graph& graph, Interrupt* interrupt,
                                  std::shared_ptr<SegmentSource> source) {
  const Row rows = graph.linked();
  auto copy = std::make_unique<Graph>(graph.params(), std::move(source));
  copy->reserve(rows);
  std::vector<Row> links;
  for (Row row = 0; row < rows; ++row) {
    if (row % 4096 == 0) check(interrupt);
    const std::uint32_t* const node = graph.node(row);
    const bool sound = graph.sound(row, node);
    if (sound) copy_links(graph, row, kMaxGraphRows, links);
    const bool inside =
        std::all_of(links.begin(), links.end(), [rows](Row id) { return id < rows; });
    if (!sound || (graph.mapped() && !inside)) {
      fail(ErrorCode::kCorruption, "graph", "a matching checksum of node " + std::to_string(row),
           "another", kGraphHeaderBytes + std::size_t{row} * graph.params().node_bytes());
    }
    std::erase_if(links, [rows](Row id) { return id >= rows; });
    copy->set_links(row, links);
  }
  copy->set_dimension(graph.dimension());
  copy->set_linked(rows);
  return copy;
}

}  // namespace srvdb
