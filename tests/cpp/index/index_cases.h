// Rows, codes and graphs that the tests of the index layer share.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "srvdb/base/aligned.h"
#include "srvdb/index/code_bounds.h"
#include "srvdb/index/flat.h"
#include "srvdb/index/graph_build.h"
#include "srvdb/index/graph_file.h"
#include "srvdb/index/graph_search.h"

namespace srvdb::testing {

inline constexpr Metric kMetrics[] = {Metric::kCosine, Metric::kIp, Metric::kL2};

// Sanitizers are ten times as slow and look at memory and threads, not at recall: a part will do.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// Vectors with the norm bounds that the storage layer would keep, split between "file" and
// "buffer".
class TestRows {
 public:
  TestRows(std::vector<float> values, std::size_t dim, Row file_rows = kNoRow)
      : values_(std::move(values)), dim_(dim) {
    for (Row r = 0; r < size(); ++r) {
      norms_.push_back(round_up_to_float(check_row(at(r), dim).norm));
    }
    file_rows_ = std::min(file_rows, size());
  }

  Row size() const { return static_cast<Row>(values_.size() / dim_); }
  std::size_t dim() const { return dim_; }
  const float* at(Row r) const { return values_.data() + std::size_t{r} * dim_; }
  RowsView view() const {
    RowsView view;
    view.file = values_.data();
    view.buffer = at(file_rows_);
    view.file_norms = norms_.data();
    view.buffer_norms = norms_.data() + file_rows_;
    view.file_rows = file_rows_;
    view.rows = size();
    view.dim = dim_;
    return view;
  }

 private:
  std::vector<float> values_;
  std::vector<float> norms_;
  std::size_t dim_;
  Row file_rows_ = 0;
};

// Codes of the first `covered` rows with their errors, and room for the notes of scans.
class TestCodes {
 public:
  TestCodes(const TestRows& rows, Metric metric, Row covered = kNoRow)
      : quantizer_(train(rows, metric)), blocks_(bound_blocks(rows.size())) {
    const std::size_t stride = quantizer_.stride();
    const Row n = std::min(covered, rows.size());
    bytes_.reset(std::size_t{n} * stride);
    for (Row r = 0; r < n; ++r) {
      errors_.push_back(quantizer_.encode(rows.at(r), check_row(rows.at(r), rows.dim()).norm,
                                          bytes_.data() + std::size_t{r} * stride));
    }
  }

  static ScalarQuantizer train(const TestRows& rows, Metric metric) {
    std::vector<const float*> at;
    const Row n = std::min<Row>(rows.size(), static_cast<Row>(kTrainRows));
    for (Row r = 0; r < n; ++r) at.push_back(rows.at(r));
    return ScalarQuantizer::train(at, rows.dim(), metric);
  }
  const ScalarQuantizer& quantizer() const { return quantizer_; }
  CodesView view() const {
    CodesView view;
    view.base = bytes_.data();
    view.stride = quantizer_.stride();
    view.rows = static_cast<Row>(errors_.size());
    view.errors = errors_.data();
    view.blocks = blocks_.data();
    return view;
  }
  // The same search over these codes.
  FlatOptions over(FlatOptions options) const {
    options.codes = view();
    options.quantizer = &quantizer_;
    return options;
  }

 private:
  ScalarQuantizer quantizer_;
  AlignedBuffer<std::uint8_t> bytes_;
  std::vector<float> errors_;
  mutable std::vector<std::atomic<std::uint64_t>> blocks_;
};

// Gaussian points around `clusters` centres (1: one cloud), `spread` times as wide as the centres'
// own.
inline std::vector<float> clustered(Row n, std::size_t dim, std::size_t clusters, double spread,
                                    std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> centres(clusters * dim);
  for (float& x : centres) x = normal(random);
  std::vector<float> out(std::size_t{n} * dim);
  for (Row r = 0; r < n; ++r) {
    const std::size_t c = r * clusters / n;  // cluster after cluster, as data often arrive
    for (std::size_t i = 0; i < dim; ++i) {
      out[std::size_t{r} * dim + i] =
          centres[c * dim + i] + static_cast<float>(spread) * normal(random);
    }
  }
  return out;
}

// What a search must return: every eligible row scored in double precision.
inline std::vector<ScoredRow> brute_force(const RowsView& rows, Metric metric, const float* query,
                                          const FlatOptions& options) {
  std::vector<ScoredRow> all;
  const Row last = std::min(options.last, rows.rows);
  for (Row r = options.first; r < last; ++r) {
    if (options.excluded != nullptr && options.excluded->test(r)) continue;
    all.push_back({exact_score(metric, query, rows.row(r), rows.dim), r});
  }
  std::sort(all.begin(), all.end(), better);
  all.resize(std::min(all.size(), options.k));
  return all;
}

// Rows with codes, and a graph over them.
struct TestGraph {
  TestGraph(std::vector<float> values, std::size_t dim, Metric metric, std::size_t threads = 1,
            GraphParams params = {})
      : rows(std::move(values), dim), quantizer(TestCodes::train(rows, metric)) {
    stride = quantizer.stride();
    codes.reset(std::size_t{rows.size()} * stride);
    for (Row r = 0; r < rows.size(); ++r) {
      quantizer.encode(rows.at(r), check_row(rows.at(r), dim).norm,
                       codes.data() + std::size_t{r} * stride);
    }
    params.metric = metric;
    graph = std::make_unique<Graph>(params);
    if (threads != 0) link(rows.size(), threads);
  }

  CodesView codes_view() const {
    CodesView view;
    view.base = codes.data();
    view.stride = stride;
    view.rows = rows.size();
    return view;
  }
  void link(Row last, std::size_t threads, Interrupt* interrupt = nullptr) {
    GraphBuilder(*graph).link(
        codes_view(), quantizer,
        {.last = last, .partial = true, .threads = threads, .interrupt = interrupt});
  }
  GraphResult search(const float* query, const GraphSearchOptions& options) const {
    return graph_search(*graph, rows.view(), codes_view(), quantizer, query, options);
  }
  std::string image() const {
    std::string out;
    write_graph_image(*graph, 7, nullptr, [&](ByteSpan piece) { out += as_text(piece); });
    return out;
  }

  TestRows rows;
  ScalarQuantizer quantizer;
  std::size_t stride = 0;
  AlignedBuffer<std::uint8_t> codes;
  std::unique_ptr<Graph> graph;
};

// Share of the k best, ties counted, that a search returns on average over the queries.
template <typename Search>
double recall(const TestRows& rows, Metric metric, const std::vector<float>& queries, std::size_t k,
              const RowBitmap* excluded, const Search& search) {
  std::size_t right = 0;
  std::size_t wanted = 0;
  for (std::size_t q = 0; q < queries.size() / rows.dim(); ++q) {
    const float* query = queries.data() + q * rows.dim();
    const auto truth = brute_force(rows.view(), metric, query, {.k = k, .excluded = excluded});
    for (const ScoredRow& hit : search(query)) right += hit.score >= truth.back().score ? 1u : 0u;
    wanted += truth.size();
  }
  return static_cast<double>(right) / static_cast<double>(wanted);
}

}  // namespace srvdb::testing
