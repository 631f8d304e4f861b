#include "srvdb/index/graph_compact.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "srvdb/base/aligned.h"
#include "srvdb/base/error.h"
#include "srvdb/base/scheduler.h"
#include "srvdb/index/graph_build.h"
#include "srvdb/index/graph_reach.h"
#include "srvdb/index/prune.h"

namespace srvdb {
namespace {

constexpr std::size_t kGrain = 64;
constexpr Row kFewRows = 2048;         // so few are linked anew, and so is
constexpr Row kFewShare = 16;          // any smaller part of the old rows
constexpr std::size_t kDetour = 4;     // candidates for each link, at most
constexpr Row kBackRows = 65'536;      // rows whose back-links are collected at one time
constexpr std::size_t kMaxSteps = 96;  // dropped rows that are looked through for one row

// "target gets a link to source", in new row numbers.
struct BackLink {
  Row target;
  Row source;
};

// What one thread keeps.
struct Worker {
  Worker(Metric metric, std::size_t dim) : probe(metric, dim), pruner(metric, dim) {}

  CodeProbe probe;
  Pruner pruner;
  std::vector<Row> kept;     // linked to, and kept
  std::vector<Row> through;  // dropped rows, in the order in which they are looked through
  std::vector<Row> others;   // kept rows that those link to
  std::vector<std::int32_t> keys;
  std::vector<Neighbor> candidates;
};

class Compaction {
 public:
  Compaction(const Graph& old, const CodesView& codes, const ScalarQuantizer& quantizer,
             const RowMapping& mapping, Row limit)
      : old_(old), codes_(codes), quantizer_(quantizer), mapping_(mapping), limit_(limit) {}

  std::unique_ptr<Graph> repair(std::size_t threads, const CompactOptions& options) const {
    Interrupt* const interrupt = options.interrupt;
    const Row rows = mapping_.kept_below(limit_);
    auto graph = std::make_unique<Graph>(old_.params(), options.source);
    graph->reserve(rows);
    std::vector<Worker> workers;
    for (std::size_t t = 0; t < threads; ++t) {
      workers.emplace_back(old_.params().metric, quantizer_.dim());
    }
    parallel_for(rows, kGrain, threads, interrupt, [&](std::size_t row, std::size_t worker) {
      relink(mapping_.to_old(static_cast<Row>(row)), static_cast<Row>(row), workers[worker],
             *graph);
    });
    graph->set_linked(rows);
    graph->set_dimension(old_.dimension());
    for (Row first = 0; first < rows; first += kBackRows) {
      add_back_links(first, std::min(rows, first + kBackRows), threads, interrupt, workers, *graph);
    }
    return graph;
  }

 private:
  // Splits the links of an old row into kept and dropped ones.
  void read_links(Row old, std::vector<Row>& kept, std::vector<Row>& dropped) const {
    const std::uint32_t* const node = old_.node(old);
    const std::uint32_t degree = old_.degree(node);
    bool sound = old_.sound(old, node);
    for (std::uint32_t i = 0; sound && i < degree; ++i) {
      const Row id = Graph::load_word(node + 2 + i);
      if (id >= limit_) {
        sound = !old_.mapped() || id < old_.linked();
        continue;
      }
      (mapping_.kept(id) ? kept : dropped).push_back(id);
    }
    if (!sound) {
      throw Error(ErrorCode::kCorruption, "graph: expected a sound node " + std::to_string(old) +
                                              ", got one with a wrong checksum or link");
    }
  }

  void relink(Row old, Row row, Worker& worker, Graph& graph) const {
    worker.kept.clear();
    worker.through.clear();
    read_links(old, worker.kept, worker.through);
    if (!old_.mapped()) keep_first(worker.kept);
    if (worker.through.empty() && !worker.kept.empty()) return set(row, worker.kept, graph);
    look_through(old, worker);
    rank(old, worker);
    worker.pruner.prune(codes_, old, worker.candidates, old_.params().bound());
    worker.kept.assign(worker.pruner.chosen().begin(), worker.pruner.chosen().end());
    set(row, worker.kept, graph);
  }

