#include "srvdb/filter/document.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "srvdb/base/error.h"
#include "srvdb/filter/json_parser.h"

namespace srvdb::filter {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

// One key of an object; `last` is false when an equal key follows.
struct Member {
  std::string_view key;
  element value;
  bool last = true;
};

// Objects up to this size are searched for equal keys by comparing all with all.
constexpr std::size_t kFewMembers = 16;

void mark_repeated_few(Member* members, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t later = i + 1; later < count && members[i].last; ++later) {
      members[i].last = members[i].key != members[later].key;
    }
  }
}

void mark_repeated_many(Member* members, std::size_t count) {
  std::vector<std::pair<std::string_view, std::size_t>> sorted(count);
  for (std::size_t i = 0; i < count; ++i) sorted[i] = {members[i].key, i};
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i + 1 < count; ++i) {
    if (sorted[i].first == sorted[i + 1].first) members[sorted[i].second].last = false;
  }
}

class Reader {
 public:
  void read(std::string_view text, DocumentSink& sink) {
    path_.clear();
    members_.clear();
    element root;
    const auto error = parser_.parse(text).get(root);
    if (error != simdjson::SUCCESS || root.type() != element_type::OBJECT) {
      throw Error(
          ErrorCode::kCorruption,
          std::string("stored metadata must be a JSON object, got ") +
              (error != simdjson::SUCCESS ? simdjson::error_message(error) : json_kind(root)));
    }
    sink_ = &sink;
    object(root.get_object().value_unsafe(), 0);
  }

 private:
  // The members of all objects that are being read, innermost last, lie in members_: no memory is
  // taken for an object once the vector has grown.
  void object(simdjson::dom::object source, std::size_t depth) {
    const std::size_t begin = members_.size();
    for (const auto member : source) members_.push_back({member.key, member.value});
    const std::size_t count = members_.size() - begin;
    if (count <= kFewMembers) {
      mark_repeated_few(members_.data() + begin, count);
    } else {
      mark_repeated_many(members_.data() + begin, count);
    }
    const std::size_t path_size = path_.size();
    for (std::size_t i = begin; i < begin + count; ++i) {
      const Member member = members_[i];
      const std::size_t dot = depth > 0 ? 1 : 0;
      if (!member.last || path_size + dot + member.key.size() > kMaxPathBytes) continue;
      path_.append(dot, '.').append(member.key);
      any(member.value, depth + 1, false);
      path_.resize(path_size);
    }
    members_.resize(begin);
  }

  void array(simdjson::dom::array source, std::size_t depth) {
    bool empty = true;
    for (const element item : source) {
      empty = false;
      any(item, depth, true);
    }
    if (empty) sink_->value(path_, Value());
  }

  void any(element item, std::size_t depth, bool in_array) {
    switch (item.type()) {
      case element_type::ARRAY:
        array(item.get_array().value_unsafe(), depth);
        break;
      case element_type::OBJECT:
        sink_->value(path_, Value());
        object(item.get_object().value_unsafe(), depth);
        break;
      default:
        sink_->value(path_, json_scalar(item).with_element(in_array));
    }
  }

  JsonParser parser_;
  std::string path_;
  std::vector<Member> members_;
  DocumentSink* sink_ = nullptr;
};

}  // namespace

void read_document(std::string_view text, DocumentSink& sink) {
  static thread_local Reader reader;
  reader.read(text, sink);
}

}  // namespace srvdb::filter
