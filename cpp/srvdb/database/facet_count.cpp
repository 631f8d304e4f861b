#include "srvdb/database/facet_count.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <utility>

#include "srvdb/filter/document.h"

namespace srvdb {
namespace {

using filter::Value;
using filter::ValueKind;

void append_string(std::string_view text, std::string& out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned>(c) & 0xFFU;
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (byte < 0x20) {
      out.append("\\u00").push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15U]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

template <typename Number>
std::string number_text(Number number) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof(text), number);
  return {text, error == std::errc() ? end : text};
}

// The distinct scalars that a document has at one path.
class ValuesAt final : public filter::DocumentSink {
 public:
  explicit ValuesAt(std::string_view path) : path_(path) {}
  void value(std::string_view path, const Value& value) override {
    if (path != path_ || value.kind() == ValueKind::kContainer) return;
    const auto same = [&](const Value& other) { return std::is_eq(filter::order(value, other)); };
    if (seen_.size() < kFew ? std::ranges::any_of(seen_, same) : is_seen(value)) return;
    // What is escaped in the document lies in memory that is used again.
    seen_.push_back(value.is_string() ? Value::string(texts_.copy(value.text())) : value);
  }
  const std::vector<Value>& values() const noexcept { return seen_; }

 private:
  static constexpr std::size_t kFew = 16;
  struct Before {
    bool operator()(const Value& a, const Value& b) const noexcept {
      return std::is_lt(filter::order(a, b));
    }
  };
  // Of many: in a tree.
  bool is_seen(const Value& value) {
    for (; in_tree_ < seen_.size(); ++in_tree_) tree_.emplace(seen_[in_tree_], true);
    return tree_.contains(value);
  }

  std::string_view path_;
  std::vector<Value> seen_;
  std::size_t in_tree_ = 0;
  std::map<Value, bool, Before> tree_;
  TextArena texts_;
};

class ScalarAt final : public filter::DocumentSink {
 public:
  explicit ScalarAt(std::string_view path) : path_(path) {}
  void value(std::string_view path, const Value& value) override {
    if (path != path_) return;
    const bool groups = !met_ && !value.element() && value.kind() != ValueKind::kContainer;
    found = groups ? std::optional(json_text(value)) : std::nullopt;
    met_ = true;
  }
  std::optional<std::string> found;

 private:
  std::string_view path_;
  bool met_ = false;
};

}  // namespace

std::optional<std::string> scalar_at(std::string_view path, std::string_view metadata) {
  ScalarAt sink(path);
  filter::read_document(metadata, sink);
  return std::move(sink.found);
}

std::string json_text(const Value& value) {
  switch (value.kind()) {
    case ValueKind::kContainer:
    case ValueKind::kNull:
      return "null";
    case ValueKind::kBool:
      return value.as_bool() ? "true" : "false";
    case ValueKind::kInt:
      return number_text(value.as_int());
    case ValueKind::kUint:
      return number_text(value.as_uint());
    case ValueKind::kDouble:
      return number_text(value.as_double());
    case ValueKind::kString:
      break;
  }
  std::string out;
  append_string(value.text(), out);
  return out;
}

std::size_t FacetCount::Hash::operator()(const Value& value) const noexcept {
  if (value.is_string()) return std::hash<std::string_view>{}(value.text());
  // Numbers that are multiples of much would share the low bits.
  const std::uint64_t bits = value.as_uint() + static_cast<std::uint64_t>(value.kind());
  return static_cast<std::size_t>((bits ^ bits >> 32) * 0x9E3779B97F4A7C15U >> 16);
}

void FacetCount::add(const Value& value, std::size_t rows) {
  const Value plain = value.with_element(false);
  if (const auto at = counts_.find(plain); at != counts_.end()) {
    at->second += rows;
  } else {
    counts_.emplace(plain.is_string() ? Value::string(texts_.copy(plain.text())) : plain, rows);
  }
}

void FacetCount::add_row(std::string_view path, std::string_view metadata) {
  ValuesAt found(path);
  filter::read_document(metadata, found);
  for (const Value& value : found.values()) add(value, 1);
}

bool FacetCount::add_block(const filter::ColumnView& column, Row first, std::string_view path,
                           filter::ConstColumnBits rows, const RowDocuments& documents) {
  // A value in an array and the same outside of one (of another key with the same path) may be one
  // row's.
  for (std::uint32_t i = 1; i < column.values(); ++i) {
    if (std::is_eq(filter::order(column.value(i - 1), column.value(i)))) return false;
  }
  column.count(
      rows,
      [&](const Value& value, std::uint32_t count, std::uint32_t example) {
        if (value.kind() == ValueKind::kContainer) return;
        if (!value.cut()) return add(value, count);
        ValuesAt found(path);
        filter::read_document(documents.metadata(first + example), found);
        for (const Value& whole : found.values()) {
          if (std::is_eq(filter::order(whole.shortened(), value))) add(whole, count);
        }
      },
      [&](std::uint32_t row) { add_row(path, documents.metadata(first + row)); });
  return true;
}

std::vector<FacetValue> FacetCount::most_frequent(std::size_t limit) const {
  std::vector<std::pair<const Value*, std::size_t>> sorted;
  sorted.reserve(counts_.size());
  for (const auto& [value, rows] : counts_) sorted.emplace_back(&value, rows);
  const auto more = [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second
                                : std::is_lt(filter::order(*a.first, *b.first));
  };
  const std::size_t kept = std::min(limit, sorted.size());
  std::partial_sort(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(kept),
                    sorted.end(), more);
  std::vector<FacetValue> out;
  out.reserve(kept);
  for (std::size_t i = 0; i < kept; ++i) {
    out.push_back({json_text(*sorted[i].first), sorted[i].second});
  }
  return out;
}

}  // namespace srvdb
