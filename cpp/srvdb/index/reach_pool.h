// The candidates of a walk among partly excluded rows. Internal to the index layer.
//
// The ef best, as in CandidatePool, and beyond them every row that is at most kReach times as far
// from the query as the k-th best, up to a bound: where a walk ends by distance, it goes on for as
// long as there is doubt, however many rows lie in a shell about the query (Al-Jazzazi et al.,
// Distance Adaptive Beam Search, 2025). With all rows eligible or excluded ones anywhere, that is
// little more than ef; where the eligible rows lie far away, it is what finds the nearest of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "srvdb/index/walk_scratch.h"

namespace srvdb {

class ReachPool {
 public:
  // `nearest_key` is that of CodeDistance.
  ReachPool(WalkScratch& scratch, const WalkOptions& options, double nearest_key)
      : ef_(options.ef),
        least_(ef_),
        wanted_(options.wanted != 0 ? std::min(options.wanted, ef_) : ef_),
        nearest_key_(nearest_key),
        widest_(reach_factor(static_cast<double>(ef_) / static_cast<double>(wanted_))),
        pool_(scratch, std::max(ef_, std::min(kWider * ef_, std::max(2 * ef_, kWidest)))) {
    set_doubt(1, 1);
  }

  // How far the eligible rows seem to lie apart from where the query is: 0 for not at all, when ef
  // is enough, to 1; and how many more than ef may be looked at for that, of the most, 0 to 1.
  void set_doubt(double doubt, double room) noexcept {
    if (std::isnan(nearest_key_)) {
      least_ = ef_ + static_cast<std::size_t>(doubt * static_cast<double>(ef_));
    } else {
      factor_ = 1 + (widest_ - 1) * doubt;
    }
    const auto more = static_cast<double>(pool_.places() - ef_);
    most_ = std::max(least_, ef_ + static_cast<std::size_t>(room * more));
  }

  // Keys above this cannot enter.
  std::int32_t limit() const noexcept {
    return std::min(pool_.key_below(most_ - 1), std::max(pool_.key_below(least_ - 1), reach_));
  }
  // The largest key of rows that are nearer than the last one wanted.
  std::int32_t wanted_key() const noexcept { return pool_.key_below(wanted_ - 1); }
  void insert(const std::uint64_t* candidates, std::size_t n) noexcept {
    if (n == 0) return;
    pool_.insert(candidates, n);
    const std::uint64_t last = pool_.at(wanted_ - 1);
    if (last == simd::kNoCandidate || std::isnan(nearest_key_)) return;
    const double key = nearest_key_ + factor_ * (pool_entry::key(last) - nearest_key_);
    reach_ = static_cast<std::int32_t>(std::clamp<double>(key, INT32_MIN, INT32_MAX));
    pool_.drop(least_, reach_);
  }
  // Best row not yet expanded, which then counts as expanded; false when there is none.
  bool next(Row& row) noexcept { return goes_on() && pool_.next(row); }
  // The row that next() would give now; false when there is none.
  bool peek(Row& row) noexcept { return goes_on() && pool_.peek(row); }
  // The candidates, best first.
  std::span<const std::uint64_t> finish() const noexcept { return pool_.finish(); }

 private:
  static constexpr std::size_t kWider = 8;     // times ef: the most that are kept,
  static constexpr std::size_t kWidest = 400;  // and no more than that unless ef is

  // Of squared distances, for ef = width * k: a wider search asks for more certainty. Fitted to
  // filters that leave out what surrounds the query (benchmarks/EXPERIMENTS.md); where none does,
  // ef rows lie about as near.
  static double reach_factor(double width) noexcept {
    return std::max(1.06 * 1.06, std::pow(width, 2.0 / 21));
  }

  bool goes_on() noexcept {
    const std::size_t place = pool_.open_place();
    return place < least_ || (place < most_ && pool_.key_below(place) < reach_);
  }

  std::size_t ef_;
  std::size_t least_;
  std::size_t most_ = 0;
  std::size_t wanted_;
  double nearest_key_;
  double widest_;
  double factor_ = 1;
  std::int32_t reach_ = INT32_MIN;
  CandidatePool pool_;
};

}  // namespace srvdb
