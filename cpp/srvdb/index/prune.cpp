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
  kept_ = chosen_.size();
  if (chosen_.size() >= bound || passed_.empty()) return;
  std::sort(passed_.begin(), passed_.end(), CandidateOrder{self});
  for (const Neighbor& spare : passed_) {
    if (chosen_.size() == bound) break;
    chosen_.push_back(spare.row);
  }
}

bool Pruner::prune_known(const CodesView& codes, std::span<const Known> candidates,
                         std::size_t bound) {
  if (!relaxed_) return false;
  const std::size_t n = candidates.size();
  ids_.resize(n);
  fresh_.clear();
  for (std::size_t i = 0; i < n; ++i) {
    ids_[i] = candidates[i].candidate.row;
    if (candidates[i].role == Role::kNew) fresh_.push_back(i);
  }
  keys_.resize(fresh_.size() * n);  // from each new one to all
  for (std::size_t f = 0; f < fresh_.size(); ++f) {
    probe_.set(codes.code(ids_[fresh_[f]]));
    probe_.many(codes.base, ids_.data(), n, keys_.data() + f * n);
  }
  chosen_.clear();
  passed_.clear();
  taken_.assign(n, 0);
  bool lost = false;     // a kept one was passed over
  std::size_t next = 0;  // new ones before the candidate
  for (std::size_t i = 0; i < n && chosen_.size() < bound; ++i) {
    const auto& [candidate, role] = candidates[i];
    bool led = false;
    if (role == Role::kNew) {
      const std::int32_t* const keys = keys_.data() + next++ * n;
      for (std::size_t j = 0; j < i; ++j) led |= taken_[j] != 0 && leads(keys[j], candidate.key);
    } else if (role == Role::kKept) {
      for (std::size_t f = 0; f < next; ++f) {
        led |= taken_[fresh_[f]] != 0 && leads(keys_[f * n + i], candidate.key);
      }
      lost |= led;
    } else {
      if (lost) return false;
      led = true;
    }
    if (led) {
      passed_.push_back(candidate);
    } else {
      taken_[i] = 1;
      chosen_.push_back(candidate.row);
    }
  }
  kept_ = chosen_.size();
  for (std::size_t i = 0; i < passed_.size() && chosen_.size() < bound; ++i) {
    chosen_.push_back(passed_[i].row);
  }
  return true;
}

}  // namespace srvdb
