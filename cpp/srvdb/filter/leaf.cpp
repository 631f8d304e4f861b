#include "srvdb/filter/leaf.h"

#include <algorithm>
#include <cassert>
#include <compare>
#include <cstring>
#include <utility>

namespace srvdb::filter {
namespace {

Truth truth(bool yes) noexcept {
  return yes ? Truth::kYes : Truth::kNo;
}

// In linear time, which std::string_view::find does not promise.
bool has_part(std::string_view text, std::string_view part) noexcept {
  if (part.empty() || part.size() > text.size()) return part.empty();
  return ::memmem(text.data(), text.size(), part.data(), part.size()) != nullptr;
}

bool holds(Operator op, std::strong_ordering value_to_operand) noexcept {
  switch (op) {
    case Operator::kGreater:
      return std::is_gt(value_to_operand);
    case Operator::kGreaterEqual:
      return std::is_gteq(value_to_operand);
    case Operator::kLess:
      return std::is_lt(value_to_operand);
    default:
      assert(op == Operator::kLessEqual);
      return std::is_lteq(value_to_operand);
  }
}

}  // namespace

Leaf::Leaf(bool on_id, std::string path, Operator op, std::vector<Value> operands)
    : on_id_(on_id), op_(op), path_(std::move(path)), operands_(std::move(operands)) {
  const auto less = [](const Value& a, const Value& b) { return std::is_lt(order(a, b)); };
  const auto equal = [](const Value& a, const Value& b) { return std::is_eq(order(a, b)); };
  std::sort(operands_.begin(), operands_.end(), less);
  operands_.erase(std::unique(operands_.begin(), operands_.end(), equal), operands_.end());
  std::size_t bytes = 0;
  for (const Value& operand : operands_) bytes += operand.text().size();
  text_ = std::make_unique<char[]>(bytes);
  char* at = text_.get();
  for (Value& operand : operands_) {
    if (!operand.is_string()) continue;
    const std::string_view text = operand.text();
    if (!text.empty()) std::memcpy(at, text.data(), text.size());
    operand = Value::string({at, text.size()});
    if (text.size() > kCutBytes) long_operands_.push_back(hash_text(text));
    at += text.size();
  }
  std::sort(long_operands_.begin(), long_operands_.end());
  if (op_ == Operator::kRegex) regex_ = std::make_unique<Regex>(operands_.front().text());
}

Leaf Leaf::on_field(std::string path, Operator op, std::vector<Value> operands) {
  assert(op != Operator::kPrefix);
  assert(op == Operator::kIn || operands.size() == (op == Operator::kExists ? 0U : 1U));
  return {false, std::move(path), op, std::move(operands)};
}

Leaf Leaf::on_id(Operator op, std::vector<Value> operands) {
  assert(op == Operator::kEqual || op == Operator::kIn || op == Operator::kPrefix);
  assert(op == Operator::kIn || operands.size() == 1);
  return {true, {}, op, std::move(operands)};
}

bool Leaf::is_operand(const Value& value) const noexcept {
  return std::binary_search(operands_.begin(), operands_.end(), value,
                            [](const Value& a, const Value& b) { return std::is_lt(order(a, b)); });
}

bool Leaf::is_operand_hash(const Value& value) const noexcept {
  return std::binary_search(long_operands_.begin(), long_operands_.end(), value.hash());
}

Truth Leaf::test_order(const Value& value) const noexcept {
  const Value& operand = operands_.front();
  if (value_class(value) != value_class(operand)) return Truth::kNo;
  if (!value.cut()) return truth(holds(op_, order(value, operand)));
  const std::string_view text = value.text();
  const std::string_view bound = operand.text();
  const auto by_beginning = text <=> bound.substr(0, text.size());
  if (std::is_neq(by_beginning)) return truth(holds(op_, by_beginning));
  if (bound.size() > text.size()) return Truth::kMaybe;
  return truth(holds(op_, std::strong_ordering::greater));  // it goes on where the operand ends
}

Truth Leaf::test_contains(const Value& value) const noexcept {
  if (value.element()) {
    return value.cut() ? (is_operand_hash(value) ? Truth::kMaybe : Truth::kNo)
                       : truth(is_operand(value));
  }
  const Value& operand = operands_.front();
  if (!value.is_string() || !operand.is_string()) return Truth::kNo;
  if (has_part(value.text(), operand.text())) return Truth::kYes;
  return value.cut() ? Truth::kMaybe : Truth::kNo;
}

Truth Leaf::test(const Value& value) const {
  switch (op_) {
    case Operator::kEqual:
    case Operator::kIn:
      if (value.cut()) return is_operand_hash(value) ? Truth::kMaybe : Truth::kNo;
      return truth(is_operand(value));
    case Operator::kContains:
      return test_contains(value);
    case Operator::kRegex:
      if (!value.is_string()) return Truth::kNo;
      return value.cut() ? Truth::kMaybe : truth(regex_->found_in(value.text()));
    case Operator::kExists:
      return Truth::kYes;
    case Operator::kPrefix:
      return Truth::kNo;
    default:
      return test_order(value);
  }
}

bool Leaf::test_id(std::string_view id) const noexcept {
  if (op_ == Operator::kPrefix) return id.starts_with(operands_.front().text());
  return is_operand(Value::string(id));
}

}  // namespace srvdb::filter
