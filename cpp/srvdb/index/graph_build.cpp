#include "srvdb/index/graph_build.h"

#include <algorithm>
#include <bit>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "srvdb/base/large_memory.h"
#include "srvdb/base/scheduler.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/index/prune.h"
#include "srvdb/index/walk.h"

namespace srvdb {
namespace {

constexpr Row kMinBatch = 32;
constexpr Row kMaxBatch = 512;
constexpr Row kBatchShare = 32;  // a batch is at most this part of the linked rows
constexpr std::size_t kGrain = 8;
constexpr std::size_t kAskedBytes = 512;  // of a code, ahead of its use

// "target gets a link to source".
struct BackLink {
  Row target;
  Row source;
};

// The back-links of one target: a range of the sorted list.
struct Group {
  std::size_t first;
  std::size_t last;
};

struct Worker {
  Worker(Metric metric, std::size_t dim) : probe(metric, dim), pruner(metric, dim) {}

  CodeQuery query;
  CodeProbe probe;
  Pruner pruner;
  std::vector<Neighbor> found;
  std::vector<Neighbor> candidates;
  std::vector<Pruner::Known> known;
  std::vector<Row> ids;
  std::vector<std::int32_t> keys;
  std::vector<std::uint32_t> picked;
};

// How many of a row's links pruning has kept; they come first, the others are spare. 0: not known.
using Kept = std::uint8_t;

Kept as_kept(std::size_t kept) noexcept {
  return kept <= UINT8_MAX ? static_cast<Kept>(kept) : Kept{0};
}

// Link lists of a fixed bound, one after the other.
struct LinkTable {
  std::size_t bound = 0;
  std::vector<Row> ids;
  std::vector<std::uint32_t> degrees;
  std::vector<Kept> kept;

  void reset(std::size_t lists, std::size_t new_bound) {
    bound = new_bound;
    ids.resize(lists * bound);
    degrees.assign(lists, 0);
    kept.assign(lists, 0);
  }
  void set(std::size_t list, std::span<const Row> links, std::size_t kept_links) {
    std::copy(links.begin(), links.end(), ids.begin() + static_cast<std::ptrdiff_t>(list * bound));
    degrees[list] = static_cast<std::uint32_t>(links.size());
    kept[list] = as_kept(kept_links);
  }
  std::span<const Row> links(std::size_t list) const {
    return {ids.data() + list * bound, degrees[list]};
  }
};

}  // namespace

Row next_batch_end(Row linked) noexcept {
  if (linked == 0) return 1;
  const Row step = std::clamp(std::bit_floor(linked / kBatchShare), kMinBatch, kMaxBatch);
  return (linked / step + 1) * step;
}

struct GraphBuilder::State {
  explicit State(Graph& g) : graph(g) {}

  Graph& graph;
  std::vector<Worker> workers;
  LinkTable fresh;                // of the batch's rows
  LinkTable changed;              // of the rows that get back-links
  std::vector<float> dimensions;  // estimates of the batch's rows
  std::vector<BackLink> back;
  std::vector<Group> groups;
  // Of every row that this builder has pruned, by the codes of `coding`.
  ZeroedVector<Kept> kept;
  std::string coding;

