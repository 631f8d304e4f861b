// Filtered searches alone, without files or Python: recall@k and microseconds a query for each
// filter of a set, beside the unfiltered search, one thread (its processor time), in turns. For
// tuning; the figures that users see come from benchmarks/filters.py.
//
//   srvdb_filter_bench DIR [name=value ...]
//
// DIR is as bench_data.h says, and has filters.txt (a line "name matching" for each filter),
// filter<i>.u8 (a byte for each row: does it match?) and filter<i>.f32 (the distances of the 100
// nearest matching rows to each of the first 200 queries, NaN where there are fewer). The graph is
// built in bulk and kept as DIR/bulk-m16.graph, as that of srvdb_graph_bench. Names: reps, k, ef
// (0: a sweep), only (one filter, counted from 1; 0: all), way (1: always walk, 2: always scan),
// made (1: in place of the set's filters such that leave out some rows anywhere, those around the
// first query, or all that are not far from it).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "bench_data.h"
#include "srvdb/index/bulk_build.h"
#include "srvdb/index/flat.h"

namespace {

using namespace srvdb;

constexpr std::size_t kQueries = 200;
constexpr std::size_t kTruths = 100;

struct Filter {
  std::string name;
  std::size_t matching = 0;
  RowBitmap excluded;
  std::vector<float> truth;  // kTruths a query
};

std::vector<Filter> read_filters(const Data& data) {
  std::vector<Filter> filters(1);
  filters[0].name = "(none)";
  filters[0].matching = data.n;
  for (std::size_t q = 0; q < kQueries; ++q) {
    const auto first = data.truth.begin() + static_cast<std::ptrdiff_t>(q * data.truths);
    filters[0].truth.insert(filters[0].truth.end(), first, first + kTruths);
  }
  std::ifstream list(data.name + "/filters.txt");
  Filter filter;
  while (list >> filter.name >> filter.matching) {
    const std::string path = data.name + "/filter" + std::to_string(filters.size() - 1);
    std::ifstream mask(path + ".u8", std::ios::binary);
    std::vector<char> bytes(data.n);
    mask.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    std::vector<Row> out;
    for (Row r = 0; r < data.n; ++r) {
      if (bytes[r] == 0) out.push_back(r);
    }
    filter.excluded = RowBitmap().with_rows(out);
    filter.truth = read_floats(path + ".f32");
    filters.push_back(filter);
  }
  return filters;
}

std::vector<float> exact_distances(const Data& data, const Coded& coded,
                                   const RowBitmap* excluded) {
  FlatOptions options{.k = kTruths, .excluded = excluded};
  options.codes = coded.codes;
  options.quantizer = &coded.quantizer;
  const auto answers =
      flat_search_batch(coded.rows, data.metric, data.queries.data(), kQueries, options);
  std::vector<float> out;
  for (const auto& answer : answers) {
    for (const ScoredRow& hit : answer) {
      out.push_back(static_cast<float>(score_to_distance(data.metric, hit.score)));
    }
    out.resize((out.size() + kTruths - 1) / kTruths * kTruths,
               std::numeric_limits<float>::quiet_NaN());
  }
  return out;
}

std::vector<Filter> made_filters(const Data& data, const Coded& coded) {
  std::vector<Filter> filters(1);
  filters[0].name = "(none)";
  filters[0].matching = data.n;
  filters[0].truth = exact_distances(data, coded, nullptr);
  std::vector<std::pair<double, Row>> near;
  for (Row r = 0; r < data.n; ++r) {
    near.push_back(
        {-exact_score(data.metric, data.queries.data(), coded.rows.row(r), data.dim), r});
  }
  std::sort(near.begin(), near.end());
  std::vector<Row> any(data.n);
  for (Row r = 0; r < data.n; ++r) any[r] = r;
  std::shuffle(any.begin(), any.end(), std::mt19937(1));
  for (const double percent : {1.0, 10.0, 30.0, 50.0, 70.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.9}) {
    for (const std::string where : {"anywhere", "around", "away"}) {
      if (where != "anywhere" && percent != 10 && percent != 50 && percent < 90) continue;
      Filter filter;
      filter.name = where + "-" + std::to_string(percent).substr(0, 4);
      const auto gone = static_cast<std::size_t>(percent / 100 * static_cast<double>(data.n));
      filter.matching = data.n - gone;
      std::vector<Row> out;
      for (std::size_t i = 0; i < gone; ++i) {
        out.push_back(where == "anywhere" ? any[i]
                                          : near[where == "around" ? i : data.n - 1 - i].second);
      }
      filter.excluded = RowBitmap().with_rows(out);
      filter.truth = exact_distances(data, coded, &filter.excluded);
      filters.push_back(std::move(filter));
    }
  }
  return filters;
}

struct Tally {
  double right = 0, wanted = 0, seconds = 1e9;
  std::size_t scans = 0, short_answers = 0;
  WalkCounts counts;
};

void run(const Data& data, const Coded& coded, const Graph& graph, const Filter& filter,
         std::size_t k, std::size_t ef, SearchWay way, Tally& tally) {
  tally.counts = {};
  tally.right = tally.wanted = 0;
  tally.scans = tally.short_answers = 0;
  const RowBitmap* excluded = filter.excluded.empty() ? nullptr : &filter.excluded;
  std::vector<GraphResult> results(kQueries);
  const double start = seconds_of_this_thread();
  for (std::size_t q = 0; q < kQueries; ++q) {
    results[q] = graph_search(
        graph, coded.rows, coded.codes, coded.quantizer, data.queries.data() + q * data.dim,
        {.k = k, .ef = ef, .excluded = excluded, .way = way, .counts = &tally.counts});
  }
  tally.seconds = std::min(tally.seconds, seconds_of_this_thread() - start);
  for (std::size_t q = 0; q < kQueries; ++q) {
    const std::size_t all = std::min(k, filter.matching);
    const float truth = filter.truth[q * kTruths + all - 1];
    const double limit = truth + 1e-5 * std::abs(truth) + 1e-6;
    for (const ScoredRow& hit : results[q].rows) {
      tally.right += score_to_distance(data.metric, hit.score) <= limit ? 1 : 0;
    }
    tally.wanted += static_cast<double>(all);
    tally.scans += results[q].scanned ? 1u : 0u;
    tally.short_answers += results[q].rows.size() < all ? 1u : 0u;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s DIR [reps= k= ef= only=]\n", argv[0]);
    return 2;
  }
  std::map<std::string, std::size_t> options{{"reps", 7}, {"k", 10},   {"ef", 0},  {"only", 0},
                                             {"way", 0},  {"made", 0}, {"nq", 200}};
  read_options(argc, argv, options);
  const Data data(argv[1]);
  const Coded coded(data);
  const std::string path = data.name + "/bulk-m16.graph";
  Image image;
  if (!load_graph(path, image)) {
    const auto graph =
        bulk_build({.metric = data.metric}, coded.codes, coded.codes.rows, {.threads = 1});
    save_graph(*graph, path);
    if (!load_graph(path, image)) return 2;
  }
  const std::vector<Filter> filters =
      options["made"] != 0 ? made_filters(data, coded) : read_filters(data);
  std::vector<std::size_t> efs{10, 15, 20, 25, 30, 40, 60};
  if (options["ef"] != 0) efs = {options["ef"]};
  for (const std::size_t ef : efs) {
    std::vector<Tally> tallies(filters.size());
    for (std::size_t rep = 0; rep < options["reps"]; ++rep) {
      for (std::size_t f = 0; f < filters.size(); ++f) {
        if (f != 0 && options["only"] != 0 && f != options["only"]) continue;
        run(data, coded, *image.graph, filters[f], options["k"], ef,
            static_cast<SearchWay>(options["way"]), tallies[f]);
      }
    }
    for (std::size_t f = 0; f < filters.size(); ++f) {
      const Tally& tally = tallies[f];
      if (tally.wanted == 0) continue;
      std::printf(
          "%s ef %3zu  %-20s %7.3f %%  recall %.4f  %7.1f us  %5.2f x  scans %zu seen %.0f exp "
          "%.0f lists %.0f%s\n",
          data.name.c_str(), ef, filters[f].name.c_str(),
          100 * static_cast<double>(filters[f].matching) / static_cast<double>(data.n),
          tally.right / tally.wanted, 1e6 * tally.seconds / kQueries,
          tally.seconds / tallies[0].seconds, tally.scans, double(tally.counts.seen) / 200.,
          double(tally.counts.expanded) / 200., double(tally.counts.hopped) / 200.,
          tally.short_answers != 0 ? "  SHORT" : "");
    }
    std::fflush(stdout);
  }
  return 0;
}
