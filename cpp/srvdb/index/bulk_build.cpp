#include "srvdb/index/bulk_build.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "srvdb/base/scheduler.h"
#include "srvdb/index/code_pairs.h"
#include "srvdb/index/graph_reach.h"
#include "srvdb/index/near_lists.h"
#include "srvdb/index/near_rows.h"
#include "srvdb/index/pair_pruner.h"

namespace srvdb {
namespace {

constexpr Row kMinRows = 4096;          // fewer are linked one by one
constexpr Row kMaxBulkRows = 1u << 22;  // more would take too much memory
constexpr std::size_t kNear = 64;       // near rows of each row that links are chosen from
constexpr std::size_t kFar = 16;        // and of the rows of each sample, from the sample
constexpr Row kSample = 8;              // every so many-th row is one of the next sample
constexpr Row kMinSample = 512;         // rows
constexpr std::size_t kBack = 96;       // links back that are weighed, the nearest
constexpr std::uint32_t kMinIn = 12;    // rows that should link to each row
constexpr std::size_t kGrain = 64;

struct Worker {
  Worker(Metric metric, CodePairs& p) : pairs(p), pruner(metric, p) {}

  CodePairs& pairs;
  PairPruner pruner;
  std::vector<Row> ids;
  std::vector<std::uint64_t> near;
};

class Bulk {
 public:
  Bulk(const GraphParams& params, const CodesView& codes, Row rows, const BulkOptions& options)
      : codes_(codes),
        rows_(rows),
        bound_(params.bound()),
        threads_(options.threads == 0 ? default_threads() : options.threads),
        interrupt_(options.interrupt),
        terms_(params.metric),
        graph_(std::make_unique<Graph>(params, options.source)) {
    terms_.make(codes, rows, threads_, interrupt_);
    pairs_.reserve(threads_);
    for (std::size_t i = 0; i < threads_; ++i) {
      pairs_.emplace_back(terms_);
      workers_.emplace_back(params.metric, pairs_.back());
    }
  }

  std::unique_ptr<Graph> run() {
    links_.resize(std::size_t{rows_} * bound_);
    degrees_.assign(rows_, 0);
    {
      const std::vector<NearLists> lists = find_candidates();
      each_row([&](Row row, Worker& worker) { choose(lists, row, worker); });
      estimate_dimension(lists.front());
      pivots_ = {};
    }
    return join();
  }

 private:
  template <typename Body>
  void each_row(const Body& body) {
    parallel_for(rows_, kGrain, threads_, interrupt_, [&](std::size_t row, std::size_t worker) {
      body(static_cast<Row>(row), workers_[worker]);
    });
  }
  std::span<Row> links(Row row) noexcept {
    return {links_.data() + std::size_t{row} * bound_, degrees_[row]};
  }
  void keep(Row row, std::span<const Row> chosen) noexcept {
    std::copy(chosen.begin(), chosen.end(), links_.data() + std::size_t{row} * bound_);
    degrees_[row] = static_cast<std::uint16_t>(chosen.size());
  }

  // Near rows of all rows; and, for long links that lead from one region to another, pivots near to
  // each row, and near rows of every eighth row among those, of every 64th, and so on.
  std::vector<NearLists> find_candidates() {
    const NearRowsOptions options{.threads = threads_, .interrupt = interrupt_};
    std::vector<NearLists> lists;
    lists.emplace_back(rows_, Row{1}, kNear);
    find_near_rows(codes_, rows_, pairs_, options, lists.back(), &pivots_);
    for (Row step = kSample; rows_ / step >= kMinSample; step *= kSample) {
      lists.emplace_back(rows_, step, kFar);
      find_near_rows(codes_, rows_, pairs_, options, lists.back(), nullptr);
    }
    return lists;
  }

  void estimate_dimension(const NearLists& lists) {
    std::vector<float> estimates(rows_);
    each_row([&](Row row, Worker&) {
      const std::span<const std::uint64_t> near = lists.list(row);
      estimates[row] = IntrinsicDimension::of_row(
          near.size(), [&](std::size_t i) { return near_entry::key(near[i]); });
    });
    graph_->set_dimension(IntrinsicDimension().with(estimates));
  }

  void choose(const std::vector<NearLists>& lists, Row row, Worker& worker) {
    auto& ids = worker.ids;
    ids.clear();
    const auto add = [&](Row other) {
      if (std::find(ids.begin(), ids.end(), other) == ids.end()) ids.push_back(other);
    };
    for (const NearLists& list : lists) {
      if (row % list.step() != 0) break;
      for (const std::uint64_t entry : list.list(row)) add(near_entry::row(entry, row));
    }
    for (std::size_t i = 0; i < kPivotsOfRow; ++i) {
      const Row pivot = pivots_[std::size_t{row} * kPivotsOfRow + i];
      if (pivot != kNoRow && pivot != row) add(pivot);
    }
    worker.pruner.prune(codes_, row, ids, bound_);
    keep(row, worker.pruner.chosen());
  }

