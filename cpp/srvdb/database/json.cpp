#include "srvdb/database/json.h"

#include <simdjson.h>

namespace srvdb {

std::optional<std::string> json_object_problem(std::string_view text) {
  static thread_local simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (const auto error = parser.parse(text.data(), text.size()).get(root); error) {
    return std::string("is not valid JSON: ") + simdjson::error_message(error);
  }
  if (root.type() != simdjson::dom::element_type::OBJECT) {
    const char* kind = "a number";
    switch (root.type()) {
      case simdjson::dom::element_type::ARRAY:
        kind = "an array";
        break;
      case simdjson::dom::element_type::STRING:
        kind = "a string";
        break;
      case simdjson::dom::element_type::BOOL:
        kind = "a boolean";
        break;
      case simdjson::dom::element_type::NULL_VALUE:
        kind = "null";
        break;
      default:
        break;
    }
    return std::string("must be a JSON object, got ") + kind;
  }
  return std::nullopt;
}

}  // namespace srvdb
