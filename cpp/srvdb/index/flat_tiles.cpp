#include "srvdb/index/flat_tiles.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "srvdb/index/flat_groups.h"
#include "srvdb/simd/dispatch.h"

namespace srvdb {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{512} << 10;  // of packed codes at one time
constexpr std::size_t kRowsTogether = 2 * simd::kCodeTileRows;
constexpr std::size_t kRoom = 8;  // tiles of hits

// Queries are given up when more rows than this are scored: a part of those seen, and what it takes
// to find the best of any rows.
constexpr std::size_t kLooseShare = 64;
constexpr std::size_t kLooseRows = 1024;

// Four roundings to float32 on the way of a sum, each of at most 2^-24 of the magnitudes.
constexpr double kTileSlack = 0x1p-21;

float round_down(double value) noexcept {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto nearest = static_cast<float>(value);
  return nearest <= value ? nearest : std::nextafter(nearest, -kInfinity);
}

}  // namespace

CodeGroup::CodeGroup(const RowsView& rows, Metric metric, const float* queries, std::size_t n,
                     std::size_t k, const FlatOptions& options, const simd::CodeTiles& tiles)
    : codes_(options.codes),
      metric_(metric),
      kernels_(simd::kernels()),
      tiles_(tiles),
      scale_(options.quantizer->scale()),
      k_(k),
      prepared_(n),
      given_up_(n, 0),
      factors_(round_up(n, tiles.queries), 0),
      limits_(round_up(n, tiles.queries), 0),
      hits_(kRoom * tiles.queries * kRowsTogether) {
  const std::size_t stride = codes_.stride;
  const std::size_t fitting = kBlockBytes / stride / kRowsTogether * kRowsTogether;
  block_rows_ = std::clamp(fitting, kRowsTogether, kMaxRowsAtOnce);
  panels_.reset(limits_.size() * stride);
  block_.reset(block_rows_ * stride);
  middle_.reset(stride);
  std::fill_n(middle_.data(), rows.dim, std::int16_t{128});
  tops_.reserve(n);
  std::vector<const std::int8_t*> at;
  for (std::size_t q = 0; q < n; ++q) {
    const float* query = queries + q * rows.dim;
    options.quantizer->prepare_bytes(query, prepared_[q]);
    tops_.emplace_back(rows, metric, query, prepared_[q], k, nullptr);
    at.push_back(prepared_[q].bytes());
  }
  for (std::size_t q = 0; q < n; q += tiles.queries) {
    tiles.pack_queries(at.data() + q, std::min(tiles.queries, n - q), stride,
                       panels_.data() + q * stride);
  }
}

void CodeGroup::scan(std::span<const Row> rows) {
  const std::size_t n = prepared_.size();
  for (std::size_t at = 0; at < rows.size(); at += block_rows_) {
    const auto block = rows.subspan(at, std::min(block_rows_, rows.size() - at));
    pack_block(block);
    for (std::size_t q = 0; q < n; q += tiles_.queries) {
      simd::CodeTileInput in{.panels = block_.data(),
                             .rows = block.size(),
                             .add = add_.data(),
                             .spread = errors_.data(),
                             .queries = panels_.data() + q * codes_.stride,
                             .n_queries = std::min(tiles_.queries, n - q),
                             .factors = factors_.data() + q,
                             .limits = limits_.data() + q,
                             .stride = codes_.stride};
      for (std::size_t i = 0; i < in.n_queries; ++i) update_limit(q + i);
      for (std::size_t first = 0; first < in.rows;) {
        const std::size_t hits = tiles_.scan(in, first, hits_.data(), hits_.size());
        for (std::size_t i = 0; i < hits; ++i) {
          const simd::CodeHit& hit = hits_[i];
          offer(q + hit.query, block[hit.row], hit.row, hit.sum);
        }
      }
    }
    seen_ += block.size();
    give_up_loose();
  }
}

