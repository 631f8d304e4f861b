// The candidates of a walk: which of them are expanded, and which are kept. Internal to the index
// layer.
//
// As in any best-first search these would be the ef best, were all queries alike. They are not:
// where the k best stand out few steps are enough, where many rows are about as near it takes many.
// So a walk ends by distance: at the first row that is more than `reach` times as far from the
// query (squared) as the k-th best so far, and at 2 ef rows (Al-Jazzazi et al., Distance Adaptive
// Beam Search, 2025). `reach` is how far the ef-th nearest row of such a set would be
// (intrinsic_dimension.h), so that about ef rows are expanded on average.
//
// Where rows are excluded, the eligible ones may lie apart from the query, in a shell about it:
// then it goes on further, as far as there is doubt, with more rows.
//
// Rows whose codes cannot tell them from the k-th best are kept, expanded or not, for exact scores.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "srvdb/index/search_plan.h"
#include "srvdb/index/walk_scratch.h"
#include "srvdb/quant/code_query.h"

namespace srvdb {

class WalkPool {
 public:
  // Without options.reach, and where keys are no distances, it is the ef best that are expanded and
  // kept, or as many as are wanted.
  WalkPool(WalkScratch& scratch, const WalkOptions& options, const CodeDistance& query)
      : query_(query),
        has_distances_(!std::isnan(query.nearest_key()) && options.wanted != 0),
        by_reach_(has_distances_ && options.reach > 0),
        in_doubt_(options.excluded != nullptr && !options.excluded->empty()),
        ef_(by_reach_ ? options.ef : std::max(options.ef, options.wanted)),
        wanted_(options.wanted != 0 ? options.wanted : ef_),
        kept_(by_reach_ ? wanted_ + wanted_ / 2 + kSpare : ef_ + most_through(options)),
        reach_(by_reach_ ? options.reach : 1),
        widest_(reach_in_doubt(static_cast<double>(ef_) / static_cast<double>(wanted_))),
        has_wanted_(!by_reach_),
        pool_(scratch, places()) {
    set_doubt(1, 1);
  }

  // Where rows are excluded: how far the eligible ones seem to lie apart from where the query is, 0
  // for not at all to 1; and how many more may be looked at for that, of the most, 0 to 1.
  void set_doubt(double doubt, double room) noexcept {
    least_ = by_reach_ ? std::min(ef_, wanted_) : ef_;
    most_ = by_reach_ ? kWider * ef_ : ef_;
    most_in_doubt_ = 0;
    if (in_doubt_ && has_distances_) {
      in_doubt_reach_ = std::max(reach_, 1 + (widest_ - 1) * doubt);
      const auto more = static_cast<double>(widest_places() - ef_);
      most_in_doubt_ = ef_ + static_cast<std::size_t>(room * more);
    } else if (in_doubt_) {
      least_ += static_cast<std::size_t>(doubt * static_cast<double>(ef_));
      most_ = least_;
    }
    const std::size_t alike = has_distances_ ? kAlike : 0;
    kept_most_ = std::min(pool_.places(), std::max({most_, most_in_doubt_, kept_}) + alike);
  }

  // Keys above this cannot enter.
  std::int32_t limit() const noexcept { return std::min(limit_, pool_.key_below(kept_most_ - 1)); }
  // Likewise while entry rows are looked at, most of which lie far away: kept are those that
  // limit() lets in, of them the `least` best, or as many as are kept whatever their distance, and
  // all that codes cannot tell from them.
  std::int32_t entry_limit(std::size_t least) const noexcept {
    const std::size_t place = std::max(least, kept_) - 1;
    const std::uint64_t last = place < pool_.places() ? pool_.at(place) : simd::kNoCandidate;
    if (last == simd::kNoCandidate) return limit();
    return std::min(limit(), std::max(alike_key_, pool_entry::key(last)));
  }
  // The largest key of rows that are nearer than the last one wanted.
  std::int32_t wanted_key() const noexcept { return pool_.key_below(wanted_ - 1); }
  void insert(const std::uint64_t* candidates, std::size_t n) noexcept {
    if (n == 0) return;
    pool_.insert(candidates, n);
    if (has_distances_ && (by_reach_ || in_doubt_)) look_again();
  }
  // Best row not yet expanded, which then counts as expanded; false when there is none.
  bool next(Row& row) noexcept {
    const std::size_t place = pool_.open_place();
    if (!goes_on(place)) return false;
    row = pool_entry::row(pool_.at(place));
    pool_.expand(place);
    return true;
  }
  // The row that next() would give now; false when there is none.
  bool peek(Row& row) noexcept {
    const std::size_t place = pool_.open_place();
    if (!goes_on(place)) return false;
    row = pool_entry::row(pool_.at(place));
    return true;
  }
  // How many of the wanted ones, as far as they are known, are in the bitmap.
  std::size_t count_wanted(const RowBitmap& rows) const noexcept {
    std::size_t count = 0;
    for (std::size_t i = 0; i < std::min(wanted_, pool_.places()); ++i) {
      const std::uint64_t entry = pool_.at(i);
      if (entry == simd::kNoCandidate) break;
      count += rows.test(pool_entry::row(entry)) ? 1U : 0U;
    }
    return count;
  }
  // The candidates, best first.
  std::span<const std::uint64_t> finish() const noexcept { return pool_.finish(); }

