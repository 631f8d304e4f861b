#include "srvdb/base/scheduler.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#include "srvdb/base/error.h"
#include "srvdb/base/events.h"

namespace srvdb {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxThreads = 256;  // of one parallel section
constexpr std::size_t kBackgroundThreads =
    2;  // so that a job that waits for a disk holds up no other
constexpr auto kPollPeriod = std::chrono::milliseconds(50);

// One call of parallel_for. The caller and the helpers that join take chunks from `next` until none
// is left. `body` belongs to the caller, who does not return before `active` is back to zero.
struct Section {
  std::size_t count = 0;
  std::size_t grain = 1;
  std::size_t chunks = 0;
  Interrupt* interrupt = nullptr;
  const std::function<void(std::size_t, std::size_t)>* body = nullptr;

  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};

  std::mutex mutex;
  std::condition_variable left;
  std::size_t joined = 0;    // guarded by mutex: helpers so far, which is the last worker number
  std::size_t active = 0;    // guarded by mutex: helpers inside
  bool closed = false;       // guarded by mutex: nobody may join any more
  std::exception_ptr error;  // guarded by mutex: the first one

  void fail(std::exception_ptr e) {
    const std::lock_guard lock(mutex);
    if (!error) error = std::move(e);
    failed.store(true, std::memory_order_relaxed);
  }

  bool must_stop(bool caller) {
    if (failed.load(std::memory_order_relaxed)) return true;
    if (interrupt == nullptr) return false;
    return caller ? interrupt->poll() : interrupt->stopped();
  }

  void run_chunks(std::size_t worker) noexcept {
    try {
      while (!must_stop(worker == 0)) {
        const std::size_t chunk = next.fetch_add(1, std::memory_order_relaxed);
        if (chunk >= chunks) return;
        const std::size_t begin = chunk * grain;
        const std::size_t end = begin + std::min(grain, count - begin);
        for (std::size_t i = begin; i < end; ++i) (*body)(i, worker);
      }
    } catch (...) {
      fail(std::current_exception());
    }
  }

  // A helper's part.
  void help() {
    std::size_t worker = 0;
    {
      const std::lock_guard lock(mutex);
      if (closed) return;
      worker = ++joined;
      ++active;
    }
    run_chunks(worker);
    const std::lock_guard lock(mutex);
    if (--active == 0) left.notify_all();
  }

  // The caller's last step: no one joins any more, and those inside leave.
  void close() {
    std::unique_lock lock(mutex);
    closed = true;
    while (active != 0) {
      left.wait_for(lock, kPollPeriod);
      if (active == 0 || interrupt == nullptr) continue;
      lock.unlock();
      try {
        interrupt->poll();
      } catch (...) {
        fail(std::current_exception());
      }
      lock.lock();
    }
  }
};

// Set to a new value in the child of a fork; what was made under another value is dead.
std::atomic<unsigned> g_fork_epoch{0};

}  // namespace

// All but `run` is guarded by the pool's mutex; `run` is called by one thread at a time and dropped
// by stop() once nobody runs it.
struct BackgroundJob::State {
  std::function<bool()> run;
  Clock::time_point due = Clock::time_point::max();  // max: not asked for
  bool queued = false;                               // the queue holds an entry with this `due`
  bool running = false;
  bool stopped = false;
  unsigned epoch = g_fork_epoch.load();

  bool dead() const noexcept { return epoch != g_fork_epoch.load(std::memory_order_relaxed); }
};

namespace {

using Job = std::shared_ptr<BackgroundJob::State>;

// The threads and what waits for them. Never destroyed: a job may outlive every static object.
class Pool {
 public:
  // ---- parallel sections ----

  void ask_for_helpers(const std::shared_ptr<Section>& section, std::size_t helpers) {
    const std::size_t most = std::max(helpers, default_threads() - 1);
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    tickets_.insert(tickets_.end(), helpers, section);
    while (idle_helpers_ + starting_helpers_ < tickets_.size() && helpers_.size() < most) {
      if (!start(helpers_, &Pool::helper_loop)) break;  // the caller works on alone
      ++starting_helpers_;
    }
    ticket_ready_.notify_all();
  }

  void drop_tickets(const std::shared_ptr<Section>& section) {
    const std::lock_guard lock(mutex_);
    std::erase(tickets_, section);
  }

  // ---- background jobs ----

  void schedule(const Job& job, Clock::time_point due, bool may_delay) {
    const std::lock_guard lock(mutex_);
    if (job->stopped || stopping_) return;
    const bool woken = job->due <= Clock::now();
    if (woken || (!may_delay && job->due <= due)) return;
    unqueue(job);
    if (job->running) {
      job->due = due;  // background_loop() queues it afterwards
    } else {
      enqueue(job, due);
    }
  }

  void stop_job(const Job& job) {
    std::unique_lock lock(mutex_);
    job->stopped = true;
    unqueue(job);
    job_done_.wait(lock, [&] { return !job->running; });
    const auto run = std::exchange(job->run, nullptr);
    lock.unlock();  // what `run` owns is destroyed without our lock
  }

  void stop_threads() {
    std::vector<std::thread> threads;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      std::move(helpers_.begin(), helpers_.end(), std::back_inserter(threads));
      std::move(background_.begin(), background_.end(), std::back_inserter(threads));
      helpers_.clear();
      background_.clear();
      ticket_ready_.notify_all();
      job_due_.notify_all();
    }
    for (auto& thread : threads) thread.join();
  }

 private:
  // Caller holds mutex_. The new thread takes no signals: they are the program's own business.
  bool start(std::vector<std::thread>& threads, void (Pool::*loop)()) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = true;
    try {
      threads.emplace_back(loop, this);
    } catch (const std::system_error&) {
      started = false;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started;
  }

