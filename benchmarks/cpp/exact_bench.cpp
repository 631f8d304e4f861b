// Exact search alone, without files or Python: milliseconds of one query and queries a second of a
// batch, over float32 rows and over codes, one thread (its processor time), in turns; checks that
// the answers are equal. For tuning; the figures that users see come from
// benchmarks/exact_speed.py.
//
//   srvdb_exact_bench DIR [name=value ...]
//
// DIR: bench_data.h; gtd.f32 is not needed. Names: k, reps, one (queries one by one), batch
// (queries in a batch; 0: none), floats (0: over floats only once, to compare answers).
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "bench_data.h"
#include "srvdb/index/code_bounds.h"
#include "srvdb/index/flat.h"

namespace {

using namespace srvdb;

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
  read_options(argc, argv, set);
  const Data data(argv[1]);
  const Coded coded(data);
  FlatOptions floats{.k = set["k"]};
  FlatOptions codes = floats;
  std::vector<std::atomic<std::uint64_t>> blocks(bound_blocks(coded.codes.rows));
  codes.codes = coded.codes;
  codes.codes.blocks = blocks.data();
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