 private:
  static constexpr std::size_t kWider = 2;         // times ef: rows expanded, at most
  static constexpr std::size_t kWiderInDoubt = 8;  // likewise, but no more than
  static constexpr std::size_t kWidest = 400;      // so many, unless ef is
  static constexpr std::size_t kSpare = 5;         // kept beyond 1.5 k, whatever their distance
  static constexpr std::size_t kAlike = 64;        // kept beyond those expanded, for their codes
  static constexpr double kDoubt = 4;              // standard deviations of what codes say

  // Rows to be left out of what is found, at most; with a reach kSpare and more are kept for them.
  static std::size_t most_through(const WalkOptions& options) noexcept {
    return options.through != nullptr ? most_left_out(options.ef, options.wanted) : 0;
  }
  // Of squared distances, for ef = width * k. Fitted to filters that leave out what surrounds the
  // query (benchmarks/EXPERIMENTS.md).
  static double reach_in_doubt(double width) noexcept {
    return std::max(1.06 * 1.06, std::pow(width, 2.0 / 21));
  }
  std::size_t widest_places() const noexcept {
    return std::max(ef_, std::min(kWiderInDoubt * ef_, std::max(2 * ef_, kWidest)));
  }
  std::size_t places() const noexcept {
    const std::size_t most = by_reach_ ? std::max(kWider * ef_, kept_) + kAlike : kept_;
    return in_doubt_ ? std::max(most, widest_places()) : most;
  }

  // After candidates came: how far away rows matter now.
  void look_again() noexcept {
    const std::uint64_t last = pool_.at(wanted_ - 1);
    if (last == simd::kNoCandidate) return;
    has_wanted_ = true;
    const std::int32_t key = pool_entry::key(last);
    const double deviation = query_.key_deviation(key);
    const double distance = std::max(key - query_.nearest_key(), deviation);
    reach_key_ = to_key(key + (reach_ - 1) * distance);
    in_doubt_key_ = to_key(key + (in_doubt_reach_ - 1) * distance);
    alike_key_ = to_key(key + kDoubt * deviation);
    const std::int32_t far = std::max({reach_key_, in_doubt_key_, alike_key_});
    pool_.drop(kept_, far);
    limit_ = std::max(far, pool_.key_below(kept_ - 1));
  }
  static std::int32_t to_key(double key) noexcept {
    return static_cast<std::int32_t>(std::clamp<double>(key, INT32_MIN, INT32_MAX));
  }
  // Whether the row there, the best one not yet expanded, is to be.
  bool goes_on(std::size_t place) const noexcept {
    if (!has_wanted_) return place < pool_.places();
    if (place < least_) return true;
    if (place >= std::max(most_, most_in_doubt_)) return false;
    const std::int32_t below = pool_.key_below(place);
    return (place < most_ && below < reach_key_) ||
           (place < most_in_doubt_ && below < in_doubt_key_);
  }

  const CodeDistance& query_;
  const bool has_distances_;
  const bool by_reach_;
  const bool in_doubt_;
  const std::size_t ef_;
  const std::size_t wanted_;
  const std::size_t kept_;
  const double reach_;
  const double widest_;
  double in_doubt_reach_ = 0;
  std::size_t least_ = 0;  // rows expanded, whatever their distance
  std::size_t most_ = 0;   // within reach
  std::size_t most_in_doubt_ = 0;
  std::size_t kept_most_ = 0;
  bool has_wanted_;  // candidates: until then there is no reach
  std::int32_t reach_key_ = INT32_MIN;
  std::int32_t in_doubt_key_ = INT32_MIN;
  std::int32_t alike_key_ = INT32_MIN;
  std::int32_t limit_ = INT32_MAX;
  CandidatePool pool_;
};

}  // namespace srvdb
