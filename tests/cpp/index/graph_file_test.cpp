// The graph's image: what was written is what is read, and damage is reported, never followed.
#include "srvdb/index/graph_file.h"

#include <gtest/gtest.h>

#include <random>

#include "index/index_cases.h"
#include "simd/kernel_cases.h"
#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"

namespace srvdb::testing {
namespace {

constexpr std::size_t kDim = 12;

const TestGraph& sample() {
  static const TestGraph data(clustered(2000, kDim, 1, 1, 1), kDim, Metric::kCosine, 2,
                              {.m = 8, .ef_construction = 60});
  return data;
}

// An image where a mapping would have it: aligned.
struct Image {
  explicit Image(const std::string& from) : bytes(from.size()) {
    std::copy(from.begin(), from.end(), bytes.data());
  }
  ByteSpan span() const { return {bytes.data(), bytes.size()}; }
  AlignedBuffer<std::uint8_t> bytes;
};

GraphResult search(const Graph& graph, Row r, const RowBitmap* excluded = nullptr) {
  const TestGraph& data = sample();
  return graph_search(graph, data.rows.view(), data.codes_view(), data.quantizer, data.rows.at(r),
                      {.k = 10, .ef = 50, .excluded = excluded, .way = SearchWay::kWalk});
}

RowBitmap all_but_every_fifth() {
  std::vector<Row> rows;
  for (Row r = 0; r < 2000; ++r) {
    if (r % 5 != 0) rows.push_back(r);
  }
  return RowBitmap().with_rows(rows);
}

TEST(GraphFile, AMappedGraphAnswersLikeTheOneThatWasWritten) {
  const Image image(sample().image());
  const GraphImageHeader header = read_graph_header(image.span(), "test");
  EXPECT_EQ(header.lineage, 7u);
  EXPECT_EQ(header.covers_rows, 2000u);
  EXPECT_EQ(header.params, sample().graph->params());
  EXPECT_EQ(image.span().size(), graph_image_bytes(header.params, 2000));
  const auto graph = open_graph_image(image.span(), "test");
  EXPECT_TRUE(graph->mapped());
  EXPECT_EQ(graph->memory_bytes(), 0u);
  for (Row r = 0; r < 2000; r += 13) {
    EXPECT_EQ(search(*graph, r).rows, search(*sample().graph, r).rows);
  }
}

TEST(GraphFile, ACopyGrowsIntoTheGraphThatGrewInOnePiece) {
  const auto values = clustered(1500, kDim, 1, 1, 2);
  TestGraph half(values, kDim, Metric::kL2, 0);
  half.link(512, 1);
  const Image image(half.image());
  half.graph = copy_graph(*open_graph_image(image.span(), "test"), nullptr);
  EXPECT_FALSE(half.graph->mapped());
  EXPECT_EQ(half.graph->linked(), 512u);
  half.link(1500, 2);
  EXPECT_EQ(half.image(), TestGraph(values, kDim, Metric::kL2, 1).image());
}

TEST(GraphFile, AnEmptyGraphHasAnImage) {
  const Graph empty({.m = 4});
  std::string bytes;
  write_graph_image(empty, 1, nullptr, [&](ByteSpan piece) { bytes += as_text(piece); });
  const Image image(bytes);
  EXPECT_EQ(open_graph_image(image.span(), "test")->linked(), 0u);
}

TEST(GraphFile, EveryFlippedHeaderByteIsRefused) {
  const std::string good = sample().image();
  for (std::size_t at = 0; at < kGraphHeaderUsed; ++at) {
    Image image(good);
    image.bytes[at] ^= 0x10;
    EXPECT_THROW(read_graph_header(image.span(), "test"), Error) << "byte " << at;
  }
}

TEST(GraphFile, AnImageWithoutTheIntrinsicDimensionIsReadAsOneThatDoesNotKnowIt) {
  Image image(sample().image());
  EXPECT_EQ(read_graph_header(image.span(), "test").dimension.mean(),
            sample().graph->dimension().mean());
  EXPECT_GT(sample().graph->dimension().rows(), 0u);
  std::fill(image.bytes.data() + 44, image.bytes.data() + 56, std::uint8_t{0});
  const auto graph = open_graph_image(image.span(), "test");
  EXPECT_EQ(graph->dimension().rows(), 0u);
  EXPECT_EQ(search(*graph, 5).rows.size(), 10u);
  for (std::size_t at = 44; at < 56; ++at) {
    image.bytes[at] = 0x80;
    EXPECT_THROW(read_graph_header(image.span(), "test"), Error) << "byte " << at;
    image.bytes[at] = 0;
  }
}

TEST(GraphFile, AWrongLengthIsRefused) {
  const std::string good = sample().image();
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{43}, std::size_t{4095}, std::size_t{4096}, good.size() - 1}) {
    EXPECT_THROW(read_graph_header(Image(good.substr(0, size)).span(), "test"), Error) << size;
  }
  EXPECT_THROW(read_graph_header(Image(good + "x").span(), "test"), Error);
}

