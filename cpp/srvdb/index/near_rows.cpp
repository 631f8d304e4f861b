#include "srvdb/index/near_rows.h"

#include <algorithm>
#include <vector>

#include "srvdb/base/scheduler.h"

namespace srvdb {
namespace {

constexpr std::size_t kPart = 480;        // rows of a part, about
constexpr std::size_t kMaxPart = 2048;    // more are cut up
constexpr std::size_t kTaken = 12;        // nearest rows taken from a part: few, so that all
                                          // directions have a say
constexpr std::size_t kMaxPivots = 8192;  // of the whole
constexpr std::size_t kCutOverlap = 2;    // parts of a large part that a row is in
constexpr std::size_t kMaxDepth = 8;      // from here on parts are cut anywhere
constexpr std::size_t kBlock = 4096;      // rows that one thread sends to pivots at a time
constexpr std::size_t kStep = 24;         // rows measured at once

std::uint32_t scatter(std::uint32_t x) noexcept {
  x = (x ^ x >> 16) * 0x85EBCA6Bu;
  x = (x ^ x >> 13) * 0xC2B2AE35u;
  return x ^ x >> 16;
}

// The nearest of the columns that one row after another is measured against.
class Nearest {
 public:
  // The `count` nearest columns of row i of `pairs`, of those not farther than `most`, ascending;
  // fewer when there are fewer. Entries name columns.
  std::span<const std::uint64_t> find(const CodePairs& pairs, std::size_t i, Row self,
                                      std::size_t n, std::size_t count, std::int32_t most) {
    const std::int32_t* const keys = pairs.keys(i);
    const std::int64_t own = static_cast<std::int32_t>(pairs.own(i));
    const std::int64_t last = most - own;
    picked_.resize(n);
    // The limit that was right for the row before is a good guess; raised while it is too low.
    std::int64_t limit = std::min(last, guess_ - own);
    std::int64_t raise = std::max<std::int64_t>(std::abs(guess_) / 8, 1);
    std::size_t hits = 0;
    while (true) {
      const auto at = std::clamp<std::int64_t>(limit, INT32_MIN, INT32_MAX);
      hits = simd::kernels().select_not_above_i32(keys, n, static_cast<std::int32_t>(at),
                                                  picked_.data());
      if (hits >= count || limit >= last || hits == n) break;
      limit = std::min(last, limit + raise);
      raise *= 2;
    }
    found_.clear();
    for (std::size_t p = 0; p < hits; ++p) {
      found_.push_back(near_entry::pack(pairs.key(i, picked_[p]), self, picked_[p]));
    }
    if (found_.size() > count) {
      const auto end = found_.begin() + static_cast<std::ptrdiff_t>(count);
      std::nth_element(found_.begin(), end, found_.end());
      found_.resize(count);
    }
    std::sort(found_.begin(), found_.end());
    if (found_.size() == count) {
      const std::int64_t key = near_entry::key(found_.back());
      guess_ = key + std::abs(key) / 16;
    }
    return found_;
  }
  void forget() noexcept { guess_ = INT32_MAX; }

 private:
  std::int64_t guess_ = INT32_MAX;
  std::vector<std::uint32_t> picked_;
  std::vector<std::uint64_t> found_;
};

// Rows sent to pivots: `fan` each, kNoRow where there were fewer.
struct Groups {
  std::vector<std::size_t> starts;  // of each group, and the end
  std::vector<Row> members;

  std::span<const Row> group(std::size_t g) const {
    return {members.data() + starts[g], starts[g + 1] - starts[g]};
  }
  void fill(std::span<const Row> ids, std::span<const std::uint32_t> to, std::size_t fan,
            std::size_t groups) {
    starts.assign(groups + 1, 0);
    for (const std::uint32_t g : to) {
      if (g != kNoRow) ++starts[g + 1];
    }
    for (std::size_t g = 0; g < groups; ++g) starts[g + 1] += starts[g];
    members.resize(starts[groups]);
    std::vector<std::size_t> at(starts.begin(), starts.end() - 1);
    for (std::size_t i = 0; i < to.size(); ++i) {
      if (to[i] != kNoRow) members[at[to[i]]++] = ids[i / fan];
    }
  }
};

class Finder {
 public:
  Finder(const CodesView& codes, std::span<CodePairs> pairs, const NearRowsOptions& options,
         NearLists& lists)
      : codes_(codes), pairs_(pairs), options_(options), lists_(lists), nearest_(pairs.size()) {}

