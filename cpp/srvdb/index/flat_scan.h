// The float32 pass of exact search, and what all passes over rows share. Internal to the index
// layer.
//
// A pass goes over blocks of rows and offers every row that can reach the threshold; bounds of the
// rounding (distance/margin.h) see to it that none is lost. Borrows everything; one thread each.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "srvdb/base/scheduler.h"
#include "srvdb/base/types.h"
#include "srvdb/distance/metric.h"
#include "srvdb/index/flat.h"
#include "srvdb/index/row_bitmap.h"
#include "srvdb/index/rows.h"
#include "srvdb/index/top_k.h"
#include "srvdb/simd/dispatch.h"

namespace srvdb {

// True when so few of n rows are left over that they are better looked at one by one than with
// the others beside them.
inline bool is_sparse(std::size_t excluded, std::size_t n) noexcept {
  return excluded * 2 > n;
}

inline constexpr std::size_t kScanRows = 256;  // scores held at one time

// The float32 pass of one query over blocks of rows.
class FloatScan {
 public:
  FloatScan(const RowsView& rows, Metric metric, const float* query)
      : rows_(rows), metric_(metric), query_(query), kernels_(simd::kernels()) {}

  // Offers every row of [first, last) that can reach the threshold. Rows are contiguous; of the
  // excluded ones some may be looked at, and `top` turns them away.
  void block(Row first, Row last, const RowBitmap* excluded, ExactTopK& top);

 private:
  void offer_left(Row first, Row last, const RowBitmap* excluded, ExactTopK& top);
  void offer_all(Row first, Row last, ExactTopK& top);
  void offer_few(std::span<const Row> rows, ExactTopK& top);
  void score(Row first, std::size_t n, float* out) const noexcept;
  // Of the first n scores, those that can reach the threshold. The norm bounds lie `step` apart.
  std::size_t select(std::size_t n, const float* norms, std::size_t step,
                     const ExactTopK& top) noexcept;
  std::size_t take_all(std::size_t n) noexcept;

  const RowsView& rows_;
  Metric metric_;
  const float* query_;
  const simd::Kernels& kernels_;
  alignas(64) float scores_[kScanRows];
  alignas(64) std::uint32_t picked_[kScanRows];
  float norms_[kScanRows];  // of the few
  Row few_[kScanRows];
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

// Of the rows [options.first, last), those that have codes to prove something by come first: where
// they end.
inline Row coded_end(const FlatOptions& options, Row last) noexcept {
  if (options.quantizer == nullptr || options.codes.errors == nullptr) return options.first;
  return std::clamp(options.codes.rows, options.first, last);
}

inline constexpr std::size_t kChunkBytes = std::size_t{1} << 20;  // of rows: what a thread takes

inline Row chunk_rows(std::size_t row_bytes) noexcept {
  return static_cast<Row>(std::clamp<std::size_t>(kChunkBytes / row_bytes, 16, 65536));
}

inline std::size_t threads_for(const FlatOptions& options, std::size_t work) {
  const std::size_t threads = options.threads == 0 ? default_threads() : options.threads;
  return std::clamp<std::size_t>(threads, 1, std::max<std::size_t>(work, 1));
}

}  // namespace srvdb
