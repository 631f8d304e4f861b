#include "srvdb/filter/json.h"

#include "srvdb/filter/json_parser.h"

namespace srvdb::filter {

using simdjson::dom::element_type;

const char* json_kind(simdjson::dom::element element) noexcept {
  switch (element.type()) {
    case element_type::OBJECT:
      return "an object";
    case element_type::ARRAY:
      return "an array";
    case element_type::STRING:
      return "a string";
    case element_type::BOOL:
      return "a boolean";
    case element_type::NULL_VALUE:
      return "null";
    default:
      return "a number";
  }
}

Value json_scalar(simdjson::dom::element element) noexcept {
  switch (element.type()) {
    case element_type::INT64:
      return Value::number(element.get_int64().value_unsafe());
    case element_type::UINT64:
      return Value::number(element.get_uint64().value_unsafe());
    case element_type::DOUBLE:
      return Value::number(element.get_double().value_unsafe());
    case element_type::STRING:
      return Value::string(element.get_string().value_unsafe());
    case element_type::BOOL:
      return Value::boolean(element.get_bool().value_unsafe());
    case element_type::NULL_VALUE:
      return Value::null();
    default:
      return {};
  }
}

std::optional<std::string> json_object_problem(std::string_view text) {
  static thread_local JsonParser parser;
  simdjson::dom::element root;
  if (const auto error = parser.parse(text).get(root); error != simdjson::SUCCESS) {
    return std::string("is not valid JSON: ") + simdjson::error_message(error);
  }
  if (root.type() != element_type::OBJECT) {
    return std::string("must be a JSON object, got ") + json_kind(root);
  }
  return std::nullopt;
}

}  // namespace srvdb::filter
