// A filter: what cpp/FILTERS.md describes, read once and evaluated on any number of rows.
//
// An expression is a tree of And, Or and Not over leaves (leaf.h). Operators that deny are read as
// a Not above a positive leaf ($ne is Not of equality, $nin of $in, {"$exists": false} of
// existence), so a set of rows that satisfies a leaf is all that an index must know, and a missing
// field satisfies what stands under an odd number of Nots.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "srvdb/filter/leaf.h"

namespace srvdb::filter {

// Limits of what parse() takes.
inline constexpr std::size_t kMaxExpressionBytes = std::size_t{1} << 20;
inline constexpr std::size_t kMaxExpressionDepth = 32;  // conditions inside $and, $or and $not
inline constexpr std::size_t kMaxExpressionNodes = 10'000;
inline constexpr std::size_t kMaxOperands = 100'000;  // of all $in and $nin together
inline constexpr std::size_t kMaxRegexBytes = 1'000;
inline constexpr std::size_t kMaxRegexes = 32;

enum class NodeKind : std::uint8_t {
  kAll,   // every row
  kAnd,   // two or more children
  kOr,    // one or more children
  kNot,   // one child
  kLeaf,  // Expression::leaves()[leaf]
};

struct Node {
  NodeKind kind = NodeKind::kAll;
  std::uint32_t leaf = 0;
  std::vector<Node> children;
};

// Threads: immutable after parse(); matches() from any number of them.
class Expression {
 public:
  // Throws Error kFilter with the path inside the expression, what was expected there and what
  // came: "$and[1].year.$gte: expected a number or a string, got null". An empty text is {}.
  static std::shared_ptr<const Expression> parse(std::string_view json_text);

  const Node& root() const noexcept { return root_; }
  std::span<const Leaf> leaves() const noexcept { return leaves_; }
  // True for {}: every row matches.
  bool matches_all() const noexcept { return root_.kind == NodeKind::kAll; }
  // The paths that leaves are about, sorted, each once.
  std::span<const std::string_view> paths() const noexcept { return paths_; }
  // Bytes of memory it takes, about; patterns with all that their searches may keep.
  std::size_t bytes() const noexcept { return bytes_; }

  // Evaluates one row. The metadata, a JSON object, is read only when a leaf is about a field;
  // throws Error kCorruption when it cannot be.
  bool matches(std::string_view id, std::string_view metadata) const;

 private:
  friend class ExpressionParser;
  class DocumentTest;
  Expression() = default;
  void index_paths();

  Node root_;
  std::vector<Leaf> leaves_;
  std::vector<std::string_view> paths_;
  // leaves_of_path_[paths_begin_[i] … paths_begin_[i + 1]) are the leaves about paths_[i].
  std::vector<std::uint32_t> paths_begin_;
  std::vector<std::uint32_t> leaves_of_path_;
  std::size_t bytes_ = 0;
};

}  // namespace srvdb::filter
