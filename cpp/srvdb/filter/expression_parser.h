// Reads the text of a filter into an Expression. Behind Expression::parse.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/filter/expression.h"
#include "srvdb/filter/json_parser.h"
#include "srvdb/filter/json_place.h"

namespace srvdb::filter {

// One use: parse() once, or values() once.
class ExpressionParser {
 public:
  // path: {"$in": values}, without limits.
  std::shared_ptr<const Expression> values(std::string_view path, std::string_view json_values);
  std::shared_ptr<const Expression> parse(std::string_view text);

 private:
  using Json = simdjson::dom::element;
  using JsonObject = simdjson::dom::object;

  Node condition(Json source);
  Node combined(NodeKind kind, Json operand);
  Node member(std::string_view key, Json operand);
  Node field(const std::string& path, Json operand);
  Node field_operator(const std::string& path, std::string_view name, Json operand);
  Node id(Json operand);
  Node id_operator(std::string_view name, Json operand);
  template <typename ReadOperator>
  Node operators(JsonObject source, ReadOperator&& read);

  Node leaf(Leaf leaf);
  Node negated(Node node);
  void enter();
  void count_node();
  Value scalar(Json operand);
  Value comparable(Json operand);
  Value text(Json operand);
  bool boolean(Json operand);
  std::vector<Value> list(Json operand, bool of_strings);
  void check_distinct_keys(JsonObject source);

  [[noreturn]] void refuse(const std::string& problem) const;
  [[noreturn]] void refuse_operand(const char* expected, Json operand) const;
  [[noreturn]] void refuse_operator(std::string_view name, const char* known) const;
  [[noreturn]] void refuse_text(std::string_view text, simdjson::error_code error);
  // False where the walk could not go on; throws at the number it looks for.
  bool find_bad_number(simdjson::ondemand::value value);

  std::shared_ptr<const Expression> finish(Node root, std::size_t bytes);

  Expression expression_;
  JsonPlace place_;
  std::size_t depth_ = 0;
  std::size_t nodes_ = 0;
  std::size_t operands_ = 0;
  std::size_t regexes_ = 0;
};

}  // namespace srvdb::filter
