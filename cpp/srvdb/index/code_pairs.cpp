#include "srvdb/index/code_pairs.h"

#include <algorithm>

#include "srvdb/base/scheduler.h"

namespace srvdb {
namespace {

constexpr Row kTermBlock = 1024;

template <typename T>
void grow(AlignedBuffer<T>& buffer, std::size_t n) {
  if (buffer.size() < n) buffer.reset(n);
}

}  // namespace

void CodeTerms::make(const CodesView& codes, Row rows, std::size_t threads, Interrupt* interrupt) {
  terms_.resize(rows);
  const std::size_t stride = codes.stride;
  AlignedBuffer<std::int16_t> zeros(stride);
  AlignedBuffer<std::int8_t> ones(stride);
  std::fill_n(ones.data(), stride, std::int8_t{1});
  const auto& kernels = simd::kernels();
  const std::size_t blocks = (std::size_t{rows} + kTermBlock - 1) / kTermBlock;
  parallel_for(blocks, 1, threads, interrupt, [&](std::size_t block, std::size_t) {
    const Row first = static_cast<Row>(block) * kTermBlock;
    const Row n = std::min(rows - first, kTermBlock);
    codes.verify(first, first + n);
    std::int32_t sums[kTermBlock];
    kernels.dot_u8s8.rows(ones.data(), codes.code(first), stride, n, sums);  // minus the sum
    if (metric_ == Metric::kIp) {
      for (Row i = 0; i < n; ++i) {
        terms_[first + i] = {128 * static_cast<std::uint32_t>(-sums[i]), 0};
      }
      return;
    }
    std::int32_t squares[kTermBlock];
    kernels.l2_u8.rows(zeros.data(), codes.code(first), stride, n, squares);
    for (Row i = 0; i < n; ++i) {
      const auto square = static_cast<std::uint32_t>(squares[i]);
      terms_[first + i] = {
          square, static_cast<std::int32_t>(square + 256 * static_cast<std::uint32_t>(sums[i]))};
    }
  });
}

void CodePairs::columns(const CodesView& codes, std::span<const Row> ids) {
  stride_ = codes.stride;
  n_columns_ = ids.size();
  key_stride_ = round_up(n_columns_, simd::kPairColumns);
  grow(panel_, key_stride_ * stride_);
  bias_.resize(key_stride_);
  for (std::size_t j = 0; j < ids.size(); ++j) bias_[j] = terms_.bias(ids[j]);
  simd::kernels().pack_pairs(codes.base, ids.data(), ids.size(), stride_, panel_.data());
}

void CodePairs::rows(const CodesView& codes, std::span<const Row> ids) {
  const std::size_t stride = codes.stride;
  grow(rows_, ids.size() * stride);
  own_.resize(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    own_[i] = terms_.own(ids[i]);
    const std::uint8_t* const code = codes.code(ids[i]);
    std::int8_t* const to = rows_.data() + i * stride;
    for (std::size_t d = 0; d < stride; ++d) to[d] = static_cast<std::int8_t>(code[d] ^ 0x80);
  }
}

void CodePairs::measure() {
  const std::size_t n = own_.size();
  grow(keys_, n * key_stride_);
  simd::kernels().pair_keys(rows_.data(), n, panel_.data(), n_columns_, stride_, bias_.data(),
                            terms_.metric() == Metric::kIp ? 0 : 1, keys_.data(), key_stride_);
}

}  // namespace srvdb
