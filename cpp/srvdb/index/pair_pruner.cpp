#include "srvdb/index/pair_pruner.h"

#include <algorithm>

#include "srvdb/index/near_lists.h"

namespace srvdb {

void PairPruner::prune(const CodesView& codes, Row self, std::span<const Row> candidates,
                       std::size_t bound) {
  chosen_.clear();
  const std::size_t n = candidates.size();
  if (n == 0) return;
  pairs_.columns(codes, candidates);
  ids_.assign(candidates.begin(), candidates.end());
  ids_.push_back(self);
  pairs_.rows(codes, ids_);
  pairs_.measure();
  limits_.resize(n);
  order_.resize(n);
  for (std::size_t j = 0; j < n; ++j) {
    const std::int64_t key = pairs_.key(n, j);
    limits_[j] = static_cast<std::int32_t>(relaxed_ ? key * kAlphaDen / kAlphaNum : key - 1);
    order_[j] = {near_entry::pack(static_cast<std::int32_t>(key), self, ids_[j]),
                 static_cast<std::uint32_t>(j)};
  }
  std::sort(order_.begin(), order_.end());
  open_.resize(n);
  for (std::size_t i = 0; i < n; ++i) open_[i] = order_[i].second;
  for (std::size_t open = n; open > 0 && chosen_.size() < bound;) {
    const std::uint32_t best = open_[0];
    chosen_.push_back(ids_[best]);
    const std::int32_t* const keys = pairs_.keys(best);
    const std::uint32_t own = pairs_.own(best);
    std::size_t kept = 0;
    for (std::size_t i = 1; i < open; ++i) {
      const std::uint32_t j = open_[i];
      const auto key = static_cast<std::int32_t>(static_cast<std::uint32_t>(keys[j]) + own);
      open_[kept] = j;
      kept += key > limits_[j] ? 1u : 0u;
    }
    open = kept;
  }
}

}  // namespace srvdb
