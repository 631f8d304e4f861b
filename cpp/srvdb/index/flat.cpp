#include "srvdb/index/flat.h"

#include <algorithm>

#include "srvdb/base/scheduler.h"
#include "srvdb/index/flat_scan.h"
#include "srvdb/index/flat_screen.h"

namespace srvdb {

namespace {

std::vector<ScoredRow> screened_search(const RowsView& rows, Metric metric, const float* query,
                                       const FlatOptions& options, std::size_t k, Row screened,
                                       Row last) {
  const Chunks coded = {options.first, screened,
                        static_cast<Row>(round_up(chunk_rows(options.codes.stride), kBoundRows))};
  const Chunks rest = {screened, last, chunk_rows(rows.dim * sizeof(float))};
  const std::size_t threads = threads_for(options, std::max(coded.count(), rest.count()));
  CodeQuery prepared;
  options.quantizer->prepare(query, prepared);
  std::vector<ScreenedTopK> tops(threads,
                                 ScreenedTopK(rows, metric, query, prepared, k, options.excluded));
  std::vector<CodeScreen> screens;
  screens.reserve(threads);
  for (std::size_t t = 0; t < threads; ++t) {
    screens.emplace_back(rows, metric, query, options.codes, *options.quantizer, prepared);
  }
  parallel_for(coded.count(), 1, threads, options.interrupt,
               [&](std::size_t chunk, std::size_t worker) {
                 coded.parts(chunk, rows, [&](Row first, Row end) {
                   screens[worker].block(first, end, options.excluded, tops[worker]);
                 });
               });
  for (ScreenedTopK& top : tops) top.settle();
  parallel_for(rest.count(), 1, threads, options.interrupt,
               [&](std::size_t chunk, std::size_t worker) {
                 FloatScan scan(rows, metric, query);
                 rest.parts(chunk, rows, [&](Row first, Row end) {
                   scan.block(first, end, options.excluded, tops[worker].exact());
                 });
               });
  for (std::size_t t = 1; t < threads; ++t) tops[0].merge(tops[t]);
  return tops[0].take();
}

}  // namespace

std::vector<ScoredRow> flat_search(const RowsView& rows, Metric metric, const float* query,
                                   const FlatOptions& options) {
  const Chunks chunks = {options.first, std::min(options.last, rows.rows),
                         chunk_rows(rows.dim * sizeof(float))};
  if (options.k == 0 || chunks.count() == 0) return {};
  const std::size_t threads = threads_for(options, chunks.count());
  const std::size_t k = std::min<std::size_t>(options.k, chunks.last - chunks.first);
  const Row screened = coded_end(options, chunks.last);
  if (screened > options.first) {
    return screened_search(rows, metric, query, options, k, screened, chunks.last);
  }
  std::vector<ExactTopK> tops(threads, ExactTopK(rows, metric, query, k, options.excluded));
  parallel_for(chunks.count(), 1, threads, options.interrupt,
               [&](std::size_t chunk, std::size_t worker) {
                 FloatScan scan(rows, metric, query);
                 chunks.parts(chunk, rows, [&](Row first, Row last) {
                   scan.block(first, last, options.excluded, tops[worker]);
                 });
               });
  for (std::size_t t = 1; t < threads; ++t) tops[0].merge(tops[t]);
  return tops[0].take();
}

std::vector<ScoredRow> rescore(const RowsView& rows, Metric metric, const float* query,
                               std::span<const Row> candidates, std::size_t k) {
  if (k == 0) return {};
  ExactTopK top(rows, metric, query, k, nullptr);
  for (const Row row : candidates) {
    rows.verify(row);
    top.offer(row);
  }
  return top.take();
}

}  // namespace srvdb
