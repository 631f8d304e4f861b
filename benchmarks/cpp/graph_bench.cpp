// The graph alone, without files or Python: build seconds, recall@10 and queries a second over a
// sweep of ef, one thread. For tuning; the figures that users see come from benchmarks/*.py.
//
//   srvdb_graph_bench DIR [name=value ...]
//
// DIR is as bench_data.h says. Names: m, efc (ef_construction), threads (of the build), reps, nq
// (queries used), k, ef (only this one), batch, bulk (0: linked row after row, as always
// where srvdb itself does that), short (0: without short codes).
//
// The graph is kept as DIR/bulk-m<m>.graph or DIR/m<m>-efc<efc>.graph, and read from there the next
// time: remove it after a change to how graphs are built. It is walked as the mapped image that
// users have.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "bench_data.h"
#include "srvdb/index/bulk_build.h"
#include "srvdb/index/graph_build.h"
#include "srvdb/index/short_code_trial.h"

namespace {

using namespace srvdb;

void build_graph(const Data& data, const Coded& coded, const GraphParams& params,
                 std::size_t threads, bool bulk, const std::string& path) {
  const auto start = std::chrono::steady_clock::now();
  auto graph = std::make_unique<Graph>(params);
  if (bulk) {
    graph = bulk_build(params, coded.codes, coded.codes.rows, {.threads = threads});
  } else {
    GraphBuilder(*graph).link(coded.codes, coded.quantizer,
                              {.last = coded.codes.rows, .partial = true, .threads = threads});
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("%s: %zu rows linked in %.2f s on %zu threads\n", data.name.c_str(), data.n,
              took.count(), threads);
  save_graph(*graph, path);
}

void sweep(const Data& data, const Coded& coded, const ShortCoded& shorter, const Graph& graph,
           std::size_t k, std::size_t queries, int reps, std::size_t only, std::size_t batch) {
  std::vector<GraphResult> results(batch);
  for (const std::size_t ef : {5, 7, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 300}) {
    if (only != 0 && ef != only) continue;
    double best = 1e9;
    std::size_t right = 0;
    WalkCounts counts;
    for (int rep = 0; rep < reps; ++rep) {
      right = 0;
      counts = {};
      const double start = seconds_of_this_thread();
      const auto search = [&](std::size_t first, std::size_t n) {
        const float* const at = data.queries.data() + first * data.dim;
        const GraphSearchOptions how{
            .k = k, .ef = ef, .short_codes = shorter.view(), .counts = &counts};
        if (n > 1) {
          graph_search_batch(graph, coded.rows, coded.codes, coded.quantizer, at, n, how,
                             results.data());
        } else {
          results[0] = graph_search(graph, coded.rows, coded.codes, coded.quantizer, at, how);
        }
      };
      for (std::size_t q = 0; q < queries; ++q) {
        if (q % batch == 0) search(q, std::min(batch, queries - q));
        const GraphResult& result = results[q % batch];
        const double truth = data.truth[q * data.truths + k - 1];
        const double limit = truth + 1e-5 * std::abs(truth) + 1e-6;
        for (const ScoredRow& hit : result.rows) {
          right += score_to_distance(data.metric, hit.score) <= limit ? 1u : 0u;
        }
      }
      best = std::min(best, seconds_of_this_thread() - start);
    }
    const double recall = static_cast<double>(right) / static_cast<double>(queries * k);
    const auto mean = [&](std::size_t sum) {
      return static_cast<double>(sum) / static_cast<double>(queries);
    };
    std::printf("  ef %4zu  recall %.4f  queries/s %.0f  seen %.0f  expanded %.1f  left out %.0f\n",
                ef, recall, static_cast<double>(queries) / best, mean(counts.seen),
                mean(counts.expanded), mean(counts.left_out));
    std::fflush(stdout);
    if (recall > 0.998) break;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s DIR [m= efc= threads= reps= nq= k= ef= batch= bulk= short=]\n",
                 argv[0]);
    return 2;
  }
  std::map<std::string, std::size_t> options{
      {"m", 16}, {"efc", 200}, {"threads", 2}, {"reps", 3}, {"nq", 2000},
      {"k", 10}, {"ef", 0},    {"batch", 1},   {"bulk", 1}, {"short", 1}};
  read_options(argc, argv, options);
  const Data data(argv[1]);
  const Coded coded(data);
  const GraphParams params{.m = static_cast<std::uint32_t>(options["m"]),
                           .ef_construction = static_cast<std::uint32_t>(options["efc"]),
                           .metric = data.metric};
  const bool bulk =
      options["bulk"] != 0 && bulk_pays(params, coded.codes.stride, 0, coded.codes.rows);
  const std::string path = data.name + (bulk ? "/bulk-m" : "/m") + std::to_string(params.m) +
                           (bulk ? "" : "-efc" + std::to_string(params.ef_construction)) + ".graph";
  Image image;
  if (!load_graph(path, image)) {
    build_graph(data, coded, params, options["threads"], bulk, path);
    if (!load_graph(path, image)) return 2;
  }
  const ShortCoded shorter(data, options["short"] != 0);
  const ShortCoder* const coder = shorter.coder ? &*shorter.coder : nullptr;
  if (coder != nullptr && coder->components() != nullptr) {
    std::printf("  of 10 rows nearest by usual codes %.3f are near by short ones\n",
                try_short_codes(*coder->components(), coded.rows, coded.codes, coded.quantizer,
                                coded.codes.rows, shorter.sample, nullptr));
  } else if (coder != nullptr) {
    const SignAgreement agreement = try_signs(*coder->signs(), coded.rows, coded.codes,
                                              coded.quantizer, coded.codes.rows, nullptr);
    std::printf("  by signs %.3f of near rows pass, %.3f of far ones\n", agreement.near_pass,
                agreement.far_pass);
  }
  sweep(data, coded, shorter, *image.graph, options["k"], std::min(options["nq"], data.n_queries),
        static_cast<int>(options["reps"]), options["ef"],
        std::max<std::size_t>(options["batch"], 1));
  return 0;
}
