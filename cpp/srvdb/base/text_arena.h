// Append-only memory for texts, in blocks: views into it stay valid until it is destroyed.
// Move-only. Not thread-safe.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "srvdb/base/large_memory.h"

namespace srvdb {

class TextArena {
 public:
  // Memory is taken so many bytes at a time.
  explicit TextArena(std::size_t block_bytes = std::size_t{256} << 10)
      : block_bytes_(block_bytes) {}

  std::string_view copy(std::string_view text);
  // Makes copy() of as many bytes certain not to throw.
  void make_room(std::size_t bytes);
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  std::size_t block_bytes_;
  std::vector<LargeVector<char>> blocks_;
  char* at_ = nullptr;
  std::size_t left_ = 0;
  std::size_t bytes_ = 0;  // held in all, unused ends of blocks included
};

}  // namespace srvdb