  void run(std::span<const Row> ids, std::vector<Row>* pivots_of) {
    const std::size_t fan = kPivotsOfRow;
    if (pivots_of != nullptr) pivots_of->assign(ids.size() * fan, kNoRow);
    if (ids.size() <= kMaxPart) return compare(ids, 0);
    const std::vector<Row> pivots = choose_pivots(ids, fan, 0);
    std::vector<std::uint32_t> to(ids.size() * fan);
    for (CodePairs& pairs : pairs_) pairs.columns(codes_, pivots);
    parallel_for((ids.size() + kBlock - 1) / kBlock, 1, options_.threads, options_.interrupt,
                 [&](std::size_t block, std::size_t worker) {
                   const std::size_t first = block * kBlock;
                   send(ids, first, std::min(ids.size(), first + kBlock), pivots.size(), fan, to,
                        worker);
                 });
    Groups groups;
    groups.fill(ids, to, fan, pivots.size());
    if (pivots_of != nullptr) {
      for (std::size_t i = 0; i < to.size(); ++i) {
        if (to[i] != kNoRow) (*pivots_of)[i] = pivots[to[i]];
      }
    }
    to = {};
    parallel_for(pivots.size(), 1, options_.threads, options_.interrupt,
                 [&](std::size_t g, std::size_t worker) { cut(groups.group(g), 1, worker); });
  }

 private:
  static std::vector<Row> choose_pivots(std::span<const Row> ids, std::size_t fan,
                                        std::size_t depth) {
    const std::size_t n = ids.size();
    std::vector<Row> pivots(std::clamp<std::size_t>(n * fan / kPart, 2, kMaxPivots));
    for (std::size_t i = 0; i < pivots.size(); ++i) {
      const std::size_t first = i * n / pivots.size();
      const std::size_t last = (i + 1) * n / pivots.size();
      const auto seed = static_cast<std::uint32_t>(first * 31 + depth * 7919) + ids[0];
      pivots[i] = ids[first + scatter(seed) % (last - first)];
    }
    return pivots;
  }

  // Rows [first, last) of ids to their nearest pivots, which are the columns of the worker's pairs.
  void send(std::span<const Row> ids, std::size_t first, std::size_t last, std::size_t pivots,
            std::size_t fan, std::span<std::uint32_t> to, std::size_t worker) {
    CodePairs& pairs = pairs_[worker];
    Nearest& nearest = nearest_[worker];
    nearest.forget();
    for (std::size_t at = first; at < last; at += kStep) {
      const std::size_t n = std::min(kStep, last - at);
      pairs.rows(codes_, ids.subspan(at, n));
      pairs.measure();
      for (std::size_t i = 0; i < n; ++i) {
        const Row self = ids[at + i];
        const auto found = nearest.find(pairs, i, self, pivots, fan, INT32_MAX);
        for (std::size_t f = 0; f < fan; ++f) {
          to[(at + i) * fan + f] = f < found.size() ? near_entry::row(found[f], self) : kNoRow;
        }
      }
    }
  }

  void cut(std::span<const Row> ids, std::size_t depth, std::size_t worker) {
    if (ids.size() <= kMaxPart) return compare(ids, worker);
    if (depth == kMaxDepth) {  // rows that no pivot tells apart
      for (std::size_t i = 0; i < ids.size(); i += kMaxPart) {
        compare(ids.subspan(i, std::min(kMaxPart, ids.size() - i)), worker);
      }
      return;
    }
    check(options_.interrupt);
    const std::size_t fan = depth == 1 ? kCutOverlap : 1;
    const std::vector<Row> pivots = choose_pivots(ids, fan, depth);
    std::vector<std::uint32_t> to(ids.size() * fan);
    pairs_[worker].columns(codes_, pivots);
    send(ids, 0, ids.size(), pivots.size(), fan, to, worker);
    Groups groups;
    groups.fill(ids, to, fan, pivots.size());
    for (std::size_t g = 0; g < pivots.size(); ++g) cut(groups.group(g), depth + 1, worker);
  }

  // All rows of a part with all others.
  void compare(std::span<const Row> ids, std::size_t worker) {
    if (ids.size() < 2) return;
    CodePairs& pairs = pairs_[worker];
    Nearest& nearest = nearest_[worker];
    std::vector<std::uint64_t> offered;
    nearest.forget();
    pairs.columns(codes_, ids);
    for (std::size_t at = 0; at < ids.size(); at += kStep) {
      const std::size_t n = std::min(kStep, ids.size() - at);
      pairs.rows(codes_, ids.subspan(at, n));
      pairs.measure();
      for (std::size_t i = 0; i < n; ++i) {
        const Row self = ids[at + i];
        offered.clear();
        for (const std::uint64_t entry :
             nearest.find(pairs, i, self, ids.size(), kTaken + 1, lists_.limit(self))) {
          const Row other = ids[near_entry::row(entry, self)];
          if (other == self) continue;
          offered.push_back(near_entry::pack(near_entry::key(entry), self, other));
        }
        std::sort(offered.begin(), offered.end());
        lists_.offer(self, offered);
      }
    }
  }

  const CodesView& codes_;
  std::span<CodePairs> pairs_;
  const NearRowsOptions& options_;
  NearLists& lists_;
  std::vector<Nearest> nearest_;
};

}  // namespace

void find_near_rows(const CodesView& codes, Row rows, std::span<CodePairs> pairs,
                    const NearRowsOptions& options, NearLists& lists, std::vector<Row>* pivots) {
  std::vector<Row> ids;
  for (Row row = 0; row < rows; row += lists.step()) ids.push_back(row);
  Finder(codes, pairs, options, lists).run(ids, pivots);
}

}  // namespace srvdb