TEST(GraphFile, ANewerVersionIsToldFromDamage) {
  Image image(sample().image());
  store<std::uint32_t>(image.bytes.data() + 8, 2);
  store<std::uint32_t>(image.bytes.data() + 40, crc32c(image.bytes.data(), 40));
  try {
    read_graph_header(image.span(), "file g");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kVersion);
    EXPECT_NE(std::string(error.what()).find("file g"), std::string::npos);
  }
}

// Each search over damaged nodes says so or gives the answer of the sound graph.
TEST(GraphFile, FlippedBytesNeverCrashOrChangeAnAnswer) {
  const std::string good = sample().image();
  const RowBitmap most = all_but_every_fifth();
  std::vector<GraphResult> truth[2];
  for (Row r = 0; r < 2000; r += 97) {
    truth[0].push_back(search(*sample().graph, r));
    truth[1].push_back(search(*sample().graph, r, &most));
  }
  std::mt19937 random(3);
  std::size_t reported[2] = {};
  for (int round = 0; round < 300; ++round) {
    Image image(good);
    const int flips = round % 3 == 0 ? 200 : 1;
    for (int i = 0; i < flips; ++i) {
      const std::size_t nodes = good.size() - kGraphHeaderBytes;
      image.bytes[kGraphHeaderBytes + random() % nodes] ^=
          static_cast<std::uint8_t>(1 + random() % 255);
    }
    const auto graph = open_graph_image(image.span(), "test");
    const std::size_t among = round % 2;
    for (Row r = 0; r < 2000; r += 97) {
      const GraphResult result = search(*graph, r, among != 0 ? &most : nullptr);
      if (result.end == WalkEnd::kDamaged) {
        EXPECT_TRUE(result.rows.empty());
        ++reported[among];
      } else {
        ASSERT_EQ(result.rows, truth[among][r / 97].rows);
      }
    }
    if (round < 20) {
      EXPECT_THROW(copy_graph(*graph, nullptr), Error);
    }
  }
  EXPECT_GT(reported[0], 250u);
  EXPECT_GT(reported[1], 250u);
}

TEST(GraphFile, ANodeAtTheWrongPlaceIsDamage) {
  Image image(sample().image());
  const std::size_t bytes = sample().graph->params().node_bytes();
  std::uint8_t* nodes = image.bytes.data() + kGraphHeaderBytes;
  for (Row r = 0; r + 1 < 2000; r += 2)
    std::swap_ranges(nodes + r * bytes, nodes + (r + 1) * bytes, nodes + (r + 1) * bytes);
  const auto graph = open_graph_image(image.span(), "test");
  EXPECT_EQ(search(*graph, 5).end, WalkEnd::kDamaged);
}

// Damage that also carries a right checksum (a bug, or malice) still leads nowhere it should not.
TEST(GraphFile, IdsOutOfRangeAreDamageEvenWithARightChecksum) {
  Image image(sample().image());
  const std::size_t words = sample().graph->params().node_words();
  auto* nodes = reinterpret_cast<std::uint32_t*>(image.bytes.data() + kGraphHeaderBytes);
  for (Row r = 0; r < 2000; ++r) {
    nodes[r * words + 2] = 2000 + r;
    nodes[r * words] = node_crc(r, nodes + r * words, words);
  }
  const auto graph = open_graph_image(image.span(), "test");
  EXPECT_EQ(search(*graph, 5).end, WalkEnd::kDamaged);
  EXPECT_THROW(copy_graph(*graph, nullptr), Error);
}

// Of excluded rows a walk reads the links as well.
TEST(GraphFile, DamageOfExcludedNodesIsFoundByAWalkPastThem) {
  const RowBitmap most = all_but_every_fifth();
  const std::size_t words = sample().graph->params().node_words();
  for (const bool right_checksum : {false, true}) {
    Image image(sample().image());
    auto* nodes = reinterpret_cast<std::uint32_t*>(image.bytes.data() + kGraphHeaderBytes);
    for (const Row r : most.rows()) {
      std::uint32_t* const node = nodes + r * words;
      node[2] = right_checksum ? 2000 : node[2] ^ 1;
      if (right_checksum) node[0] = node_crc(r, node, words);
    }
    const auto graph = open_graph_image(image.span(), "test");
    EXPECT_EQ(search(*graph, 5, &most).end, WalkEnd::kDamaged) << right_checksum;
  }
}

TEST(GraphFile, WritingStopsWhenInterrupted) {
  Interrupt interrupt;
  interrupt.stop();
  EXPECT_THROW(write_graph_image(*sample().graph, 1, &interrupt, [](ByteSpan) {}), Error);
}

}  // namespace
}  // namespace srvdb::testing
