#include "srvdb/index/flat.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "srvdb/base/scheduler.h"
#include "srvdb/distance/margin.h"
#include "srvdb/index/live_rows.h"
#include "srvdb/index/top_k.h"
#include "srvdb/simd/dispatch.h"

namespace srvdb {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::size_t kChunkBytes = std::size_t{1} << 20;  // of rows: the unit handed to a thread
constexpr std::size_t kBlockRows = 256;                    // scores held at one time
constexpr double kSmallNorm = 0x1p-60;  // below it a product may underflow: scored exactly

float round_down(double value) noexcept {
  const auto nearest = static_cast<float>(value);
  return nearest <= value ? nearest : std::nextafter(nearest, -kInfinity);
}

// Norm bound of row `first`; those of the rows after it, in the same part, lie norm_step apart.
const float* norms_from(const RowsView& rows, Row first) noexcept {
  return first < rows.file_rows
             ? rows.file_norms + std::size_t{first} * rows.norm_step
             : rows.buffer_norms + std::size_t{first - rows.file_rows} * rows.norm_step;
}

// Computed squared distances above this belong to rows that are farther than `distance` for
// certain: solves c - l2_margin(c) > distance for c (the margin is linear in c).
float l2_limit(std::size_t dim, double distance) noexcept {
  const double fixed = l2_margin(dim, 0);
  const double slope = (l2_margin(dim, 1) - fixed) * (1 + 1e-6);
  const double limit = (distance + fixed) / (1 - slope) * (1 + 1e-12);
  if (!(limit < 0x1p125)) return kInfinity;
  return std::nextafter(static_cast<float>(limit), kInfinity);
}

// True when so few of n rows are left over that they are better looked at one by one than with
// the others beside them.
bool is_sparse(std::size_t excluded, std::size_t n) noexcept {
  return excluded * 2 > n;
}

// The float32 pass of one query over blocks of rows.
class Scan {
 public:
  Scan(const RowsView& rows, Metric metric, const float* query)
      : rows_(rows), metric_(metric), query_(query), kernels_(simd::kernels()) {}

  // Offers every row of [first, last) that can reach the threshold. Rows are contiguous; of the
  // excluded ones some may be looked at, and `top` turns them away.
  void block(Row first, Row last, const RowBitmap* excluded, ExactTopK& top) {
    if (excluded != nullptr && is_sparse(excluded->count(first, last), last - first)) {
      return offer_left(first, last, excluded, top);
    }
    for (Row at = first; at < last;) {
      const Row end = static_cast<Row>(std::min<std::size_t>(last, at + kBlockRows));
      if (excluded != nullptr && is_sparse(excluded->count(at, end), end - at)) {
        offer_left(at, end, excluded, top);
      } else {
        offer_all(at, end, top);
      }
      at = end;
    }
  }

 private:
  static constexpr std::size_t kAhead = 4;         // rows on their way from memory
  static constexpr std::size_t kAheadBytes = 512;  // of each; the processor fetches the rest

  void offer_left(Row first, Row last, const RowBitmap* excluded, ExactTopK& top) {
    LiveRows live(excluded, first, last);
    while (const std::size_t n = live.next(few_)) offer_few({few_, n}, top);
  }
  void offer_all(Row first, Row last, ExactTopK& top) {
    rows_.verify(first, last);
    score(first, last - first, scores_);
    const std::size_t hits = select(last - first, norms_from(rows_, first), rows_.norm_step, top);
    for (std::size_t i = 0; i < hits; ++i) top.offer(first + picked_[i]);
  }
  void offer_few(std::span<const Row> rows, ExactTopK& top) {
    for (std::size_t i = 0; i < rows.size();) {
      if (i + kAhead < rows.size()) {
        const float* const next = rows_.row(rows[i + kAhead]);
        for (std::size_t c = 0; c < std::min(rows_.dim, kAheadBytes / 4); c += 16) {
          __builtin_prefetch(next + c);
        }
      }
      const std::size_t end = run_end(rows, i);
      rows_.verify(rows[i], rows[i] + static_cast<Row>(end - i));
      score(rows[i], end - i, scores_ + i);
      for (; i < end; ++i) norms_[i] = rows_.norm_bound(rows[i]);
    }
    const std::size_t hits = select(rows.size(), norms_, 1, top);
    for (std::size_t i = 0; i < hits; ++i) top.offer(rows[picked_[i]]);
  }

  void score(Row first, std::size_t n, float* out) const noexcept {
    const auto kernel = metric_ == Metric::kL2 ? kernels_.l2sq_f32_rows : kernels_.dot_f32_rows;
    kernel(query_, rows_.row(first), rows_.dim, n, rows_.dim, out);
  }
  // Of the first n scores, those that can reach the threshold. The norm bounds lie `step` apart.
  std::size_t select(std::size_t n, const float* norms, std::size_t step,
                     const ExactTopK& top) noexcept {
    const std::size_t dim = rows_.dim;
    if (metric_ == Metric::kL2) {
      return kernels_.select_not_above_f32(scores_, n, l2_limit(dim, -top.threshold()), picked_);
    }
    float largest = 0;
    for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, norms[i * step]);
    const double norm = top.query_norm() * (1 + 1e-9);
    const double margin = dot_margin(dim, norm, largest);
    if (metric_ == Metric::kIp) {
      const float limit = round_down(top.threshold() - margin * (1 + 1e-6));
      return kernels_.select_not_below_f32(scores_, n, limit, picked_);
    }
    if (!(margin < 0x1p126) || norm < kSmallNorm) return take_all(n);
    for (std::size_t i = 0; i < n; ++i) {
      const float bound = norms[i * step];
      const auto cosine = static_cast<float>(static_cast<double>(scores_[i]) / (norm * bound));
      scores_[i] = bound < kSmallNorm ? std::numeric_limits<float>::quiet_NaN() : cosine;
    }
    // Twice the margin for underflow, which kSmallNorm keeps below it, and the rounding of norms.
    const double cosine_margin = 2 * dot_margin(dim, 1, 1) + 0x1p-20;
    const float limit = round_down(top.threshold() - cosine_margin);
    return kernels_.select_not_below_f32(scores_, n, limit, picked_);
  }
  std::size_t take_all(std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; ++i) picked_[i] = static_cast<std::uint32_t>(i);
    return n;
  }

  const RowsView& rows_;
  Metric metric_;
  const float* query_;
  const simd::Kernels& kernels_;
  alignas(64) float scores_[kBlockRows];
  alignas(64) std::uint32_t picked_[kBlockRows];
  float norms_[kBlockRows];  // of the few
  Row few_[kBlockRows];
};

