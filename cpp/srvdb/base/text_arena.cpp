#include "srvdb/base/text_arena.h"

#include <cstring>

namespace srvdb {

std::string_view TextArena::copy(std::string_view text) {
  if (text.empty()) return {};
  if (text.size() > block_bytes_ / 4) {  // a block of its own; the current one stays in use
    blocks_.emplace_back(text.begin(), text.end());
    bytes_ += text.size();
    return {blocks_.back().data(), text.size()};
  }
  make_room(text.size());
  std::memcpy(at_, text.data(), text.size());
  const std::string_view out(at_, text.size());
  at_ += text.size();
  left_ -= text.size();
  return out;
}

void TextArena::make_room(std::size_t bytes) {
  if (bytes <= left_) return;
  blocks_.emplace_back(block_bytes_);
  bytes_ += block_bytes_;
  at_ = blocks_.back().data();
  left_ = block_bytes_;
}

}  // namespace srvdb