  // Leaves each row once: a list read beside a builder may be a mixture of two states.
  static void keep_first(std::vector<Row>& rows) {
    auto end = rows.begin();
    for (const Row row : rows) {
      if (std::find(rows.begin(), end, row) == end) *end++ = row;
    }
    rows.erase(end, rows.end());
  }

  // Fills worker.others with kept rows behind the dropped ones, nearest step first.
  void look_through(Row old, Worker& worker) const {
    const std::size_t bound = old_.params().bound();
    std::vector<Row>& through = worker.through;
    std::vector<Row>& others = worker.others;
    others.clear();
    std::size_t step_end = through.size();
    for (std::size_t i = 0; i < std::min(through.size(), kMaxSteps); ++i) {
      if (i == step_end) {  // a step further only where the last ones led to too few
        tidy(old, worker.kept, others);
        if (worker.kept.size() + others.size() >= bound) break;
        step_end = through.size();
      }
      const std::size_t had = through.size();
      read_links(through[i], others, through);
      for (std::size_t j = had; j < through.size();) {  // each dropped row once
        const auto seen = through.begin() + static_cast<std::ptrdiff_t>(j);
        if (std::find(through.begin(), seen, through[j]) == seen) {
          ++j;
        } else {
          through[j] = through.back();
          through.pop_back();
        }
      }
    }
    tidy(old, worker.kept, others);
  }
  // Leaves each row once, without those in `kept` and the row itself.
  static void tidy(Row self, const std::vector<Row>& kept, std::vector<Row>& others) {
    std::sort(others.begin(), others.end());
    others.erase(std::unique(others.begin(), others.end()), others.end());
    std::erase_if(others, [&](Row row) {
      return row == self || std::find(kept.begin(), kept.end(), row) != kept.end();
    });
  }

  // Makes worker.candidates: all kept links, and the nearest of the others.
  void rank(Row old, Worker& worker) const {
    const std::size_t most = kDetour * old_.params().bound();
    auto& out = worker.candidates;
    out.clear();
    worker.probe.set(codes_.code(old));
    add(worker.others, worker);
    if (worker.kept.size() + out.size() > most) {
      const std::size_t n = most - std::min(most, worker.kept.size());
      std::nth_element(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(n), out.end(),
                       CandidateOrder{old});
      out.resize(n);
    }
    add(worker.kept, worker);
    std::sort(out.begin(), out.end(), CandidateOrder{old});
  }
  void add(const std::vector<Row>& rows, Worker& worker) const {
    worker.keys.resize(rows.size());
    worker.probe.many(codes_.base, rows.data(), rows.size(), worker.keys.data());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      worker.candidates.push_back({worker.keys[i], rows[i]});
    }
  }

