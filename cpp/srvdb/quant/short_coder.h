// How the short codes of a database are made. There are two forms of them, for two kinds of rows:
// the first components, which a walk goes by instead of the usual codes (reduction.h), and signs,
// which say what rows it need not measure (sign_quantizer.h). Immutable: thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "srvdb/base/bytes.h"
#include "srvdb/quant/reduction.h"
#include "srvdb/quant/sign_quantizer.h"

namespace srvdb {

class ShortCoder {
 public:
  static constexpr std::size_t kMostBytes = Reduction::kMostBytes;
  static_assert(SignQuantizer::kMostBytes <= kMostBytes);

  // Room to work in, reused from vector to vector; one for each thread.
  struct Scratch {
    Reduction::Scratch components;
    SignQuantizer::Scratch signs;
  };

  // NOLINTNEXTLINE(google-explicit-constructor): either form is one
  ShortCoder(Reduction components) : form_(std::move(components)) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  ShortCoder(SignQuantizer signs) : form_(std::move(signs)) {}

  // The one that it is; the other is null.
  const Reduction* components() const noexcept { return std::get_if<Reduction>(&form_); }
  const SignQuantizer* signs() const noexcept { return std::get_if<SignQuantizer>(&form_); }

  std::size_t stride() const noexcept;      // bytes of a short code,
  std::size_t code_bytes() const noexcept;  //   those in use

  // Writes stride() bytes. Of components, adds the row to `held`.
  void encode(const float* row, Scratch& scratch, std::uint8_t* code, Reduction::Held& held) const;

  // At most kMostBytes, with their own checksum (cpp/FORMAT.md, "reduction.bin").
  std::string to_bytes() const;
  // Throws Error(kCorruption) when the bytes cannot be of that dimension and metric.
  static ShortCoder from_bytes(ByteSpan bytes, std::size_t dim, Metric metric);

 private:
  std::variant<Reduction, SignQuantizer> form_;
};

}  // namespace srvdb
