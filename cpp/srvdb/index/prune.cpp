#include "srvdb/index/prune.h"

#include <algorithm>

namespace srvdb {

CodeProbe::CodeProbe(Metric metric, std::size_t dim)
    : dot_(metric == Metric::kIp),
      dim_(dim),
      stride_(code_stride(dim)),
      kernels_(dot_ ? simd::kernels().dot_u8s8 : simd::kernels().l2_u8) {
  if (dot_) {
    narrow_.reset(stride_);
  } else {
    wide_.reset(stride_);
  }
}

void CodeProbe::set(const std::uint8_t* code) {
  if (!dot_) {
    for (std::size_t i = 0; i < stride_; ++i) wide_[i] = code[i];
    return;
  }
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < dim_; ++i) {
    const int value = std::max(code[i] - 128, -127);
    narrow_[i] = static_cast<std::int8_t>(value);
    sum += value;
  }
  shift_ = static_cast<std::int32_t>(sum * 128);  // below 2^30 in size (kMaxDimension)
}

void CodeProbe::many(const std::uint8_t* base, const Row* ids, std::size_t n,
                     std::int32_t* out) const {
  if (n == 0) return;
  if (dot_) {
    kernels_.many(narrow_.data(), base, stride_, ids, n, out);
    for (std::size_t i = 0; i < n; ++i) out[i] += shift_;
  } else if (stride_ <= kMaxPiece) {
    kernels_.many(wide_.data(), base, stride_, ids, n, out);
  } else {
    for (std::size_t i = 0; i < n; ++i) {
      out[i] = long_distance(base + std::size_t{ids[i]} * stride_);
    }
  }
}

void CodeProbe::rows(const std::uint8_t* base, std::size_t n, std::int32_t* out) const {
  if (n == 0) return;
  if (dot_) {
    kernels_.rows(narrow_.data(), base, stride_, n, out);
    for (std::size_t i = 0; i < n; ++i) out[i] += shift_;
  } else if (stride_ <= kMaxPiece) {
    kernels_.rows(wide_.data(), base, stride_, n, out);
  } else {
    for (std::size_t i = 0; i < n; ++i) out[i] = long_distance(base + i * stride_);
  }
}

std::int32_t CodeProbe::long_distance(const std::uint8_t* code) const {
  std::int64_t sum = 0;
  for (std::size_t at = 0; at < stride_; at += kMaxPiece) {
    const std::size_t piece = std::min(kMaxPiece, stride_ - at);
    sum += kernels_.one(wide_.data() + at, code + at, piece);
  }
  return static_cast<std::int32_t>(sum / 2);  // at most two pieces (kMaxDimension)
}

void Pruner::prune(const CodesView& codes, Row self, std::span<const Neighbor> candidates,
                   std::size_t bound) {
  chosen_.clear();
  passed_.clear();
  open_.assign(candidates.begin(), candidates.end());
  while (!open_.empty() && chosen_.size() < bound) {
    chosen_.push_back(open_.front().row);
    const std::size_t rest = open_.size() - 1;
    if (rest == 0 || chosen_.size() == bound) break;
    probe_.set(codes.code(open_.front().row));
    ids_.resize(rest);
    keys_.resize(rest);
    for (std::size_t i = 0; i < rest; ++i) ids_[i] = open_[i + 1].row;
    probe_.many(codes.base, ids_.data(), rest, keys_.data());
    std::size_t kept = 0;
    for (std::size_t i = 0; i < rest; ++i) {
      const Neighbor candidate = open_[i + 1];
      if (leads(keys_[i], candidate.key)) {
        passed_.push_back(candidate);
      } else {
        open_[kept++] = candidate;
      }
    }
    open_.resize(kept);
  }
  if (chosen_.size() >= bound || passed_.empty()) return;
  std::sort(passed_.begin(), passed_.end(), CandidateOrder{self});
  for (const Neighbor& spare : passed_) {
    if (chosen_.size() == bound) break;
    chosen_.push_back(spare.row);
  }
}

}  // namespace srvdb
