#include "srvdb/index/prune.h"

#include <algorithm>

namespace srvdb {

void CodeProbe::set(const std::uint8_t* code, std::size_t stride) {
  kernels_ = simd::kernels().l2_u8;
  if (wide_.size() != stride) wide_.reset(stride);
  stride_ = stride;
  for (std::size_t i = 0; i < stride; ++i) wide_[i] = code[i];
}

void CodeProbe::many(const std::uint8_t* base, const Row* ids, std::size_t n,
                     std::int32_t* out) const {
  if (n == 0) return;
  if (stride_ <= kMaxPiece) return kernels_.many(wide_.data(), base, stride_, ids, n, out);
  for (std::size_t i = 0; i < n; ++i) out[i] = long_distance(base + std::size_t{ids[i]} * stride_);
}

void CodeProbe::rows(const std::uint8_t* base, std::size_t n, std::int32_t* out) const {
  if (n == 0) return;
  if (stride_ <= kMaxPiece) return kernels_.rows(wide_.data(), base, stride_, n, out);
  for (std::size_t i = 0; i < n; ++i) out[i] = long_distance(base + i * stride_);
}

std::int32_t CodeProbe::long_distance(const std::uint8_t* code) const {
  std::int64_t sum = 0;
  for (std::size_t at = 0; at < stride_; at += kMaxPiece) {
    const std::size_t piece = std::min(kMaxPiece, stride_ - at);
    sum += kernels_.one(wide_.data() + at, code + at, piece);
  }
  return static_cast<std::int32_t>(sum / 2);  // at most two pieces (kMaxDimension)
}

void Pruner::prune(const CodesView& codes, std::span<const Neighbor> candidates, std::size_t bound,
                   const PruneRule& rule) {
  chosen_.clear();
  passed_.clear();
  open_.assign(candidates.begin(), candidates.end());
  while (!open_.empty() && chosen_.size() < bound) {
    chosen_.push_back(open_.front().row);
    const std::size_t rest = open_.size() - 1;
    if (rest == 0 || chosen_.size() == bound) break;
    probe_.set(codes.code(open_.front().row), codes.stride);
    ids_.resize(rest);
    keys_.resize(rest);
    for (std::size_t i = 0; i < rest; ++i) ids_[i] = open_[i + 1].row;
    probe_.many(codes.base, ids_.data(), rest, keys_.data());
    std::size_t kept = 0;
    for (std::size_t i = 0; i < rest; ++i) {
      const Neighbor candidate = open_[i + 1];
      if (keys_[i] * rule.alpha_num <= candidate.key * PruneRule::kAlphaDen) {
        passed_.push_back(candidate);
      } else {
        open_[kept++] = candidate;
      }
    }
    open_.resize(kept);
  }
  if (!rule.fill || chosen_.size() >= bound || passed_.empty()) return;
  std::sort(passed_.begin(), passed_.end(), [](const Neighbor& a, const Neighbor& b) {
    return a.key != b.key ? a.key < b.key : a.row < b.row;
  });
  for (const Neighbor& spare : passed_) {
    if (chosen_.size() == bound) break;
    chosen_.push_back(spare.row);
  }
}

}  // namespace srvdb
