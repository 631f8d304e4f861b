// Scans of 8-bit codes that answer by them (flat.h): approximate, a quarter of the bytes.
#include <algorithm>
#include <cmath>

#include "srvdb/index/flat_scan.h"
#include "srvdb/index/live_rows.h"

namespace srvdb {
namespace {

// As is_sparse(), of codes: they are so short that picking costs little more than going through.
bool is_thinned(std::size_t excluded, std::size_t n) noexcept {
  return excluded * 4 > n;
}

// The pass over codes: like Scan, on integers.
class CodeScan {
 public:
  CodeScan(const CodesView& codes, const CodeDistance& distance)
      : codes_(codes), distance_(distance), kernels_(simd::kernels()) {}

  void block(Row first, Row last, const RowBitmap* excluded, KeyTopK& top) {
    const std::size_t out = excluded != nullptr ? excluded->count(first, last) : 0;
    if (is_thinned(out, last - first)) {
      LiveRows live(excluded, first, last);
      while (const std::size_t n = live.next(few_)) offer_few(n, top);
      return;
    }
    for (Row at = first; at < last;) {
      const auto end = static_cast<Row>(std::min<std::size_t>(last, std::size_t{at} + kScanRows));
      codes_.verify(at, end);
      distance_.keys_rows(codes_.code(at), end - at, keys_);
      if (out == 0) {
        offer(
            end - at, [at](std::size_t i) { return at + static_cast<Row>(i); }, top);
      } else {
        const std::size_t n = LiveRows(excluded, at, end).next(few_);
        for (std::size_t i = 0; i < n; ++i) keys_[i] = keys_[few_[i] - at];
        offer(
            n, [this](std::size_t i) { return few_[i]; }, top);
      }
      at = end;
    }
  }

 private:
  // The first n rows of few_.
  void offer_few(std::size_t n, KeyTopK& top) {
    codes_.verify(few_, n);
    distance_.keys_many(codes_.base, few_, n, keys_);
    offer(
        n, [this](std::size_t i) { return few_[i]; }, top);
  }
  template <typename RowAt>
  void offer(std::size_t n, const RowAt& row_at, KeyTopK& top) {
    const std::size_t hits = kernels_.select_not_above_i32(keys_, n, top.threshold(), picked_);
    for (std::size_t i = 0; i < hits; ++i) top.offer(keys_[picked_[i]], row_at(picked_[i]));
  }

  const CodesView& codes_;
  const CodeDistance& distance_;
  const simd::Kernels& kernels_;
  alignas(64) std::int32_t keys_[kScanRows];
  alignas(64) std::uint32_t picked_[kScanRows];
  Row few_[kScanRows];
};

}  // namespace

void code_scan(const CodesView& codes, const CodeDistance& distance, const FlatOptions& options,
               std::vector<Neighbor>& out) {
  out.clear();
  const Row last = std::min(options.last, codes.rows);
  if (options.k == 0 || options.first >= last) return;
  const Chunks chunks = {options.first, last, chunk_rows(codes.stride)};
  const std::size_t threads = threads_for(options, chunks.count());
  const std::size_t kept = std::min<std::size_t>(options.k, last - options.first);
  std::vector<KeyTopK> tops(threads, KeyTopK(kept));
  parallel_for(
      chunks.count(), 1, threads, options.interrupt, [&](std::size_t chunk, std::size_t worker) {
        const auto begin = static_cast<Row>(chunks.first + chunk * chunks.size);
        const auto end =
            static_cast<Row>(std::min<std::size_t>(last, std::size_t{begin} + chunks.size));
        CodeScan(codes, distance).block(begin, end, options.excluded, tops[worker]);
      });
  for (std::size_t t = 1; t < threads; ++t) {
    for (const Neighbor& entry : tops[t].settle()) tops[0].offer(entry.key, entry.row);
  }
  out = std::move(tops[0].settle());
  std::sort(out.begin(), out.end(), nearer);
}

std::vector<ScoredRow> code_search(const RowsView& rows, const CodesView& codes,
                                   const ScalarQuantizer& quantizer, Metric metric,
                                   const float* query, double refine, const FlatOptions& options) {
  FlatOptions within = options;
  within.last = std::min({options.last, rows.rows, codes.rows});
  if (options.k == 0 || within.first >= within.last) return {};
  const std::size_t range = within.last - within.first;
  const std::size_t k = std::min(options.k, range);
  const double wanted = std::ceil(std::max(refine, 1.0) * static_cast<double>(k));
  within.k = wanted < static_cast<double>(range) ? static_cast<std::size_t>(wanted) : range;
  CodeQuery prepared;
  quantizer.prepare(query, prepared);
  std::vector<Neighbor> found;
  code_scan(codes, CodeDistance(prepared), within, found);
  std::vector<Row> candidates;
  candidates.reserve(found.size());
  for (const Neighbor& entry : found) candidates.push_back(entry.row);
  return rescore(rows, metric, query, candidates, k);
}

}  // namespace srvdb