  void helper_loop() {
    std::unique_lock lock(mutex_);
    --starting_helpers_;
    for (;;) {
      ++idle_helpers_;
      ticket_ready_.wait(lock, [&] { return stopping_ || !tickets_.empty(); });
      --idle_helpers_;
      if (stopping_) return;
      auto section = std::move(tickets_.front());
      tickets_.pop_front();
      lock.unlock();
      section->help();
      section.reset();
      lock.lock();
    }
  }

  // Caller holds mutex_. Throws only when there is not one background thread.
  void enqueue(const Job& job, Clock::time_point due) {
    while (background_.size() < kBackgroundThreads && start(background_, &Pool::background_loop)) {
    }
    if (background_.empty()) throw Error(ErrorCode::kStorage, "cannot start a thread", EAGAIN);
    queue_.emplace(due, job);
    job->due = due;
    job->queued = true;
    job_due_.notify_one();
  }

  // Caller holds mutex_.
  void unqueue(const Job& job) {
    if (!job->queued) return;
    const auto [first, last] = queue_.equal_range(job->due);
    queue_.erase(std::find_if(first, last, [&](const auto& entry) { return entry.second == job; }));
    job->queued = false;
  }

  // Waits for the next job that is due; null when the pool stops. Caller holds mutex_ by `lock`.
  Job next_job(std::unique_lock<std::mutex>& lock) {
    for (;;) {
      if (stopping_) return nullptr;
      if (queue_.empty()) {
        job_due_.wait(lock);
        continue;
      }
      const auto due = queue_.begin()->first;
      if (due <= Clock::now()) break;
      job_due_.wait_until(lock, due);
    }
    Job job = std::move(queue_.begin()->second);
    queue_.erase(queue_.begin());
    job->queued = false;
    job->due = Clock::time_point::max();
    if (!queue_.empty()) job_due_.notify_one();  // the thread that watched this one's time is gone
    return job;
  }

  static bool run_piece(const Job& job) noexcept {
    try {
      return job->run();
    } catch (const std::exception& e) {
      post_event(Event::Level::kWarning, std::string("a background job failed: ") + e.what());
    } catch (...) {
      post_event(Event::Level::kWarning, "a background job failed");
    }
    return false;
  }

  void background_loop() {
    std::unique_lock lock(mutex_);
    while (const Job job = next_job(lock)) {
      job->running = true;
      lock.unlock();
      const bool more = run_piece(job);
      lock.lock();
      job->running = false;
      if (more) job->due = std::min(job->due, Clock::now());
      if (!job->stopped && job->due != Clock::time_point::max()) enqueue(job, job->due);
      job_done_.notify_all();
    }
  }

  std::mutex mutex_;  // guards everything below
  std::condition_variable ticket_ready_;
  std::condition_variable job_due_;
  std::condition_variable job_done_;
  std::deque<std::shared_ptr<Section>> tickets_;  // one for each helper a section would like
  std::multimap<Clock::time_point, Job> queue_;   // by due time
  std::vector<std::thread> helpers_;
  std::vector<std::thread> background_;
  std::size_t idle_helpers_ = 0;
  std::size_t starting_helpers_ = 0;
  bool stopping_ = false;
};

std::atomic<Pool*> g_pool{nullptr};

void stop_pool_at_exit() {
  if (Pool* const pool = g_pool.load()) pool->stop_threads();
}

// Made without a lock, because the child of a fork could find that lock taken.
Pool& pool() {
  Pool* current = g_pool.load(std::memory_order_acquire);
  if (current != nullptr) return *current;
  auto fresh = std::make_unique<Pool>();
  if (!g_pool.compare_exchange_strong(current, fresh.get())) return *current;
  return *fresh.release();
}

[[maybe_unused]] const bool kRegistered = [] {
  pthread_atfork(nullptr, nullptr, reset_scheduler_after_fork);
  std::atexit(stop_pool_at_exit);
  return true;
}();

}  // namespace

std::size_t default_threads() noexcept {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    return static_cast<std::size_t>(std::max(1, CPU_COUNT(&set)));
  }
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

void parallel_for(std::size_t count, std::size_t grain, std::size_t threads, Interrupt* interrupt,
                  const std::function<void(std::size_t index, std::size_t worker)>& body) {
  if (count == 0) return;
  const auto section = std::make_shared<Section>();
  section->count = count;
  section->grain = std::clamp<std::size_t>(grain, 1, count);
  section->chunks = (count - 1) / section->grain + 1;
  section->interrupt = interrupt;
  section->body = &body;

  threads = std::min({threads, section->chunks, kMaxThreads});
  if (threads > 1) pool().ask_for_helpers(section, threads - 1);
  section->run_chunks(0);
  if (threads > 1) {
    pool().drop_tickets(section);
    section->close();
  }
  if (section->error) std::rethrow_exception(section->error);
  if (interrupt != nullptr && interrupt->stopped()) check(interrupt);
}

BackgroundJob::BackgroundJob(std::function<bool()> run) : state_(std::make_shared<State>()) {
  state_->run = std::move(run);
}

BackgroundJob::~BackgroundJob() {
  stop();
}

void BackgroundJob::wake() {
  if (!state_->dead()) pool().schedule(state_, Clock::now(), false);
}

void BackgroundJob::wake_after(std::chrono::milliseconds delay) {
  constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24 * 365);
  if (!state_->dead()) pool().schedule(state_, Clock::now() + std::min(delay, kLongest), true);
}

void BackgroundJob::stop() {
  if (!state_->dead()) pool().stop_job(state_);
}

void reset_scheduler_after_fork() noexcept {
  g_fork_epoch.fetch_add(1);
  g_pool.store(nullptr);
}

}  // namespace srvdb