  // The rows that have chosen each row, in order: those of row r are
  // sources[starts[r] .. starts[r + 1]).
  void turn_around(std::vector<std::uint64_t>& starts, std::vector<Row>& sources) {
    std::vector<std::uint32_t> counts(rows_, 0);
    each_row([&](Row row, Worker&) {
      for (const Row to : links(row)) {
        std::atomic_ref(counts[to]).fetch_add(1, std::memory_order_relaxed);
      }
    });
    starts.resize(std::size_t{rows_} + 1);
    starts[0] = 0;
    for (Row row = 0; row < rows_; ++row) starts[row + std::size_t{1}] = starts[row] + counts[row];
    sources.resize(starts[rows_]);
    std::fill(counts.begin(), counts.end(), 0u);
    each_row([&](Row row, Worker&) {
      for (const Row to : links(row)) {
        sources[starts[to] + std::atomic_ref(counts[to]).fetch_add(1, std::memory_order_relaxed)] =
            row;
      }
    });
  }

  void merge(Row row, std::span<const Row> sources, Worker& worker) {
    auto& ids = worker.ids;
    const auto own = links(row);
    ids.assign(own.begin(), own.end());
    const Row self[] = {row};
    worker.near.clear();
    if (!sources.empty()) {
      worker.pairs.columns(codes_, sources);
      worker.pairs.rows(codes_, self);
      worker.pairs.measure();
      for (std::size_t j = 0; j < sources.size(); ++j) {
        if (std::find(own.begin(), own.end(), sources[j]) != own.end()) continue;
        worker.near.push_back(near_entry::pack(worker.pairs.key(0, j), row, sources[j]));
      }
    }
    std::sort(worker.near.begin(), worker.near.end());
    if (worker.near.size() > kBack) worker.near.resize(kBack);
    for (const std::uint64_t entry : worker.near) ids.push_back(near_entry::row(entry, row));
    if (ids.size() <= bound_) return graph_->set_links(row, ids);
    worker.pruner.prune(codes_, row, ids, bound_);
    graph_->set_links(row, worker.pruner.chosen());
  }

  // Sees to it that at least so many rows link to each row, as far as those that it links to have
  // room or links to rows that many others link to.
  void lift() {
    std::vector<std::uint32_t> in(rows_, 0);
    std::vector<Row> from;
    std::vector<Row> to;
    for (Row row = 0; row < rows_; ++row) {
      graph_->links(row, to);
      for (const Row id : to) ++in[id];
    }
    for (Row row = 0; row < rows_; ++row) {
      if (row % 65536 == 0) check(interrupt_);
      if (in[row] >= kMinIn) continue;
      graph_->links(row, to);
      for (std::size_t i = 0; i < to.size() && in[row] < kMinIn; ++i) {
        graph_->links(to[i], from);
        if (std::find(from.begin(), from.end(), row) != from.end()) continue;
        if (from.size() == bound_) {
          const auto half = from.rend() - static_cast<std::ptrdiff_t>(bound_ / 2);
          const auto spare =
              std::find_if(from.rbegin(), half, [&](Row id) { return in[id] > 2 * kMinIn; });
          if (spare == half) continue;
          --in[*spare];
          from.erase(std::next(spare).base());
        }
        from.push_back(row);
        graph_->set_links(to[i], from);
        ++in[row];
      }
    }
  }

  std::unique_ptr<Graph> join() {
    std::vector<std::uint64_t> starts;
    std::vector<Row> sources;
    turn_around(starts, sources);
    graph_->reserve(rows_);
    each_row([&](Row row, Worker& worker) {
      merge(row, {sources.data() + starts[row], sources.data() + starts[row + std::size_t{1}]},
            worker);
    });
    lift();
    graph_->set_linked(rows_);
    make_reachable(*graph_);
    return std::move(graph_);
  }

  const CodesView& codes_;
  const Row rows_;
  const std::size_t bound_;
  const std::size_t threads_;
  Interrupt* const interrupt_;
  CodeTerms terms_;
  std::vector<CodePairs> pairs_;
  std::vector<Worker> workers_;
  std::unique_ptr<Graph> graph_;
  std::vector<Row> pivots_;
  std::vector<Row> links_;
  std::vector<std::uint16_t> degrees_;
};

}  // namespace

bool bulk_pays(const GraphParams& params, std::size_t stride, Row linked, Row rows) noexcept {
  return params.metric != Metric::kIp && stride <= CodePairs::kMaxStride && rows >= kMinRows &&
         rows <= kMaxBulkRows && rows - linked >= linked;
}

std::unique_ptr<Graph> bulk_build(const GraphParams& params, const CodesView& codes, Row rows,
                                  const BulkOptions& options) {
  return Bulk(params, codes, rows, options).run();
}

}  // namespace srvdb
