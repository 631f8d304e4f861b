#include "srvdb/filter/expression_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/filter/document.h"
#include "srvdb/filter/regex.h"
#include "srvdb/filter/values_expression.h"

namespace srvdb::filter {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

// "a number (5)".
std::string described(element operand) {
  std::string kind = json_kind(operand);
  switch (operand.type()) {
    case element_type::STRING:
      return kind + " (\"" + shortened_text(operand.get_string().value_unsafe()) + "\")";
    case element_type::NULL_VALUE:
    case element_type::ARRAY:
    case element_type::OBJECT:
      return kind;
    default:
      return kind + " (" + simdjson::minify(operand) + ")";
  }
}

constexpr const char* kConditions = "$and, $or, $not, $id or the name of a field";
constexpr const char* kFieldOperators =
    "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $contains, $regex or $not";
constexpr const char* kIdOperators = "$eq, $ne, $in, $nin, $prefix or $not";

constexpr std::array<std::pair<std::string_view, Operator>, 4> kComparisons = {{
    {"$gt", Operator::kGreater},
    {"$gte", Operator::kGreaterEqual},
    {"$lt", Operator::kLess},
    {"$lte", Operator::kLessEqual},
}};

}  // namespace

// ---- refusals -------------------------------------------------------------------------

void ExpressionParser::refuse(const std::string& problem) const {
  throw Error(ErrorCode::kFilter,
              (place_.text().empty() ? "filter" : place_.text()) + ": " + problem);
}

void ExpressionParser::refuse_operand(const char* expected, Json operand) const {
  refuse(std::string("expected ") + expected + ", got " + described(operand));
}

void ExpressionParser::refuse_operator(std::string_view name, const char* known) const {
  refuse("unknown operator " + shortened_text(name) + ", expected " + known);
}

void ExpressionParser::enter() {
  if (++depth_ > kMaxExpressionDepth) {
    refuse("nested more than " + std::to_string(kMaxExpressionDepth) + " deep");
  }
}

void ExpressionParser::count_node() {
  if (++nodes_ > kMaxExpressionNodes) {
    refuse("more than " + std::to_string(kMaxExpressionNodes) + " conditions in one filter");
  }
}

void ExpressionParser::check_distinct_keys(JsonObject source) {
  std::vector<std::string_view> keys;
  for (const auto member : source) keys.push_back(member.key);
  std::sort(keys.begin(), keys.end());
  const auto repeated = std::adjacent_find(keys.begin(), keys.end());
  if (repeated != keys.end())
    refuse("the key \"" + shortened_text(*repeated) + "\" stands there twice");
}

// A number that fits neither 64 bits nor a double makes the whole text unreadable; this finds it
// with the parser that reads as it goes.
void ExpressionParser::refuse_text(std::string_view text, simdjson::error_code error) {
  if (error == simdjson::BIGINT_ERROR || error == simdjson::NUMBER_ERROR) {
    const simdjson::padded_string padded(text);
    simdjson::ondemand::parser parser;
    simdjson::ondemand::document document;
    simdjson::ondemand::value root;
    if (parser.iterate(padded).get(document) == simdjson::SUCCESS &&
        document.get_value().get(root) == simdjson::SUCCESS) {
      find_bad_number(root);
    }
  }
  refuse(std::string("not valid JSON: ") + simdjson::error_message(error));
}

bool ExpressionParser::find_bad_number(simdjson::ondemand::value value) {
  simdjson::ondemand::json_type type{};
  if (value.type().get(type) != simdjson::SUCCESS) return false;
  if (type == simdjson::ondemand::json_type::object) {
    for (auto field : value.get_object()) {
      std::string_view key;
      simdjson::ondemand::value member;
      if (field.unescaped_key().get(key) != simdjson::SUCCESS) return false;
      const JsonPlace::Step step(place_, key);
      if (field.value().get(member) != simdjson::SUCCESS || !find_bad_number(member)) return false;
    }
  } else if (type == simdjson::ondemand::json_type::array) {
    std::size_t index = 0;
    for (auto item : value.get_array()) {
      const JsonPlace::Step step(place_, index++);
      simdjson::ondemand::value element;
      if (item.get(element) != simdjson::SUCCESS || !find_bad_number(element)) return false;
    }
  } else if (type == simdjson::ondemand::json_type::number) {
    const std::string_view token = value.raw_json_token();
    if (value.get_number().error() != simdjson::SUCCESS) {
      refuse("expected an integer of 64 bits or a finite double, got " +
             shortened_text(token.substr(0, token.find_last_not_of(" \t\r\n") + 1)));
    }
  }
  return true;
}

// ---- operands -------------------------------------------------------------------------

Value ExpressionParser::scalar(Json operand) {
  if (operand.is_array()) {
    refuse(
        "expected null, a boolean, a number or a string, got an array (any of several values: "
        "$in)");
  }
  if (operand.is_object()) refuse_operand("null, a boolean, a number or a string", operand);
  return json_scalar(operand);
}

