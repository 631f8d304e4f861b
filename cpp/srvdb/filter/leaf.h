// One condition of a filter: an operator with its operands, on a field or on the id.
//
// A leaf on a field is true for a row when it is true for any of the values at its path
// (document.h); without a value there it is false. All leaves are positive: what must not hold is a
// kNot above them (expression.h).
//
//   kEqual, kIn          the value is an operand, of the same class; numbers as numbers
//   kGreater … kLessEqual  number against number, string against string; else false
//   kContains            an element of an array that is the operand, or a string outside of arrays
//                        that has the operand, a string, in it
//   kRegex               a string in which the pattern is found
//   kExists              any value, containers and null too
//   kPrefix              of the id: it begins with the operand
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/filter/regex.h"
#include "srvdb/filter/value.h"

namespace srvdb::filter {

enum class Operator : std::uint8_t {
  kEqual,
  kIn,
  kGreater,
  kGreaterEqual,
  kLess,
  kLessEqual,
  kContains,
  kRegex,
  kExists,
  kPrefix,
};

// What a value says about a leaf. kMaybe comes of cut strings alone: the document must be looked
// at.
enum class Truth : std::uint8_t { kNo, kMaybe, kYes };

// Owns its operands. Threads: immutable. Move-only.
class Leaf {
 public:
  // operands: none for kExists, any number for kIn, else one; their strings are copied. kRegex
  // throws Error kFilter for a pattern that RE2 does not take.
  static Leaf on_field(std::string path, Operator op, std::vector<Value> operands);
  // operands: strings; kEqual, kIn or kPrefix.
  static Leaf on_id(Operator op, std::vector<Value> operands);

  Leaf(Leaf&&) noexcept = default;
  Leaf& operator=(Leaf&&) noexcept = default;

  bool is_on_id() const noexcept { return on_id_; }
  // Of a leaf on a field.
  const std::string& path() const noexcept { return path_; }
  Operator op() const noexcept { return op_; }
  // In the order of `order`, without repetitions; never cut.
  std::span<const Value> operands() const noexcept { return operands_; }

  // Of a leaf on a field: what one value at its path says. A value that is not cut never says
  // kMaybe.
  Truth test(const Value& value) const;
  // Of a leaf on the id.
  bool test_id(std::string_view id) const noexcept;

 private:
  Leaf(bool on_id, std::string path, Operator op, std::vector<Value> operands);

  bool is_operand(const Value& value) const noexcept;
  bool is_operand_hash(const Value& value) const noexcept;
  Truth test_order(const Value& value) const noexcept;
  Truth test_contains(const Value& value) const noexcept;

  bool on_id_;
  Operator op_;
  std::string path_;
  std::unique_ptr<char[]> text_;  // of the operands, one after another
  std::vector<Value> operands_;
  std::vector<TextHash> long_operands_;  // hashes of those that a dictionary would cut, sorted
  std::unique_ptr<const Regex> regex_;
};

}  // namespace srvdb::filter
