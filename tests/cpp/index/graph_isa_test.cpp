// One input gives one graph and one answer on every instruction set.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "index/index_cases.h"
#include "srvdb/base/crc32c.h"
#include "srvdb/index/bulk_build.h"

namespace srvdb::testing {
namespace {

// Checksum of graphs, exact answers and walks, made in this process.
std::uint32_t digest() {
  std::uint32_t crc = 0;
  for (const Metric metric : kMetrics) {
    const TestGraph data(clustered(1200, 37, 3, 0.7, 1), 37, metric);
    crc = crc32c(data.image(), crc);
    const auto bulk = bulk_build(data.graph->params(), data.codes_view(), 1200, {});
    write_graph_image(*bulk, 7, nullptr,
                      [&](ByteSpan piece) { crc = crc32c(as_text(piece), crc); });
    const TestCodes codes(data.rows, metric);
    const auto batch =
        flat_search_batch(data.rows.view(), metric, data.rows.at(0), 40, codes.over({.k = 10}));
    for (Row r = 0; r < 1200; r += 50) {
      auto rows = data.search(data.rows.at(r), {.k = 10}).rows;
      const auto exact = flat_search(data.rows.view(), metric, data.rows.at(r), {.k = 10});
      rows.insert(rows.end(), exact.begin(), exact.end());
      rows.insert(rows.end(), batch[r / 50].begin(), batch[r / 50].end());
      for (const ScoredRow& row : rows) {
        crc = crc32c(&row.score, sizeof(row.score), crc);
        crc = crc32c(&row.row, sizeof(row.row), crc);
      }
    }
  }
  return crc;
}

TEST(GraphDigest, IsPrintedForTheParentProcess) {
  std::printf("\ndigest=%08x\n", digest());
}

// The digest that this program computes when it is told to use other kernels.
std::string digest_with(const std::string& kernels) {
  char self[4096] = {};
  const ssize_t length = ::readlink("/proc/self/exe", self, sizeof(self) - 1);
  if (length <= 0) return "no /proc";
  const std::string command = "SRVDB_SIMD=" + kernels + " '" + self +
                              "' --gtest_filter=GraphDigest.IsPrintedForTheParentProcess";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "r"),
                                                             &::pclose);
  std::string line = "no digest";
  char text[512];
  while (pipe && std::fgets(text, sizeof(text), pipe.get()) != nullptr) {
    if (std::string_view(text).starts_with("digest=")) line = text;
  }
  return line;
}

TEST(Graph, OneInputGivesOneGraphOnEveryInstructionSet) {
  char expected[32];
  std::snprintf(expected, sizeof(expected), "digest=%08x\n", digest());
  for (const simd::Kernels* kernels : simd::supported_kernels()) {
    EXPECT_EQ(digest_with(kernels->name), expected) << kernels->name;
  }
}

}  // namespace
}  // namespace srvdb::testing
