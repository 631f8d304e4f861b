// A way to stop a long call: a stop flag, a deadline, and a poll function, all optional.
//
// The caller owns the Interrupt and passes a pointer (nullptr: never stops). The long call asks
// `check(interrupt)` between units of work of a few milliseconds. Worker threads ask only the flag
// (`stopped()`); the thread that made the call also runs the poll function, at most every 50 ms:
// that is where Python looks for Ctrl-C. Once stopped, an Interrupt stays stopped.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <utility>

namespace srvdb {

class Interrupt {
 public:
  using Clock = std::chrono::steady_clock;

  Interrupt() = default;
  explicit Interrupt(std::function<bool()> poll) : poll_(std::move(poll)) {}
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // Any thread.
  void stop() noexcept { stopped_.store(true, std::memory_order_relaxed); }
  bool stopped() const noexcept { return stopped_.load(std::memory_order_relaxed); }

  // Before the call starts.
  void set_deadline(Clock::time_point deadline) noexcept { deadline_ = deadline; }

  // The calling thread only. True when the call must stop; runs the poll function when it is due.
  bool poll() {
    if (stopped()) return true;
    const auto now = Clock::now();
    if (deadline_ && now >= *deadline_) stop();
    if (poll_ && now >= next_poll_) {
      next_poll_ = now + std::chrono::milliseconds(50);
      if (poll_()) stop();
    }
    return stopped();
  }

 private:
  std::atomic<bool> stopped_{false};
  std::optional<Clock::time_point> deadline_;
  std::function<bool()> poll_;
  Clock::time_point next_poll_{};
};

// Throws Error(kInterrupted) when the call must stop. The calling thread only.
void check(Interrupt* interrupt);

}  // namespace srvdb
