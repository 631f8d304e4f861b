// Reads a metadata document into pairs of a path and a value, which is what filters see of it.
//
// A path is the keys from the outside in, joined by dots: {"author": {"name": "Ann"}} has the paths
// "author" and "author.name". A key that contains a dot makes the same path as nested keys do, and
// one path may so have several values. Arrays add nothing to a path: each element is a value of the
// array's path, marked as an element; arrays in arrays are entered likewise, and objects in arrays
// have their keys below the array's path.
//
//   {"tags": ["x", "y"]}          tags: "x" (element), tags: "y" (element)
//   {"a": {"b": [1, [2]]}}        a: container, a.b: 1 (element), a.b: 2 (element)
//   {"p": [{"q": 1}, {"q": 2}]}   p: container, p.q: 1, p: container, p.q: 2
//   {"e": [], "n": null}          e: container, n: null
//
// So whatever is there has at least one value, and a path without values is missing. Of equal keys
// in one object the last counts. What lies at a path longer than kMaxPathBytes is passed over.
#pragma once

#include <cstddef>
#include <string_view>

#include "srvdb/filter/value.h"

namespace srvdb::filter {

inline constexpr std::size_t kMaxPathBytes = 500;

// Receives a document. Path and value are valid during the call; a sink must not read another
// document.
class DocumentSink {
 public:
  virtual ~DocumentSink() = default;
  virtual void value(std::string_view path, const Value& value) = 0;
};

// Calls the sink for each pair, in the order of the document. Time and memory are linear in the
// text. Throws Error kCorruption when the text is not one JSON object (json_object_problem has seen
// to it when the text was added). Thread-safe; memory for the largest document is kept for each
// thread.
void read_document(std::string_view text, DocumentSink& sink);

}  // namespace srvdb::filter