Value ExpressionParser::comparable(Json operand) {
  const Value value = operand.is_array() || operand.is_object() ? Value() : json_scalar(operand);
  if (!value.is_number() && !value.is_string()) refuse_operand("a number or a string", operand);
  return value;
}

Value ExpressionParser::text(Json operand) {
  if (!operand.is_string()) refuse_operand("a string", operand);
  return json_scalar(operand);
}

bool ExpressionParser::boolean(Json operand) {
  if (!operand.is_bool()) refuse_operand("true or false", operand);
  return operand.get_bool().value_unsafe();
}

std::vector<Value> ExpressionParser::list(Json operand, bool of_strings) {
  if (!operand.is_array()) refuse_operand("an array", operand);
  std::vector<Value> values;
  const simdjson::dom::array items = operand.get_array().value_unsafe();
  for (const element item : items) {
    const JsonPlace::Step step(place_, values.size());
    if (++operands_ > kMaxOperands) {
      refuse("more than " + std::to_string(kMaxOperands) + " operands in one filter");
    }
    values.push_back(of_strings ? text(item) : scalar(item));
  }
  return values;
}

// ---- nodes ----------------------------------------------------------------------------

Node ExpressionParser::leaf(Leaf leaf) {
  count_node();
  Node node;
  node.kind = NodeKind::kLeaf;
  node.leaf = static_cast<std::uint32_t>(expression_.leaves_.size());
  expression_.leaves_.push_back(std::move(leaf));
  return node;
}

Node ExpressionParser::negated(Node node) {
  if (node.kind == NodeKind::kNot) return std::move(node.children.front());
  Node result;
  result.kind = NodeKind::kNot;
  result.children.push_back(std::move(node));
  return result;
}

// One node for several that must all hold.
static Node all_of(std::vector<Node> nodes) {
  std::erase_if(nodes, [](const Node& node) { return node.kind == NodeKind::kAll; });
  if (nodes.empty()) return {};
  if (nodes.size() == 1) return std::move(nodes.front());
  Node result;
  result.kind = NodeKind::kAnd;
  result.children = std::move(nodes);
  return result;
}

Node ExpressionParser::condition(Json source) {
  if (!source.is_object()) refuse_operand("an object", source);
  count_node();
  const JsonObject object = source.get_object().value_unsafe();
  check_distinct_keys(object);
  std::vector<Node> nodes;
  for (const auto member : object) {
    const JsonPlace::Step step(place_, member.key);
    nodes.push_back(this->member(member.key, member.value));
  }
  return all_of(std::move(nodes));
}

Node ExpressionParser::combined(NodeKind kind, Json operand) {
  if (!operand.is_array()) refuse_operand("an array of conditions", operand);
  enter();
  std::vector<Node> nodes;
  const simdjson::dom::array items = operand.get_array().value_unsafe();
  for (const element item : items) {
    const JsonPlace::Step step(place_, nodes.size());
    nodes.push_back(condition(item));
  }
  --depth_;
  if (nodes.empty()) refuse("expected at least one condition, got an empty array");
  if (kind == NodeKind::kAnd) return all_of(std::move(nodes));
  if (nodes.size() == 1) return std::move(nodes.front());
  const auto all = [](const Node& node) { return node.kind == NodeKind::kAll; };
  if (std::any_of(nodes.begin(), nodes.end(), all)) return {};
  Node result;
  result.kind = NodeKind::kOr;
  result.children = std::move(nodes);
  return result;
}

Node ExpressionParser::member(std::string_view key, Json operand) {
  if (key == "$and") return combined(NodeKind::kAnd, operand);
  if (key == "$or") return combined(NodeKind::kOr, operand);
  if (key == "$id") return id(operand);
  if (key == "$not") {
    enter();
    Node node = negated(condition(operand));
    --depth_;
    return node;
  }
  if (key.starts_with('$')) refuse_operator(key, kConditions);
  if (key.size() > kMaxPathBytes) {
    refuse("the name of a field has at most " + std::to_string(kMaxPathBytes) + " bytes, got " +
           std::to_string(key.size()));
  }
  return field(std::string(key), operand);
}

template <typename ReadOperator>
Node ExpressionParser::operators(JsonObject source, ReadOperator&& read) {
  check_distinct_keys(source);
  std::vector<Node> nodes;
  for (const auto member : source) {
    const JsonPlace::Step step(place_, member.key);
    nodes.push_back(read(std::string_view(member.key), Json(member.value)));
  }
  if (nodes.empty()) refuse("expected at least one operator, got {}");
  return all_of(std::move(nodes));
}

Node ExpressionParser::field(const std::string& path, Json operand) {
  if (!operand.is_object()) return leaf(Leaf::on_field(path, Operator::kEqual, {scalar(operand)}));
  return operators(operand.get_object().value_unsafe(), [&](std::string_view name, Json value) {
    return field_operator(path, name, value);
  });
}

