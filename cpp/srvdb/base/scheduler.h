// The process-wide scheduler: one small pool of threads for everything the core does in the
// background (linking, checkpoints, timers) and for parallel sections of foreground calls. No
// database has a thread of its own.
//
// Threads start on first use and stop at exit. After a fork the child has none of them: the first
// use in the child starts a fresh pool (see reset_scheduler_after_fork). Thread-safe throughout.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include "srvdb/base/interrupt.h"

namespace srvdb {

// Number of threads a caller gets when it asks for 0 ("all"): the processors this process may run
// on.
std::size_t default_threads() noexcept;

// Runs body(index, worker) for every index in [0, count) on up to `threads` threads, the caller's
// among them, and returns when all are done. `worker` is in [0, threads): two bodies running at
// one time never share it, so it can pick scratch space. Indices are handed out in order, in chunks
// of `grain`. With threads <= 1 everything runs in the caller. The caller polls `interrupt` between
// chunks and the others watch its flag; when stopped, throws Error(kInterrupted) after every body
// has returned. An exception of a body stops the hand-out and is rethrown.
void parallel_for(std::size_t count, std::size_t grain, std::size_t threads, Interrupt* interrupt,
                  const std::function<void(std::size_t index, std::size_t worker)>& body);

// A job that runs in the background whenever it has been woken, never twice at one time.
//
// `run` does a bounded piece of work (aim: under 100 ms) and returns true when there is more to do
// at once. The destructor and stop() wait for a running piece; after that it never runs again.
class BackgroundJob {
 public:
  explicit BackgroundJob(std::function<bool()> run);
  ~BackgroundJob();
  BackgroundJob(const BackgroundJob&) = delete;
  BackgroundJob& operator=(const BackgroundJob&) = delete;

  // Makes it run soon. Cheap when it is already due.
  void wake();
  // Makes it run after the delay, unless woken before; a later call moves the time.
  void wake_after(std::chrono::milliseconds delay);
  // Waits for a running piece, then never runs again. Must not be called from `run` itself.
  void stop();

  struct State;

 private:
  std::shared_ptr<State> state_;
};

// In the child of a fork only (pthread_atfork): forgets the parent's threads and queue without
// touching their locks.
void reset_scheduler_after_fork() noexcept;

}  // namespace srvdb
