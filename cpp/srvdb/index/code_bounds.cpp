#include "srvdb/index/code_bounds.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "srvdb/simd/dispatch.h"

namespace srvdb {
namespace {

// Never zero, because a norm is not; so zero can mean "not known".
std::uint64_t to_word(const CodeBound& bound) noexcept {
  return std::uint64_t{std::bit_cast<std::uint32_t>(bound.norm)} << 32 |
         std::bit_cast<std::uint32_t>(bound.error);
}

CodeBound from_word(std::uint64_t word) noexcept {
  return {.error = std::bit_cast<float>(static_cast<std::uint32_t>(word)),
          .norm = std::bit_cast<float>(static_cast<std::uint32_t>(word >> 32))};
}

}  // namespace

float code_norm(double scale, std::int32_t square) noexcept {
  const double norm = scale * std::sqrt(static_cast<double>(std::max(square, 1)));
  return round_up_to_float(norm * (1 + 0x1p-40));
}

CodeBounds::CodeBounds(const CodesView& codes, const ScalarQuantizer& quantizer)
    : codes_(codes), norms_(quantizer.metric() == Metric::kIp), scale_(quantizer.scale()) {
  if (!norms_) return;
  zero_.reset(quantizer.stride());
  std::fill_n(zero_.data(), quantizer.dim(),
              static_cast<std::int16_t>(-quantizer.offset() / scale_));
}

CodeBound CodeBounds::rows(Row first, Row last) const {
  const Row block = first / kBoundRows;
  const std::size_t end = (std::size_t{block} + 1) * kBoundRows;
  if (codes_.blocks == nullptr || end > codes_.rows) return measure(first, last);
  const std::uint64_t known = codes_.blocks[block].load(std::memory_order_relaxed);
  if (known != 0) return from_word(known);  // and all of its rows have been verified
  const CodeBound bound = measure(block * kBoundRows, static_cast<Row>(end));
  codes_.blocks[block].store(to_word(bound), std::memory_order_relaxed);
  return bound;
}

CodeBound CodeBounds::with_norm(Row row) const noexcept {
  const std::int32_t square =
      simd::kernels().l2_u8.one(zero_.data(), codes_.code(row), codes_.stride);
  return {.error = codes_.error(row), .norm = code_norm(scale_, square)};
}

CodeBound CodeBounds::measure(Row first, Row last) const {
  codes_.verify(first, last);
  CodeBound bound;
  for (Row r = first; r < last; ++r) bound.error = std::max(bound.error, codes_.error(r));
  if (!norms_) return bound;
  std::int32_t squares[kBoundRows];
  simd::kernels().l2_u8.rows(zero_.data(), codes_.code(first), codes_.stride, last - first,
                             squares);
  bound.norm = code_norm(scale_, *std::max_element(squares, squares + (last - first)));
  return bound;
}

}  // namespace srvdb
