#include "srvdb/filter/expression.h"

#include <algorithm>

#include "srvdb/filter/document.h"

namespace srvdb::filter {
namespace {

bool evaluate(const Node& node, std::span<const std::uint8_t> leaf_is_true) {
  const auto child = [&](const Node& each) { return evaluate(each, leaf_is_true); };
  switch (node.kind) {
    case NodeKind::kAnd:
      return std::all_of(node.children.begin(), node.children.end(), child);
    case NodeKind::kOr:
      return std::any_of(node.children.begin(), node.children.end(), child);
    case NodeKind::kNot:
      return !child(node.children.front());
    case NodeKind::kLeaf:
      return leaf_is_true[node.leaf] != 0;
    default:
      return true;
  }
}

// Up to this many paths are compared one by one.
constexpr std::size_t kFewPaths = 8;

}  // namespace

// Sets the leaves that a document makes true.
class Expression::DocumentTest final : public DocumentSink {
 public:
  DocumentTest(const Expression& expression, std::span<std::uint8_t> leaf_is_true)
      : expression_(expression), leaf_is_true_(leaf_is_true) {}

  void value(std::string_view path, const Value& value) override {
    const std::span<const std::string_view> paths = expression_.paths_;
    const auto found = paths.size() <= kFewPaths ? std::find(paths.begin(), paths.end(), path)
                                                 : lower_bound(paths, path);
    if (found == paths.end()) return;
    const auto index = static_cast<std::size_t>(found - paths.begin());
    const std::uint32_t end = expression_.paths_begin_[index + 1];
    for (std::uint32_t i = expression_.paths_begin_[index]; i < end; ++i) {
      const std::uint32_t leaf = expression_.leaves_of_path_[i];
      if (leaf_is_true_[leaf] == 0 && expression_.leaves_[leaf].test(value) == Truth::kYes) {
        leaf_is_true_[leaf] = 1;
      }
    }
  }

 private:
  using Paths = std::span<const std::string_view>;
  static Paths::iterator lower_bound(Paths paths, std::string_view path) {
    const auto found = std::lower_bound(paths.begin(), paths.end(), path);
    return found != paths.end() && *found == path ? found : paths.end();
  }

  const Expression& expression_;
  std::span<std::uint8_t> leaf_is_true_;
};

bool Expression::matches(std::string_view id, std::string_view metadata) const {
  static thread_local std::vector<std::uint8_t> leaf_is_true;
  leaf_is_true.assign(leaves_.size(), 0);
  for (std::size_t i = 0; i < leaves_.size(); ++i) {
    if (leaves_[i].is_on_id()) leaf_is_true[i] = leaves_[i].test_id(id) ? 1 : 0;
  }
  if (!paths_.empty()) {
    DocumentTest test(*this, leaf_is_true);
    read_document(metadata, test);
  }
  return evaluate(root_, leaf_is_true);
}

void Expression::index_paths() {
  for (std::uint32_t i = 0; i < leaves_.size(); ++i) {
    if (!leaves_[i].is_on_id()) leaves_of_path_.push_back(i);
  }
  std::stable_sort(
      leaves_of_path_.begin(), leaves_of_path_.end(),
      [&](std::uint32_t a, std::uint32_t b) { return leaves_[a].path() < leaves_[b].path(); });
  for (std::uint32_t i = 0; i < leaves_of_path_.size(); ++i) {
    const std::string_view path = leaves_[leaves_of_path_[i]].path();
    if (!paths_.empty() && paths_.back() == path) continue;
    paths_.push_back(path);
    paths_begin_.push_back(i);
  }
  paths_begin_.push_back(static_cast<std::uint32_t>(leaves_of_path_.size()));
}

}  // namespace srvdb::filter
