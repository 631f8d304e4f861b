// Exact search alone, without files or Python: milliseconds of one query and queries a second of a
// batch, over float32 rows and over codes, one thread (its processor time), in turns; checks that
// the answers are equal. For tuning; the figures that users see come from
// benchmarks/exact_speed.py.
//
//   srvdb_exact_bench DIR [name=value ...]
//
// DIR holds raw little-endian arrays: base.f32 (n × dim), queries.f32 and meta.txt: "n dim
// n_queries metric". Names: k, reps, one (queries one by one), batch (queries in a batch; 0: none),
// floats (0: over floats only once, to compare answers).
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "srvdb/index/code_bounds.h"
#include "srvdb/index/flat.h"
#include "srvdb/index/segment_memory.h"

namespace {

using namespace srvdb;

std::vector<float> read_floats(const std::string& path) {
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
  explicit Data(const std::string& folder) {
    std::ifstream meta(folder + "/meta.txt");
    std::string metric_text;
    meta >> n >> dim >> n_queries >> metric_text;
    metric = parse_metric(metric_text);
    base = read_floats(folder + "/base.f32");
    queries = read_floats(folder + "/queries.f32");
  }
  std::size_t n = 0, dim = 0, n_queries = 0;
  Metric metric = Metric::kL2;
  std::vector<float> base, queries;
};

struct Coded {
  explicit Coded(const Data& data)
      : quantizer(train(data)),
        memory(data.n * quantizer.stride()),
        norms(data.n),
        errors(data.n),
        blocks(bound_blocks(static_cast<Row>(data.n))) {
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
    codes.blocks = blocks.data();
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
  std::vector<float> norms, errors;
  std::vector<std::atomic<std::uint64_t>> blocks;
  CodesView codes;
  RowsView rows;
};

double seconds_of_this_thread() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

using Answers = std::vector<std::vector<ScoredRow>>;

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s DIR [k= reps= one= batch=]\n", argv[0]);
    return 2;
  }
  std::map<std::string, std::size_t> set{
      {"k", 10}, {"reps", 5}, {"one", 10}, {"batch", 0}, {"floats", 1}};
  for (int i = 2; i < argc; ++i) {
    const std::string text = argv[i];
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || !set.contains(text.substr(0, equals))) {
      std::fprintf(stderr, "unknown option %s\n", argv[i]);
      return 2;
    }
    set[text.substr(0, equals)] = std::stoul(text.substr(equals + 1));
  }
  const Data data(argv[1]);
  const Coded coded(data);
  FlatOptions floats{.k = set["k"]};
  FlatOptions codes = floats;
  codes.codes = coded.codes;
  codes.quantizer = &coded.quantizer;
  std::printf("%s: %zu x %zu, %s\n", argv[1], data.n, data.dim,
              std::string(metric_name(data.metric)).c_str());
  bool equal = true;
  const auto compare = [&](const char* name, std::size_t n, const auto& search) {
    std::vector<double> times[2];
    Answers answers[2];
    for (std::size_t rep = 0; rep <= set["reps"]; ++rep) {
      for (const std::size_t side : {0, 1}) {
        if (side == 0 && rep != 0 && set["floats"] == 0) continue;
        const double start = seconds_of_this_thread();
        answers[side] = search(side == 0 ? floats : codes);
        if (rep != 0 || side == 0)
          times[side].push_back((seconds_of_this_thread() - start) / static_cast<double>(n));
      }
    }
    equal = equal && answers[0] == answers[1];
    const double a = median(times[0]), b = median(times[1]);
    std::printf("  %-5s floats %8.4f ms (%.0f/s)  codes %8.4f ms (%.0f/s)  %.2f x  %s\n", name,
                1e3 * a, 1 / a, 1e3 * b, 1 / b, a / b, equal ? "" : "DIFFERENT ANSWERS");
    std::fflush(stdout);
  };
  const std::size_t one = std::min(set["one"], data.n_queries);
  if (one != 0) {
    compare("one", one, [&](const FlatOptions& options) {
      Answers out;
      for (std::size_t q = 0; q < one; ++q) {
        out.push_back(
            flat_search(coded.rows, data.metric, data.queries.data() + q * data.dim, options));
      }
      return out;
    });
  }
  const std::size_t batch = std::min(set["batch"], data.n_queries);
  if (batch != 0) {
    compare("batch", batch, [&](const FlatOptions& options) {
      return flat_search_batch(coded.rows, data.metric, data.queries.data(), batch, options);
    });
  }
  return equal ? 0 : 1;
}
