#include "srvdb/index/graph_reach.h"

#include <algorithm>
#include <vector>

namespace srvdb {
namespace {

// A forest of ways from the entry rows: parent_[row] is where its way comes from.
class Ways {
 public:
  explicit Ways(Graph& graph) : graph_(graph), parent_(graph.linked(), kNoRow) {
    const Row rows = graph.linked();
    const std::size_t entries = entry_count(rows);
    for (std::size_t i = 0; i < entries; ++i) {
      const Row entry = entry_row(rows, entries, i);
      if (!reached(entry)) start(entry, entry);
    }
  }

  bool reached(Row row) const noexcept { return parent_[row] != kNoRow; }

  // Leads a way to the row, by a link from one that has a way.
  void attach(Row row) {
    Row from = kNoRow;
    for (const Row near : links(row)) {
      if (reached(near) && has_room(near)) {
        from = near;
        break;
      }
    }
    // There always is one: fewer ways than rows, and at least two places in each.
    for (; from == kNoRow; next_ = next_ + 1 < parent_.size() ? next_ + 1 : 0) {
      if (reached(next_) && has_room(next_)) from = next_;
    }
    link(from, row);
    start(row, from);
  }

 private:
  std::vector<Row> links(Row row) const {
    std::vector<Row> out;
    graph_.links(row, out);
    return out;
  }
  bool has_room(Row row) const {
    const std::vector<Row> ids = links(row);
    return ids.size() < graph_.params().bound() ||
           std::any_of(ids.begin(), ids.end(), [&](Row id) { return parent_[id] != row; });
  }
  void link(Row from, Row to) {
    std::vector<Row> ids = links(from);
    if (ids.size() == graph_.params().bound()) {
      // The last one that no way needs: links come best first.
      const auto spare =
          std::find_if(ids.rbegin(), ids.rend(), [&](Row id) { return parent_[id] != from; });
      *spare = to;
    } else {
      ids.push_back(to);
    }
    graph_.set_links(from, ids);
  }
  void start(Row row, Row parent) {
    parent_[row] = parent;
    stack_.assign(1, row);
    while (!stack_.empty()) {
      const Row at = stack_.back();
      stack_.pop_back();
      const std::uint32_t* const node = graph_.node(at);
      for (std::uint32_t i = 0; i < graph_.degree(node); ++i) {
        const Row id = Graph::load_word(node + 2 + i);
        if (reached(id)) continue;
        parent_[id] = at;
        stack_.push_back(id);
      }
    }
  }

  Graph& graph_;
  std::vector<Row> parent_;
  std::vector<Row> stack_;
  Row next_ = 0;
};

}  // namespace

std::size_t entry_count(Row limit) noexcept {
  std::size_t n = 16;
  while (n < kMaxEntries && n * n < limit) n *= 2;
  return std::min<std::size_t>(n, limit);
}

std::size_t make_reachable(Graph& graph) {
  Ways ways(graph);
  std::size_t attached = 0;
  for (Row row = 0; row < graph.linked(); ++row) {
    if (ways.reached(row)) continue;
    ways.attach(row);
    ++attached;
  }
  return attached;
}

}  // namespace srvdb