Node ExpressionParser::field_operator(const std::string& path, std::string_view name,
                                      Json operand) {
  const auto make = [&](Operator op, std::vector<Value> operands) {
    return leaf(Leaf::on_field(path, op, std::move(operands)));
  };
  if (name == "$eq") return make(Operator::kEqual, {scalar(operand)});
  if (name == "$ne") return negated(make(Operator::kEqual, {scalar(operand)}));
  if (name == "$in") return make(Operator::kIn, list(operand, false));
  if (name == "$nin") return negated(make(Operator::kIn, list(operand, false)));
  for (const auto& [comparison, op] : kComparisons) {
    if (name == comparison) return make(op, {comparable(operand)});
  }
  if (name == "$contains") return make(Operator::kContains, {scalar(operand)});
  if (name == "$exists") {
    const bool wanted = boolean(operand);
    Node node = make(Operator::kExists, {});
    return wanted ? std::move(node) : negated(std::move(node));
  }
  if (name == "$regex") {
    const Value pattern = text(operand);
    if (pattern.text().size() > kMaxRegexBytes) {
      refuse("a pattern has at most " + std::to_string(kMaxRegexBytes) + " bytes, got " +
             std::to_string(pattern.text().size()));
    }
    if (++regexes_ > kMaxRegexes) {
      refuse("more than " + std::to_string(kMaxRegexes) + " patterns in one filter");
    }
    try {
      return make(Operator::kRegex, {pattern});
    } catch (const Error& error) {
      refuse(error.what());
    }
  }
  if (name == "$not") {
    if (!operand.is_object()) refuse_operand("an object of operators", operand);
    enter();
    Node node = negated(field(path, operand));
    --depth_;
    return node;
  }
  if (name.starts_with('$')) refuse_operator(name, kFieldOperators);
  refuse("expected an operator, got the key \"" + shortened_text(name) +
         "\" (a nested field is written \"" + shortened_text(path + "." + std::string(name)) +
         "\")");
}

Node ExpressionParser::id(Json operand) {
  if (!operand.is_object()) {
    if (!operand.is_string()) refuse_operand("a string or an object of operators", operand);
    return leaf(Leaf::on_id(Operator::kEqual, {text(operand)}));
  }
  return operators(operand.get_object().value_unsafe(),
                   [&](std::string_view name, Json value) { return id_operator(name, value); });
}

Node ExpressionParser::id_operator(std::string_view name, Json operand) {
  const auto make = [&](Operator op, std::vector<Value> operands) {
    return leaf(Leaf::on_id(op, std::move(operands)));
  };
  if (name == "$eq") return make(Operator::kEqual, {text(operand)});
  if (name == "$ne") return negated(make(Operator::kEqual, {text(operand)}));
  if (name == "$in") return make(Operator::kIn, list(operand, true));
  if (name == "$nin") return negated(make(Operator::kIn, list(operand, true)));
  if (name == "$prefix") return make(Operator::kPrefix, {text(operand)});
  if (name == "$not") {
    if (!operand.is_object()) refuse_operand("an object of operators", operand);
    enter();
    Node node = negated(id(operand));
    --depth_;
    return node;
  }
  refuse_operator(name, kIdOperators);
}

// ---- the whole ------------------------------------------------------------------------

std::shared_ptr<const Expression> ExpressionParser::parse(std::string_view source) {
  if (source.size() > kMaxExpressionBytes) {
    refuse("a filter has at most " + std::to_string(kMaxExpressionBytes) + " bytes as JSON, got " +
           std::to_string(source.size()));
  }
  JsonParser parser;
  element root;
  if (const auto error = parser.parse(source.empty() ? "{}" : source).get(root);
      error != simdjson::SUCCESS) {
    refuse_text(source, error);
  }
  return finish(condition(root), source.size());
}

std::shared_ptr<const Expression> ExpressionParser::values(std::string_view path,
                                                           std::string_view json_values) {
  JsonParser parser;
  element root;
  if (const auto error = parser.parse(json_values).get(root); error != simdjson::SUCCESS) {
    refuse_text(json_values, error);
  }
  std::vector<Value> operands;
  const simdjson::dom::array items = root.get_array().value_unsafe();
  for (const element item : items) operands.push_back(scalar(item));
  operands_ = operands.size();
  return finish(leaf(Leaf::on_field(std::string(path), Operator::kIn, std::move(operands))),
                json_values.size());
}

std::shared_ptr<const Expression> ExpressionParser::finish(Node root, std::size_t bytes) {
  expression_.root_ = std::move(root);
  expression_.bytes_ = sizeof(Expression) + bytes + nodes_ * (sizeof(Node) + sizeof(Leaf)) +
                       operands_ * sizeof(Value) + regexes_ * Regex::kMaxBytes;
  auto result = std::make_shared<Expression>(std::move(expression_));
  result->index_paths();
  return result;
}

std::shared_ptr<const Expression> expression_for_values(std::string_view path,
                                                        std::span<const std::string> json_values) {
  std::string list = "[";
  for (const std::string& value : json_values)
    list.append(list.size() > 1 ? "," : "").append(value);
  return ExpressionParser().values(path, list.append("]"));
}

std::shared_ptr<const Expression> Expression::parse(std::string_view json_text) {
  return ExpressionParser().parse(json_text);
}

}  // namespace srvdb::filter
