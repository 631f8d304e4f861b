// What the benchmarks of the index share: raw arrays of a set, its codes, a graph image, the clock.
//
// DIR holds raw little-endian arrays: base.f32 (n × dim), queries.f32, gtd.f32 (the distances of
// the true neighbours, g for each query, ascending) and meta.txt: "n dim n_queries metric g", where
// g may be left out with the distances. Distances are squared Euclidean under l2, 1 - cosine under
// cosine, minus the product under ip.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "srvdb/index/graph_file.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/index/segment_memory.h"

namespace srvdb {

inline double seconds_of_this_thread() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

inline std::vector<float> read_floats(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", path.c_str());
    std::exit(2);
  }
  std::vector<float> out(static_cast<std::size_t>(file.tellg()) / sizeof(float));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(out.data()),
            static_cast<std::streamsize>(out.size() * sizeof(float)));
  return out;
}

struct Data {
  explicit Data(const std::string& folder) : name(folder) {
    std::ifstream meta(folder + "/meta.txt");
    std::string metric_text;
    meta >> n >> dim >> n_queries >> metric_text >> truths;
    metric = parse_metric(metric_text);
    base = read_floats(folder + "/base.f32");
    queries = read_floats(folder + "/queries.f32");
    if (truths > 0) truth = read_floats(folder + "/gtd.f32");
  }
  std::string name;
  std::size_t n = 0, dim = 0, n_queries = 0, truths = 0;
  Metric metric = Metric::kL2;
  std::vector<float> base, queries, truth;
};

struct Coded {
  explicit Coded(const Data& data)
      : quantizer(train(data)), memory(data.n * quantizer.stride()), norms(data.n), errors(data.n) {
    auto* at = static_cast<std::uint8_t*>(memory.data());
    for (std::size_t i = 0; i < data.n; ++i) {
      const float* row = data.base.data() + i * data.dim;
      const double norm = check_row(row, data.dim).norm;
      norms[i] = round_up_to_float(norm);
      errors[i] = quantizer.encode(row, norm, at + i * quantizer.stride());
    }
    codes.base = at;
    codes.stride = quantizer.stride();
    codes.rows = static_cast<Row>(data.n);
    codes.errors = errors.data();
    rows.file = data.base.data();
    rows.file_rows = rows.rows = static_cast<Row>(data.n);
    rows.dim = data.dim;
    rows.file_norms = norms.data();
  }
  static ScalarQuantizer train(const Data& data) {
    std::vector<const float*> at;
    for (std::size_t i = 0; i < std::min(data.n, kTrainRows); ++i) {
      at.push_back(data.base.data() + i * data.dim);
    }
    return ScalarQuantizer::train(at, data.dim, data.metric);
  }
  ScalarQuantizer quantizer;
  SegmentMemory memory;
  std::vector<float> norms;
  std::vector<float> errors;
  CodesView codes;
  RowsView rows;
};

// Short codes of either form, where the set may have any, paying or not.
struct ShortCoded {
  ShortCoded(const Data& data, bool wanted) {
    std::vector<const float*> at;
    const std::size_t step = std::max<std::size_t>(1, data.n / Reduction::kSample + 1);
    for (std::size_t i = 0; i < data.n; i += step) {
      sample.push_back(static_cast<Row>(i));
      at.push_back(data.base.data() + i * data.dim);
    }
    if (!wanted) return;
    const double start = seconds_of_this_thread();
    auto reduction = Reduction::train(at, data.dim, data.metric, nullptr);
    if (reduction) {
      std::printf("%s: %zu of %zu components hold %.3f\n", data.name.c_str(),
                  reduction->components(), data.dim, reduction->share());
      coder.emplace(std::move(*reduction));
    } else if (SignQuantizer::possible(data.dim)) {
      coder.emplace(SignQuantizer::train(at, data.dim, data.metric));
    } else {
      return;
    }
    const double trained = seconds_of_this_thread();
    memory = SegmentMemory(data.n * coder->stride());
    ShortCoder::Scratch scratch;
    Reduction::Held held;
    auto* const codes = static_cast<std::uint8_t*>(memory.data());
    for (std::size_t i = 0; i < data.n; ++i) {
      coder->encode(data.base.data() + i * data.dim, scratch, codes + i * coder->stride(), held);
    }
    rows = static_cast<Row>(data.n);
    std::printf("  %zu bytes; %.2f s of training, %.2f of coding\n", coder->stride(),
                trained - start, seconds_of_this_thread() - trained);
  }
  ShortCodes view() const {
    if (!coder) return {};
    return {.codes = {.base = static_cast<const std::uint8_t*>(memory.data()),
                      .stride = coder->stride(),
                      .rows = rows},
            .coder = &*coder};
  }
  std::vector<Row> sample;  // that it was trained on
  std::optional<ShortCoder> coder;
  SegmentMemory memory;
  Row rows = 0;
};

// The image of a graph, in memory of huge pages.
struct Image {
  SegmentMemory memory;
  std::size_t bytes = 0;
  std::unique_ptr<Graph> graph;
};

inline bool load_graph(const std::string& path, Image& image) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return false;
  image.bytes = static_cast<std::size_t>(file.tellg());
  image.memory = SegmentMemory(image.bytes);
  file.seekg(0);
  file.read(static_cast<char*>(image.memory.data()), static_cast<std::streamsize>(image.bytes));
  image.graph =
      open_graph_image({static_cast<const std::uint8_t*>(image.memory.data()), image.bytes}, path);
  return true;
}

// Writes what load_graph() reads.
inline void save_graph(const Graph& graph, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  write_graph_image(graph, 0, nullptr, [&](ByteSpan piece) {
    file.write(reinterpret_cast<const char*>(piece.data()),
               static_cast<std::streamsize>(piece.size()));
  });
}

// The values of name=value arguments after DIR, over the given defaults; leaves the program with a
// message when one is not known.
inline void read_options(int argc, char** argv, std::map<std::string, std::size_t>& options) {
  for (int i = 2; i < argc; ++i) {
    const std::string text = argv[i];
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || !options.contains(text.substr(0, equals))) {
      std::fprintf(stderr, "unknown option %s\n", argv[i]);
      std::exit(2);
    }
    options[text.substr(0, equals)] = std::strtoul(text.c_str() + equals + 1, nullptr, 10);
  }
}

}  // namespace srvdb
