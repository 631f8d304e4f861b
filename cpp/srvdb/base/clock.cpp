#include "srvdb/base/clock.h"

#include <atomic>
#include <chrono>

namespace srvdb {
namespace {

std::atomic<Clock> replaced{nullptr};

}  // namespace

std::int64_t now_us() noexcept {
  if (const Clock clock = replaced.load(std::memory_order_acquire)) return clock();
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count();
}

void replace_clock(Clock clock) noexcept {
  replaced.store(clock, std::memory_order_release);
}

}  // namespace srvdb
