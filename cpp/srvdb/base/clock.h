// The time of day, in one place, so that a test can set it.
//
// Thread-safe. Microseconds since the epoch, UTC, without leap seconds; may go backwards when the
// system's clock is set.
#pragma once

#include <cstdint>

namespace srvdb {

std::int64_t now_us() noexcept;
inline std::int64_t now_ms() noexcept {
  return now_us() / 1000;
}

using Clock = std::int64_t (*)();  // microseconds since the epoch
// Makes now_us() answer what `clock` says; nullptr: the system's clock. For tests.
void replace_clock(Clock clock) noexcept;

}  // namespace srvdb