  void link_batch(const CodesView& codes, const ScalarQuantizer& quantizer, Row first, Row last,
                  std::size_t threads, Interrupt* interrupt);
  void choose(const CodesView& codes, const ScalarQuantizer& quantizer, Row first, Row last,
              Row row, Worker& worker);
  void collect(const CodesView& codes, Row first, Row last, Row row, Worker& worker);
  void group_back_links(Row first, Row last);
  void merge(const CodesView& codes, Row first, std::size_t group, Worker& worker);
  void prune_links(const CodesView& codes, Row target, std::size_t had, std::size_t kept_links,
                   Worker& worker) const;
  void fetch_ahead(const CodesView& codes, Row first, std::size_t group) const;
};

// Fills worker.candidates from what the walk found and from the batch itself.
void GraphBuilder::State::collect(const CodesView& codes, Row first, Row last, Row row,
                                  Worker& worker) {
  const std::size_t ef = graph.params().ef_construction;
  const std::size_t n = std::max<std::size_t>(worker.found.size(), last - first);
  worker.ids.resize(n);
  worker.keys.resize(n);
  worker.picked.resize(n);
  worker.probe.set(codes.code(row));
  for (std::size_t i = 0; i < worker.found.size(); ++i) worker.ids[i] = worker.found[i].row;
  worker.probe.many(codes.base, worker.ids.data(), worker.found.size(), worker.keys.data());
  auto& out = worker.candidates;
  out.clear();
  std::int32_t worst = INT32_MIN;
  for (std::size_t i = 0; i < worker.found.size(); ++i) {
    out.push_back({worker.keys[i], worker.ids[i]});
    worst = std::max(worst, worker.keys[i]);
  }
  if (out.size() < ef) worst = INT32_MAX;
  worker.probe.rows(codes.code(first), last - first, worker.keys.data());
  const std::size_t hits = simd::kernels().select_not_above_i32(worker.keys.data(), last - first,
                                                                worst, worker.picked.data());
  for (std::size_t i = 0; i < hits; ++i) {
    const Row other = first + worker.picked[i];
    if (other != row) out.push_back({worker.keys[worker.picked[i]], other});
  }
  std::sort(out.begin(), out.end(), CandidateOrder{row});
  if (out.size() > ef) out.resize(ef);
}

// Links of a new row.
void GraphBuilder::State::choose(const CodesView& codes, const ScalarQuantizer& quantizer,
                                 Row first, Row last, Row row, Worker& worker) {
  quantizer.prepare_from_code(codes.code(row), worker.query);
  const CodeDistance distance(worker.query);
  graph_walk(graph, codes, distance, {.ef = graph.params().ef_construction, .limit = first},
             worker.found);
  collect(codes, first, last, row, worker);
  if (graph.params().metric != Metric::kIp) {
    dimensions[row - first] = IntrinsicDimension::of_row(
        worker.candidates.size(), [&](std::size_t i) { return worker.candidates[i].key; });
  }
  worker.pruner.prune(codes, row, worker.candidates, graph.params().bound());
  fresh.set(row - first, worker.pruner.chosen(), worker.pruner.kept());
}

void GraphBuilder::State::group_back_links(Row first, Row last) {
  back.clear();
  groups.clear();
  for (Row row = first; row < last; ++row) {
    for (const Row target : fresh.links(row - first)) back.push_back({target, row});
  }
  std::sort(back.begin(), back.end(), [](const BackLink& a, const BackLink& b) {
    return a.target != b.target ? a.target < b.target : a.source < b.source;
  });
  for (std::size_t i = 0; i < back.size();) {
    std::size_t j = i;
    while (j < back.size() && back[j].target == back[i].target) ++j;
    groups.push_back({i, j});
    i = j;
  }
}

// Asks the memory for what merging the groups after this one will look at.
void GraphBuilder::State::fetch_ahead(const CodesView& codes, Row first, std::size_t group) const {
  constexpr std::size_t kNodesAhead = 4;  // groups; and their links' codes from the next one on
  const auto target_of = [&](std::size_t g) { return back[groups[g].first].target; };
  if (group + kNodesAhead < groups.size()) {
    const Row target = target_of(group + kNodesAhead);
    if (target < first) prefetch_lines(graph.node(target), graph.params().node_bytes());
    prefetch_lines(codes.code(target), std::min(codes.stride, kAskedBytes));
  }
  if (group + 1 >= groups.size() || target_of(group + 1) >= first) return;
  const std::uint32_t* const node = graph.node(target_of(group + 1));
  const std::uint32_t degree = graph.degree(node);
  for (std::uint32_t i = 0; i < degree; ++i) {
    prefetch_lines(codes.code(Graph::load_word(node + 2 + i)), std::min(codes.stride, kAskedBytes));
  }
}

// Chooses among worker.ids: `had` links of the target, the first of which pruning has kept before
// (0: not known), and new ones. Leaves the choice in worker.pruner.
void GraphBuilder::State::prune_links(const CodesView& codes, Row target, std::size_t had,
                                      std::size_t kept_links, Worker& worker) const {
  const std::size_t bound = graph.params().bound();
  const std::size_t n = worker.ids.size();
  worker.keys.resize(n);
  worker.probe.set(codes.code(target));
  worker.probe.many(codes.base, worker.ids.data(), n, worker.keys.data());
  const CandidateOrder order{target};
  if (kept_links != 0) {
    auto& known = worker.known;
    known.clear();
    for (std::size_t i = 0; i < n; ++i) {
      const auto role = i >= had          ? Pruner::Role::kNew
                        : i >= kept_links ? Pruner::Role::kSpare
                                          : Pruner::Role::kKept;
      known.push_back({{worker.keys[i], worker.ids[i]}, role});
      // Kept and spare ones are in order among themselves.
      for (std::size_t j = i; j > 0 && order(known[j].candidate, known[j - 1].candidate); --j) {
        std::swap(known[j], known[j - 1]);
      }
    }
    if (worker.pruner.prune_known(codes, known, bound)) return;
  }
  auto& candidates = worker.candidates;
  candidates.clear();
  for (std::size_t i = 0; i < n; ++i) candidates.push_back({worker.keys[i], worker.ids[i]});
  std::sort(candidates.begin(), candidates.end(), order);
  worker.pruner.prune(codes, target, candidates, bound);
}

// Links of a row that others have chosen.
void GraphBuilder::State::merge(const CodesView& codes, Row first, std::size_t group,
                                Worker& worker) {
  fetch_ahead(codes, first, group);
  const Row target = back[groups[group].first].target;
  auto& ids = worker.ids;
  ids.clear();
  std::size_t kept_links = 0;
  if (target >= first) {
    const auto links = fresh.links(target - first);
    ids.assign(links.begin(), links.end());
    kept_links = fresh.kept[target - first];
  } else {
    const std::uint32_t* node = graph.node(target);
    for (std::uint32_t i = 0; i < graph.degree(node); ++i) {
      ids.push_back(Graph::load_word(node + 2 + i));
    }
    kept_links = kept[target];
  }
  const std::size_t had = ids.size();
  for (std::size_t i = groups[group].first; i < groups[group].last; ++i) {
    const Row source = back[i].source;
    const auto end = ids.begin() + static_cast<std::ptrdiff_t>(had);
    if (target < first || std::find(ids.begin(), end, source) == end) ids.push_back(source);
  }
  if (ids.size() == had) return changed.set(group, ids, kept_links);
  if (ids.size() <= graph.params().bound()) return changed.set(group, ids, 0);
  prune_links(codes, target, had, kept_links, worker);
  changed.set(group, worker.pruner.chosen(), worker.pruner.kept());
}

void GraphBuilder::State::link_batch(const CodesView& codes, const ScalarQuantizer& quantizer,
                                     Row first, Row last, std::size_t threads,
                                     Interrupt* interrupt) {
  codes.verify(first, last);
  graph.reserve(last);
  kept.resize(last);
  fresh.reset(last - first, graph.params().bound());
  dimensions.assign(last - first, 0);
  parallel_for(last - first, kGrain, threads, interrupt, [&](std::size_t i, std::size_t worker) {
    choose(codes, quantizer, first, last, first + static_cast<Row>(i), workers[worker]);
  });
  group_back_links(first, last);
  changed.reset(groups.size(), graph.params().bound());
  parallel_for(groups.size(), kGrain * 8, threads, interrupt,
               [&](std::size_t i, std::size_t worker) { merge(codes, first, i, workers[worker]); });
  // From here on nothing fails.
  for (Row row = first; row < last; ++row) {
    graph.set_links(row, fresh.links(row - first));
    kept[row] = fresh.kept[row - first];
  }
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const Row target = back[groups[i].first].target;
    graph.set_links(target, changed.links(i));
    kept[target] = changed.kept[i];
  }
  graph.set_dimension(graph.dimension().with(dimensions));
  graph.set_linked(last);
}

GraphBuilder::GraphBuilder(Graph& graph) : state_(std::make_unique<State>(graph)) {}

GraphBuilder::~GraphBuilder() = default;

Row GraphBuilder::link(const CodesView& codes, const ScalarQuantizer& quantizer,
                       const LinkOptions& options) {
  Graph& graph = state_->graph;
  const std::size_t threads = options.threads == 0 ? default_threads() : options.threads;
  while (state_->workers.size() < threads) {
    state_->workers.emplace_back(graph.params().metric, quantizer.dim());
  }
  if (std::string coding = quantizer.to_bytes(); coding != state_->coding) {
    state_->kept = ZeroedVector<Kept>();  // what was known was known of other codes
    state_->coding = std::move(coding);
  }
  const Row wanted = std::min({options.last, codes.rows, kMaxGraphRows});
  for (std::size_t batch = 0; batch < options.max_batches; ++batch) {
    const Row first = graph.linked();
    Row last = next_batch_end(first);
    if (last > wanted) {
      if (!options.partial) break;
      last = wanted;
    }
    if (first >= last) break;
    check(options.interrupt);
    state_->link_batch(codes, quantizer, first, last, threads, options.interrupt);
  }
  return graph.linked();
}

}  // namespace srvdb