// The searched rows cut into chunks for threads; no chunk crosses from the file into the buffer.
struct Chunks {
  Row first;
  Row last;
  Row size;
  std::size_t count() const noexcept {
    return first >= last ? 0 : (std::size_t{last} - first + size - 1) / size;
  }
  // Calls body(begin, end) for the one or two contiguous parts of a chunk.
  template <typename Body>
  void parts(std::size_t chunk, const RowsView& rows, const Body& body) const {
    const auto begin = static_cast<Row>(first + chunk * size);
    const auto end = static_cast<Row>(std::min<std::size_t>(last, std::size_t{begin} + size));
    const Row middle = std::min(end, rows.contiguous_end(begin));
    body(begin, middle);
    if (middle < end) body(middle, end);
  }
};

Row chunk_rows(std::size_t row_bytes) noexcept {
  return static_cast<Row>(std::clamp<std::size_t>(kChunkBytes / row_bytes, 16, 65536));
}

std::size_t threads_for(const FlatOptions& options, std::size_t work) {
  const std::size_t threads = options.threads == 0 ? default_threads() : options.threads;
  return std::clamp<std::size_t>(threads, 1, std::max<std::size_t>(work, 1));
}

}  // namespace

std::vector<ScoredRow> flat_search(const RowsView& rows, Metric metric, const float* query,
                                   const FlatOptions& options) {
  const Chunks chunks = {options.first, std::min(options.last, rows.rows),
                         chunk_rows(rows.dim * sizeof(float))};
  if (options.k == 0 || chunks.count() == 0) return {};
  const std::size_t threads = threads_for(options, chunks.count());
  const std::size_t k = std::min<std::size_t>(options.k, chunks.last - chunks.first);
  std::vector<ExactTopK> tops(threads, ExactTopK(rows, metric, query, k, options.excluded));
  parallel_for(chunks.count(), 1, threads, options.interrupt,
               [&](std::size_t chunk, std::size_t worker) {
                 Scan scan(rows, metric, query);
                 chunks.parts(chunk, rows, [&](Row first, Row last) {
                   scan.block(first, last, options.excluded, tops[worker]);
                 });
               });
  for (std::size_t t = 1; t < threads; ++t) tops[0].merge(tops[t]);
  return tops[0].take();
}

namespace {

// The pass over codes: like Scan, on integers.
class CodeScan {
 public:
  CodeScan(const CodesView& codes, const CodeDistance& distance)
      : codes_(codes), distance_(distance), kernels_(simd::kernels()) {}

  void block(Row first, Row last, const RowBitmap* excluded, KeyTopK& top) {
    const std::size_t out = excluded != nullptr ? excluded->count(first, last) : 0;
    if (is_sparse(out, last - first)) {
      LiveRows live(excluded, first, last);
      while (const std::size_t n = live.next(few_)) offer_few(n, top);
      return;
    }
    for (Row at = first; at < last;) {
      const auto end = static_cast<Row>(std::min<std::size_t>(last, std::size_t{at} + kBlockRows));
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
    for (std::size_t i = 0; i < n; ++i) codes_.verify(few_[i]);
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
  alignas(64) std::int32_t keys_[kBlockRows];
  alignas(64) std::uint32_t picked_[kBlockRows];
  Row few_[kBlockRows];
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

std::vector<ScoredRow> rescore(const RowsView& rows, Metric metric, const float* query,
                               std::span<const Row> candidates, std::size_t k) {
  constexpr std::size_t kAhead = 8;         // rows on their way from memory
  constexpr std::size_t kAheadBytes = 512;  // of each; the processor fetches the rest by itself
  const ExactScorer scorer(metric, query, rows.dim);
  const std::size_t n = candidates.size();
  const auto fetch = [&](std::size_t i) {
    const auto* at = reinterpret_cast<const char*>(rows.row(candidates[i]));
    const std::size_t bytes = std::min(rows.dim * sizeof(float), kAheadBytes);
    for (std::size_t b = 0; b < bytes; b += 64) __builtin_prefetch(at + b);
  };
  for (std::size_t i = 0; i < std::min(n, kAhead); ++i) fetch(i);
  std::vector<ScoredRow> scored;
  scored.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    if (i + kAhead < n) fetch(i + kAhead);
    rows.verify(candidates[i]);
    scored.push_back({scorer.score(rows.row(candidates[i])), candidates[i]});
  }
  const std::size_t kept = std::min(k, n);
  std::partial_sort(scored.begin(), scored.begin() + static_cast<std::ptrdiff_t>(kept),
                    scored.end(), better);
  scored.resize(kept);
  return scored;
}

}  // namespace srvdb