  // Rows that new links lead to get a link back, as in building: rows [first, last) of the new
  // graph are looked through for such links.
  void add_back_links(Row first, Row last, std::size_t threads, Interrupt* interrupt,
                      std::vector<Worker>& workers, Graph& graph) const {
    std::vector<std::vector<BackLink>> found(threads);
    parallel_for(last - first, kGrain, threads, interrupt, [&](std::size_t i, std::size_t worker) {
      find_back_links(first + static_cast<Row>(i), workers[worker], graph, found[worker]);
    });
    std::vector<BackLink> back;
    for (auto& some : found) back.insert(back.end(), some.begin(), some.end());
    std::sort(back.begin(), back.end(), [](const BackLink& a, const BackLink& b) {
      return a.target != b.target ? a.target < b.target : a.source < b.source;
    });
    std::vector<std::size_t> groups;
    for (std::size_t i = 0; i < back.size(); ++i) {
      if (i == 0 || back[i].target != back[i - 1].target) groups.push_back(i);
    }
    groups.push_back(back.size());
    parallel_for(groups.size() - 1, kGrain, threads, interrupt,
                 [&](std::size_t g, std::size_t worker) {
                   merge(std::span(back).subspan(groups[g], groups[g + 1] - groups[g]),
                         workers[worker], graph);
                 });
  }
  // Links of a row that are new, and not returned.
  void find_back_links(Row row, Worker& worker, const Graph& graph,
                       std::vector<BackLink>& out) const {
    worker.kept.clear();
    worker.through.clear();
    read_links(mapping_.to_old(row), worker.kept, worker.through);
    if (worker.through.empty()) return;
    graph.links(row, worker.others);
    for (const Row target : worker.others) {
      const Row old = mapping_.to_old(target);
      if (std::find(worker.kept.begin(), worker.kept.end(), old) != worker.kept.end()) continue;
      graph.links(target, worker.through);
      if (std::find(worker.through.begin(), worker.through.end(), row) == worker.through.end()) {
        out.push_back({target, row});
      }
    }
  }
  void merge(std::span<const BackLink> sources, Worker& worker, Graph& graph) const {
    const Row target = sources.front().target;
    std::vector<Row>& ids = worker.kept;
    graph.links(target, ids);
    for (const BackLink& link : sources) ids.push_back(link.source);
    if (ids.size() > graph.params().bound()) {
      for (Row& id : ids) id = mapping_.to_old(id);
      const Row old = mapping_.to_old(target);
      worker.candidates.clear();
      worker.probe.set(codes_.code(old));
      add(ids, worker);
      std::sort(worker.candidates.begin(), worker.candidates.end(), CandidateOrder{old});
      worker.pruner.prune(codes_, old, worker.candidates, graph.params().bound());
      ids.assign(worker.pruner.chosen().begin(), worker.pruner.chosen().end());
      return set(target, ids, graph);
    }
    graph.set_links(target, ids);
  }
  void set(Row row, std::vector<Row>& links, Graph& graph) const {
    for (Row& link : links) link = mapping_.to_new(link);
    graph.set_links(row, links);
  }

  const Graph& old_;
  const CodesView& codes_;
  const ScalarQuantizer& quantizer_;
  const RowMapping& mapping_;
  const Row limit_;
};

std::unique_ptr<Graph> build_anew(const GraphParams& params, const CodesView& codes,
                                  const ScalarQuantizer& quantizer, const RowMapping& mapping,
                                  Row rows, const CompactOptions& options) {
  const std::size_t bytes = std::max<std::size_t>(std::size_t{rows} * codes.stride, 1);
  const SegmentMemory memory = options.source ? options.source->make(bytes) : SegmentMemory(bytes);
  auto* const copy = static_cast<std::uint8_t*>(memory.data());
  for (Row row = 0; row < rows; ++row) {
    std::memcpy(copy + std::size_t{row} * codes.stride, codes.code(mapping.to_old(row)),
                codes.stride);
  }
  auto graph = std::make_unique<Graph>(params, options.source);
  CodesView view;
  view.base = copy;
  view.stride = codes.stride;
  view.rows = rows;
  GraphBuilder(*graph).link(
      view, quantizer,
      {.last = rows, .partial = true, .threads = options.threads, .interrupt = options.interrupt});
  return graph;
}

}  // namespace

std::unique_ptr<Graph> compact_graph(const Graph& old, const CodesView& codes,
                                     const ScalarQuantizer& quantizer, const RowMapping& mapping,
                                     const CompactOptions& options) {
  const Row limit = std::min({old.linked(), codes.rows, mapping.old_rows()});
  const Row rows = mapping.kept_below(limit);
  for (Row row = 0; row < rows; ++row) {
    if (row % 4096 == 0) check(options.interrupt);
    codes.verify(mapping.to_old(row));
  }
  const std::size_t threads = options.threads == 0 ? default_threads() : options.threads;
  auto graph = rows <= kFewRows || rows <= limit / kFewShare
                   ? build_anew(old.params(), codes, quantizer, mapping, rows, options)
                   : Compaction(old, codes, quantizer, mapping, limit).repair(threads, options);
  check(options.interrupt);
  make_reachable(*graph);
  return graph;
}

}  // namespace srvdb
