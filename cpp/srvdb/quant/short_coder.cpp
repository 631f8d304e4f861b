#include "srvdb/quant/short_coder.h"

namespace srvdb {

std::size_t ShortCoder::stride() const noexcept {
  return signs() != nullptr ? signs()->stride() : components()->stride();
}

std::size_t ShortCoder::code_bytes() const noexcept {
  return signs() != nullptr ? signs()->code_bytes() : components()->components();
}

void ShortCoder::encode(const float* row, Scratch& scratch, std::uint8_t* code,
                        Reduction::Held& held) const {
  if (signs() != nullptr) {
    signs()->encode(row, scratch.signs, code);
  } else {
    components()->encode(row, scratch.components, code, held);
  }
}

std::string ShortCoder::to_bytes() const {
  return signs() != nullptr ? signs()->to_bytes() : components()->to_bytes();
}

ShortCoder ShortCoder::from_bytes(ByteSpan bytes, std::size_t dim, Metric metric) {
  if (SignQuantizer::are_bytes_of(bytes)) return SignQuantizer::from_bytes(bytes, dim, metric);
  return Reduction::from_bytes(bytes, dim, metric);
}

}  // namespace srvdb
