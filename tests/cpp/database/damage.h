// Damages one file of a closed database, many times over, and looks at what opening and searching
// make of it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "fixture.h"
#include "srvdb/base/events.h"

namespace srvdb::testing {

inline std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void put_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// Positions spread over `size` bytes: the first and last few, and `n` in between.
inline std::vector<std::size_t> spread(std::size_t size, std::size_t n) {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < std::min<std::size_t>(size, 8); ++i) out.push_back(i);
  for (std::size_t i = 1; i <= n; ++i) {
    const std::size_t at = (size * i) / (n + 1) + i % 7;
    if (at >= 8 && at < size) out.push_back(at);
  }
  if (size > 8) out.push_back(size - 1);
  return out;
}

inline bool warned() {
  bool found = false;
  for (const Event& event : drain_events()) found = found || event.level == Event::Level::kWarning;
  return found;
}

}  // namespace srvdb::testing