void CodeGroup::pack_block(std::span<const Row> rows) {
  const std::size_t filled = round_up(rows.size(), simd::kCodeTileRows);
  squares_.assign(filled, 0);
  add_.assign(filled, 0);
  errors_.assign(filled, 0);
  const std::uint8_t* at[simd::kCodeTileRows];
  for (std::size_t p = 0; p < rows.size(); p += simd::kCodeTileRows) {
    const std::size_t n = std::min(simd::kCodeTileRows, rows.size() - p);
    for (std::size_t i = 0; i < n; ++i) at[i] = codes_.code(rows[p + i]);
    tiles_.pack_rows(at, n, codes_.stride, block_.data() + p * codes_.stride);
  }
  for (std::size_t i = 0; i < rows.size(); ++i) errors_[i] = codes_.error(rows[i]);
  largest_error_ = static_cast<double>(*std::max_element(errors_.begin(), errors_.end()));
  largest_add_ = 0;
  largest_norm_ = 1;
  if (metric_ == Metric::kCosine) return;
  kernels_.l2_u8.many(middle_.data(), codes_.base, codes_.stride, rows.data(), rows.size(),
                      squares_.data());
  if (metric_ == Metric::kIp) {
    const auto square = *std::max_element(squares_.begin(), squares_.end());
    largest_norm_ = code_norm(scale_, square);
    return;
  }
  const double unit = prepared_[0].key_limits(0).per_error();  // the same for all queries
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double reach = unit * static_cast<double>(errors_[i]);
    const double add = (reach * reach - static_cast<double>(squares_[i])) / 2;
    add_[i] = -round_down(-add);
    largest_add_ = std::max(largest_add_, std::abs(add) + 1);
  }
}

// What the tile's float must reach. Where a value overflows, the tile compares with a NaN or minus
// infinity: everything passes.
void CodeGroup::update_limit(std::size_t q) {
  if (given_up_[q] != 0) return;
  const KeyLimit& limit = tops_[q].limit();
  const CodeQuery& query = prepared_[q];
  double factor = 0;
  double least = 0;
  if (limit.square()) {
    const double zero = static_cast<double>(query.bytes_zero());
    factor = limit.base() * limit.per_error();
    least = (zero - limit.base() * limit.base() * (1 + KeyLimit::kSlack)) / 2;
  } else {
    const double norm = limit.per_norm() * static_cast<double>(largest_norm_);
    const double most = limit.base() + norm;
    factor = limit.per_error();
    least = limit.key_zero() - most -
            KeyLimit::kSlack * (std::abs(limit.base()) + norm + factor * largest_error_);
  }
  factors_[q] = -round_down(-factor);
  const double magnitude = static_cast<double>(query.bytes_reach()) + largest_add_ +
                           static_cast<double>(factors_[q]) * largest_error_;
  limits_[q] = round_down(least - 2 - kTileSlack * magnitude);
}

void CodeGroup::offer(std::size_t q, Row row, std::size_t place, std::int32_t sum) {
  if (given_up_[q] != 0) return;
  const std::int64_t key = metric_ == Metric::kL2
                               ? squares_[place] + prepared_[q].bytes_zero() - 2 * std::int64_t{sum}
                               : -std::int64_t{sum};
  CodeBound bound{.error = errors_[place]};
  if (metric_ == Metric::kIp) bound.norm = code_norm(scale_, squares_[place]);
  const auto narrow = static_cast<std::int32_t>(key);
  if (tops_[q].limit().admits(narrow, bound.error, bound.norm)) tops_[q].offer(narrow, row, bound);
}

void CodeGroup::settle() {
  for (ScreenedTopK& top : tops_) top.prune();
}

void CodeGroup::give_up_loose() {
  for (std::size_t q = 0; q < tops_.size(); ++q) {
    if (given_up_[q] != 0) continue;
    if (tops_[q].scored() <= seen_ / kLooseShare + 8 * k_ + kLooseRows) continue;
    given_up_[q] = 1;
    factors_[q] = 0;
    limits_[q] = std::numeric_limits<float>::infinity();
    tops_[q].drop();
  }
}

std::vector<ScoredRow> CodeGroup::take(std::size_t q) {
  if (given_up_[q] != 0) return {};
  return tops_[q].take();
}

}  // namespace srvdb
