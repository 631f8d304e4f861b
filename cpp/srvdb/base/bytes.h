// Little-endian encoding of integers into byte strings, and a reader that cannot run past its end.
//
// Every format of the project is little-endian (cpp/FORMAT.md); on a big-endian machine the build
// stops here.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace srvdb {

static_assert(std::endian::native == std::endian::little, "srvdb needs a little-endian machine");

using ByteSpan = std::span<const std::uint8_t>;

inline ByteSpan as_byte_span(std::string_view text) noexcept {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteSpan bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Appends the bytes of a trivially copyable value.
template <typename T>
void put(std::string& out, T value) {
  static_assert(std::is_arithmetic_v<T>);
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  out.append(raw, sizeof(T));
}

// Appends several values, one after another, without padding.
template <typename... T>
void put_all(std::string& out, T... values) {
  static_assert((std::is_arithmetic_v<T> && ...));
  char raw[(sizeof(T) + ...)];
  char* at = raw;
  ((std::memcpy(at, &values, sizeof(T)), at += sizeof(T)), ...);
  out.append(raw, sizeof(raw));
}

// Appends a 32-bit length and the text.
inline void put_text(std::string& out, std::string_view text) {
  put<std::uint32_t>(out, static_cast<std::uint32_t>(text.size()));
  out.append(text);
}

// Value at an address of any alignment.
template <typename T>
T load(const void* at) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}
template <typename T>
void store(void* at, T value) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  std::memcpy(at, &value, sizeof(T));
}

// Reads values from the front of a span. After the first short read ok() stays false and every
// further read yields zero or an empty span: check once, at the end.
class ByteReader {
 public:
  explicit ByteReader(ByteSpan bytes) noexcept : rest_(bytes) {}

  template <typename T>
  T get() noexcept {
    if (rest_.size() < sizeof(T)) return fail(), T{};
    const T value = load<T>(rest_.data());
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  ByteSpan bytes(std::size_t n) noexcept {
    if (rest_.size() < n) return fail(), ByteSpan{};
    const ByteSpan out = rest_.first(n);
    rest_ = rest_.subspan(n);
    return out;
  }
  std::string_view text() noexcept { return as_text(bytes(get<std::uint32_t>())); }

  bool ok() const noexcept { return ok_; }
  std::size_t remaining() const noexcept { return rest_.size(); }

 private:
  void fail() noexcept {
    ok_ = false;
    rest_ = {};
  }
  ByteSpan rest_;
  bool ok_ = true;
};

}  // namespace srvdb
