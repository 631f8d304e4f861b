// One scalar of a metadata document, or of a filter, and the order among all of them.
//
// Values fall into classes: container (an object or an empty array stands there: present, but
// nothing that could be compared), null, boolean, number, string. Filters compare within a class
// only; `order` puts the classes in that sequence, so that dictionaries can be sorted.
//
// A number is the mathematical number, whichever way it was written: what is integral and within
// 64 bits, signed or unsigned, is kept as that integer (1.0 is 1, -0.0 is 0), anything else as the
// double. So equal numbers have equal representations, and comparisons are exact across kinds:
// 2^53 + 1 is greater than 2^53 although no double lies between.
//
// Strings are UTF-8 and compare by byte, which is the order of their code points. A string that is
// longer than kCutBytes may be *cut*: its first kCutBytes bytes and a hash of the whole. What a
// cut string says about a comparison is sometimes "maybe" (leaf.h).
//
// Ownership: a Value views its string. Threads: immutable, apart from assignment.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstdint>
#include <string_view>

namespace srvdb::filter {

enum class ValueKind : std::uint8_t {
  kContainer = 0,
  kNull = 1,
  kBool = 2,
  kInt = 3,     // integral, in [-2^63, 2^63)
  kUint = 4,    // integral, in [2^63, 2^64)
  kDouble = 5,  // finite, and neither of the two before
  kString = 6,
};

// SipHash-2-4 with 128 bits of output (Aumasson, Bernstein: SipHash: a fast short-input PRF, 2012)
// under the key 00 01 … 0f: the two words of its output.
using TextHash = std::array<std::uint64_t, 2>;
TextHash hash_text(std::string_view text) noexcept;

// Strings longer than this are cut in dictionaries.
inline constexpr std::size_t kCutBytes = 64;

class Value {
 public:
  // A container.
  Value() = default;
  static Value null() noexcept { return {ValueKind::kNull, 0}; }
  static Value boolean(bool value) noexcept { return {ValueKind::kBool, value ? 1U : 0U}; }
  static Value number(std::int64_t value) noexcept {
    return {ValueKind::kInt, std::bit_cast<std::uint64_t>(value)};
  }
  static Value number(std::uint64_t value) noexcept {
    const bool small = value <= static_cast<std::uint64_t>(INT64_MAX);
    return {small ? ValueKind::kInt : ValueKind::kUint, value};
  }
  // A finite double; canonical as described above.
  static Value number(double value) noexcept;
  static Value string(std::string_view text) noexcept {
    Value value(ValueKind::kString, 0);
    value.text_ = text;
    return value;
  }
  // The first kCutBytes bytes of a longer string, and the hash of all of it.
  static Value cut_string(std::string_view beginning, const TextHash& hash) noexcept;

  ValueKind kind() const noexcept { return kind_; }
  bool is_number() const noexcept {
    return kind_ >= ValueKind::kInt && kind_ <= ValueKind::kDouble;
  }
  bool is_string() const noexcept { return kind_ == ValueKind::kString; }

  // Of the kind that the name says.
  bool as_bool() const noexcept { return bits_ != 0; }
  std::int64_t as_int() const noexcept { return std::bit_cast<std::int64_t>(bits_); }
  std::uint64_t as_uint() const noexcept { return bits_; }
  double as_double() const noexcept { return std::bit_cast<double>(bits_); }
  // The string, or its beginning when it is cut.
  std::string_view text() const noexcept { return text_; }
  bool cut() const noexcept { return cut_; }
  // Of a cut string.
  const TextHash& hash() const noexcept { return hash_; }

  // True for a value that is itself an element of an array; what stands under a key of an object
  // inside an array is not.
  bool element() const noexcept { return element_; }
  Value with_element(bool element) const noexcept {
    Value value = *this;
    value.element_ = element;
    return value;
  }
  // The same value with its string cut when it is longer than kCutBytes.
  Value shortened() const noexcept;

 private:
  Value(ValueKind kind, std::uint64_t bits) noexcept : kind_(kind), bits_(bits) {}

  ValueKind kind_ = ValueKind::kContainer;
  bool element_ = false;
  bool cut_ = false;
  std::uint64_t bits_ = 0;
  std::string_view text_;
  TextHash hash_{};
};

// Rank of a value's class: containers 0, null 1, booleans 2, numbers 3, strings 4.
inline int value_class(const Value& value) noexcept {
  constexpr std::array<int, 7> kClass = {0, 1, 2, 3, 3, 3, 4};
  return kClass[static_cast<std::size_t>(value.kind())];
}

// By class, then false before true, numbers by size, strings by byte, and a whole string before a
// cut one with the same beginning, cut ones by hash; the element flag does not count. A total
// order, and the one of the values themselves as far as cut strings allow: of two cut strings with
// one beginning it does not say which is the greater. Equal values, and only they, are equivalent.
std::strong_ordering order(const Value& a, const Value& b) noexcept;

// The same, then values that are no elements before those that are.
std::strong_ordering dictionary_order(const Value& a, const Value& b) noexcept;

}  // namespace srvdb::filter
