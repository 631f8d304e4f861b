#include "srvdb/filter/value.h"

#include <cassert>
#include <cmath>
#include <cstring>

#include "srvdb/base/bytes.h"

namespace srvdb::filter {
namespace {

constexpr double kTwo63 = 9223372036854775808.0;
constexpr double kTwo64 = 18446744073709551616.0;

// State of SipHash.
struct Sip {
  std::uint64_t a, b, c, d;

  void round() noexcept {
    a += b;
    b = std::rotl(b, 13) ^ a;
    a = std::rotl(a, 32);
    c += d;
    d = std::rotl(d, 16) ^ c;
    a += d;
    d = std::rotl(d, 21) ^ a;
    c += b;
    b = std::rotl(b, 17) ^ c;
    c = std::rotl(c, 32);
  }
  void absorb(std::uint64_t word) noexcept {
    d ^= word;
    round();
    round();
    a ^= word;
  }
  std::uint64_t squeeze() noexcept {
    for (int i = 0; i < 4; ++i) round();
    return a ^ b ^ c ^ d;
  }
};

// An integer against a double that is no integer of 64 bits: beyond their range, or not integral
// and so below 2^53 in size, where the next integer down is exact.
template <typename Integer>
std::strong_ordering integer_against_double(Integer integer, double real) noexcept {
  if (real >= kTwo63) return std::strong_ordering::less;
  if (real < -kTwo63 || !std::is_signed_v<Integer>) return std::strong_ordering::greater;
  const auto below = static_cast<std::int64_t>(std::floor(real));
  return static_cast<std::int64_t>(integer) <= below ? std::strong_ordering::less
                                                     : std::strong_ordering::greater;
}

std::strong_ordering reversed(std::strong_ordering order) noexcept {
  if (std::is_eq(order)) return order;
  return std::is_lt(order) ? std::strong_ordering::greater : std::strong_ordering::less;
}

std::strong_ordering order_numbers(const Value& a, const Value& b) noexcept {
  if (a.kind() == ValueKind::kDouble && b.kind() == ValueKind::kDouble) {
    if (a.as_double() == b.as_double()) return std::strong_ordering::equal;
    return a.as_double() < b.as_double() ? std::strong_ordering::less
                                         : std::strong_ordering::greater;
  }
  if (b.kind() == ValueKind::kDouble) {
    return a.kind() == ValueKind::kInt ? integer_against_double(a.as_int(), b.as_double())
                                       : integer_against_double(a.as_uint(), b.as_double());
  }
  if (a.kind() == ValueKind::kDouble) return reversed(order_numbers(b, a));
  if (a.kind() != b.kind()) return a.kind() <=> b.kind();  // every kInt is below every kUint
  return a.kind() == ValueKind::kInt ? a.as_int() <=> b.as_int() : a.as_uint() <=> b.as_uint();
}

std::strong_ordering order_strings(const Value& a, const Value& b) noexcept {
  if (const auto by_text = a.text() <=> b.text(); std::is_neq(by_text)) return by_text;
  if (a.cut() != b.cut()) return a.cut() <=> b.cut();
  return a.cut() ? a.hash() <=> b.hash() : std::strong_ordering::equal;
}

}  // namespace

TextHash hash_text(std::string_view text) noexcept {
  constexpr std::uint64_t kKey0 = 0x0706050403020100;
  constexpr std::uint64_t kKey1 = 0x0f0e0d0c0b0a0908;
  Sip sip{kKey0 ^ 0x736f6d6570736575, kKey1 ^ 0x646f72616e646f6d ^ 0xee, kKey0 ^ 0x6c7967656e657261,
          kKey1 ^ 0x7465646279746573};
  std::size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) sip.absorb(load<std::uint64_t>(text.data() + at));
  std::uint64_t last = 0;
  std::memcpy(&last, text.data() + at, text.size() - at);
  sip.absorb(last | static_cast<std::uint64_t>(text.size()) << 56);
  sip.c ^= 0xee;
  const std::uint64_t first = sip.squeeze();
  sip.b ^= 0xdd;
  return {first, sip.squeeze()};
}

Value Value::number(double value) noexcept {
  assert(std::isfinite(value));
  if (value == std::trunc(value)) {
    if (value >= -kTwo63 && value < kTwo63) return number(static_cast<std::int64_t>(value));
    if (value >= kTwo63 && value < kTwo64) return number(static_cast<std::uint64_t>(value));
  }
  return {ValueKind::kDouble, std::bit_cast<std::uint64_t>(value)};
}

Value Value::cut_string(std::string_view beginning, const TextHash& hash) noexcept {
  Value value = string(beginning);
  value.cut_ = true;
  value.hash_ = hash;
  return value;
}

Value Value::shortened() const noexcept {
  if (cut_ || text_.size() <= kCutBytes) return *this;
  return cut_string(text_.substr(0, kCutBytes), hash_text(text_)).with_element(element_);
}

std::strong_ordering order(const Value& a, const Value& b) noexcept {
  const int rank = value_class(a);
  if (const auto by_class = rank <=> value_class(b); std::is_neq(by_class)) return by_class;
  if (a.is_string()) return order_strings(a, b);
  if (a.is_number()) return order_numbers(a, b);
  return a.as_uint() <=> b.as_uint();
}

std::strong_ordering dictionary_order(const Value& a, const Value& b) noexcept {
  if (const auto by_value = order(a, b); std::is_neq(by_value)) return by_value;
  return a.element() <=> b.element();
}

}  // namespace srvdb::filter
