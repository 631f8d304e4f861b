#include "srvdb/base/scheduler.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "srvdb/base/error.h"
#include "srvdb/base/events.h"

namespace srvdb {
namespace {

using namespace std::chrono_literals;

// Counts up; a test waits until it has been reached. Fails the test after 20 seconds.
class Counter {
 public:
  int add() {
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
    return ++value_;
  }
  bool wait_for(int value) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [&] { return value_ >= value; });
  }
  int value() {
    const std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int value_ = 0;
};

TEST(ParallelFor, RunsEveryIndexOnceAtAnyGrainAndThreadCount) {
  for (const std::size_t threads : {0u, 1u, 2u, 3u, 8u}) {
    for (const std::size_t grain : {0u, 1u, 7u, 1000u, 5000u}) {
      std::vector<int> seen(1001, 0);
      parallel_for(seen.size(), grain, threads, nullptr,
                   [&](std::size_t i, std::size_t) { ++seen[i]; });
      ASSERT_EQ(seen, std::vector<int>(1001, 1)) << threads << " threads, grain " << grain;
    }
  }
}

TEST(ParallelFor, RunsNothingForNoIndices) {
  parallel_for(0, 1, 4, nullptr, [](std::size_t, std::size_t) { FAIL(); });
}

TEST(ParallelFor, StaysInTheCallerWithOneThread) {
  const auto caller = std::this_thread::get_id();
  parallel_for(50, 1, 1, nullptr, [&](std::size_t, std::size_t worker) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_EQ(worker, 0u);
  });
}

TEST(ParallelFor, NeverSharesAWorkerNumberBetweenTwoRunningBodies) {
  constexpr std::size_t kThreads = 6;
  std::vector<std::atomic<int>> inside(kThreads);
  parallel_for(600, 1, kThreads, nullptr, [&](std::size_t, std::size_t worker) {
    ASSERT_LT(worker, kThreads);
    EXPECT_EQ(inside[worker].fetch_add(1), 0);
    std::this_thread::sleep_for(20us);
    inside[worker].fetch_sub(1);
  });
}

TEST(ParallelFor, UsesHelpersBesideTheCaller) {
  Counter started;
  parallel_for(3, 1, 3, nullptr, [&](std::size_t, std::size_t) {
    started.add();
    EXPECT_TRUE(started.wait_for(3)) << "three bodies never ran at one time";
  });
}

TEST(ParallelFor, WorksWhenNested) {
  std::atomic<int> total{0};
  parallel_for(8, 1, 4, nullptr, [&](std::size_t, std::size_t) {
    parallel_for(100, 3, 4, nullptr, [&](std::size_t, std::size_t) { ++total; });
  });
  EXPECT_EQ(total, 800);
}

TEST(ParallelFor, WorksFromManyThreadsAtOnce) {
  std::atomic<int> total{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 8; ++t) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        parallel_for(100, 10, 3, nullptr, [&](std::size_t, std::size_t) { ++total; });
      }
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(total, 8 * 50 * 100);
}

TEST(ParallelFor, RethrowsTheExceptionOfABodyAfterAllBodiesReturned) {
  for (const std::size_t threads : {1u, 4u}) {
    std::atomic<int> inside{0};
    std::atomic<int> ran{0};
    const auto call = [&] {
      parallel_for(100'000, 1, threads, nullptr, [&](std::size_t i, std::size_t) {
        ++inside;
        ++ran;
        const bool bad = i == 10;
        --inside;
        if (bad) throw std::runtime_error("ten");
      });
    };
    EXPECT_THROW(call(), std::runtime_error);
    EXPECT_EQ(inside, 0);
    EXPECT_LT(ran, 100'000);
  }
}

TEST(ParallelFor, StopsWithAnErrorWhenInterrupted) {
  for (const std::size_t threads : {1u, 4u}) {
    std::atomic<int> ran{0};
    Interrupt interrupt;
    try {
      parallel_for(1'000'000, 1, threads, &interrupt, [&](std::size_t, std::size_t) {
        if (++ran == 100) interrupt.stop();
      });
      FAIL() << "not stopped";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInterrupted);
    }
    EXPECT_LT(ran, 1'000'000);
  }
}

TEST(ParallelFor, StopsAtTheDeadlineEvenWhileTheCallerOnlyWaits) {
  Interrupt interrupt;
  interrupt.set_deadline(Interrupt::Clock::now() + 100ms);
  const auto call = [&] {
    parallel_for(2, 1, 2, &interrupt, [&](std::size_t, std::size_t worker) {
      while (worker != 0 && !interrupt.stopped()) std::this_thread::sleep_for(1ms);
      if (worker == 0) std::this_thread::sleep_for(20ms);  // lets the helper take the other index
    });
  };
  EXPECT_THROW(
      {
        call();
        std::this_thread::sleep_for(150ms);
        check(&interrupt);  // when the helper came too late, the deadline has passed by now
      },
      Error);
}

TEST(ParallelFor, PassesOnAnExceptionOfThePollFunction) {
  Interrupt interrupt([]() -> bool { throw std::logic_error("poll"); });
  EXPECT_THROW(parallel_for(100, 1, 3, &interrupt, [](std::size_t, std::size_t) {}),
               std::logic_error);
}

TEST(BackgroundJob, RunsAfterAWakeAndAgainWhileThereIsMore) {
  Counter runs;
  BackgroundJob job([&] { return runs.add() < 5; });
  job.wake();
  EXPECT_TRUE(runs.wait_for(5));
  job.stop();
  EXPECT_EQ(runs.value(), 5);
}

TEST(BackgroundJob, IsNotLostWhenWokenDuringItsRun) {
  Counter runs;
  Counter woken;
  BackgroundJob job([&] {
    if (runs.add() == 1) {
      EXPECT_TRUE(woken.wait_for(1));
    }
    return false;
  });
  job.wake();
  ASSERT_TRUE(runs.wait_for(1));
  job.wake();
  woken.add();
  EXPECT_TRUE(runs.wait_for(2));
}

TEST(BackgroundJob, NeverRunsTwiceAtOneTime) {
  std::atomic<int> inside{0};
  Counter runs;
  BackgroundJob job([&] {
    EXPECT_EQ(inside.fetch_add(1), 0);
    std::this_thread::sleep_for(50us);
    inside.fetch_sub(1);
    runs.add();
    return false;
  });
  std::vector<std::thread> wakers;
  for (int t = 0; t < 4; ++t) {
    wakers.emplace_back([&] {
      for (int i = 0; i < 200; ++i) job.wake();
    });
  }
  for (auto& waker : wakers) waker.join();
  EXPECT_TRUE(runs.wait_for(1));
}

TEST(BackgroundJob, RunsAfterItsDelay) {
  Counter runs;
  BackgroundJob job([&] {
    runs.add();
    return false;
  });
  const auto start = std::chrono::steady_clock::now();
  job.wake_after(60ms);
  EXPECT_TRUE(runs.wait_for(1));
  EXPECT_GE(std::chrono::steady_clock::now() - start, 60ms);
}

TEST(BackgroundJob, TakesTheLaterOfTwoDelaysAndPrefersAWake) {
  Counter runs;
  BackgroundJob job([&] {
    runs.add();
    return false;
  });
  const auto start = std::chrono::steady_clock::now();
  job.wake_after(1h);
  job.wake_after(30ms);
  EXPECT_TRUE(runs.wait_for(1)) << "an earlier time replaces a later one";
  job.wake_after(1h);
  job.wake();
  EXPECT_TRUE(runs.wait_for(2)) << "a wake comes before the delay";
  EXPECT_LT(std::chrono::steady_clock::now() - start, 20s);
}

TEST(BackgroundJob, DueAtOneTimeAllRun) {
  Counter runs;
  std::vector<std::unique_ptr<BackgroundJob>> jobs;
  for (int i = 0; i < 20; ++i) {
    jobs.push_back(std::make_unique<BackgroundJob>([&] {
      runs.add();
      return false;
    }));
  }
  for (auto& job : jobs) job->wake_after(20ms);
  EXPECT_TRUE(runs.wait_for(20));
}

TEST(BackgroundJob, DueAtOneTimeRunBesideEachOther) {
  Counter inside;
  std::vector<std::unique_ptr<BackgroundJob>> jobs;
  for (int i = 0; i < 2; ++i) {
    jobs.push_back(std::make_unique<BackgroundJob>([&] {
      inside.add();
      EXPECT_TRUE(inside.wait_for(2)) << "the other one had to wait";
      return false;
    }));
  }
  for (auto& job : jobs) job->wake_after(20ms);
  EXPECT_TRUE(inside.wait_for(2));
}

TEST(BackgroundJob, StopWaitsForTheRunningPieceAndForbidsFurtherOnes) {
  Counter started;
  std::atomic<bool> finished{false};
  BackgroundJob job([&] {
    started.add();
    std::this_thread::sleep_for(50ms);
    finished = true;
    return true;
  });
  job.wake();
  ASSERT_TRUE(started.wait_for(1));
  job.stop();
  EXPECT_TRUE(finished);
  const int runs = started.value();
  job.wake();
  job.wake_after(0ms);
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(started.value(), runs);
}

TEST(BackgroundJob, ThatThrowsLeavesAWarningAndRunsAtTheNextWake) {
  drain_events();
  Counter runs;
  BackgroundJob job([&]() -> bool {
    if (runs.add() == 1) throw std::runtime_error("lost the thread");
    return false;
  });
  job.wake();
  ASSERT_TRUE(runs.wait_for(1));
  while (!has_events()) std::this_thread::sleep_for(1ms);
  EXPECT_NE(drain_events().at(0).message.find("lost the thread"), std::string::npos);
  job.wake();
  EXPECT_TRUE(runs.wait_for(2));
}

TEST(BackgroundJob, MayUseParallelForWhileForegroundThreadsDo) {
  Counter rounds;
  std::atomic<int> total{0};
  const auto body = [&](std::size_t, std::size_t) { ++total; };
  std::vector<std::unique_ptr<BackgroundJob>> jobs;
  for (int i = 0; i < 6; ++i) {  // more jobs than background threads
    jobs.push_back(std::make_unique<BackgroundJob>([&] {
      parallel_for(64, 1, 4, nullptr, body);
      rounds.add();
      return false;
    }));
  }
  for (auto& job : jobs) job->wake();
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] { parallel_for(64, 1, 4, nullptr, body); });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_TRUE(rounds.wait_for(6));
  EXPECT_EQ(total, 10 * 64);
}

#if defined(__SANITIZE_THREAD__)
#define SRVDB_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SRVDB_THREAD_SANITIZER 1
#endif
#endif
#if !defined(SRVDB_THREAD_SANITIZER)  // it forbids new threads in a forked child

TEST(Scheduler, StartsAfreshInAForkedChild) {
  Counter runs;
  std::atomic<int> parent_job_runs{0};
  BackgroundJob parent_job([&] {
    ++parent_job_runs;
    return runs.add() < 0;
  });
  parent_job.wake();
  ASSERT_TRUE(runs.wait_for(1));

  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(20);
    parent_job.wake();  // dead here: neither runs nor blocks
    std::this_thread::sleep_for(20ms);
    parent_job.stop();
    std::atomic<int> total{0};
    parallel_for(100, 1, 3, nullptr, [&](std::size_t, std::size_t) { ++total; });
    Counter child_runs;
    BackgroundJob job([&] { return child_runs.add() < 2; });
    job.wake();
    const bool good = child_runs.wait_for(2) && total == 100 && parent_job_runs == 1;
    job.stop();
    _exit(good ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  parent_job.wake();
  EXPECT_TRUE(runs.wait_for(2));
}

#endif

TEST(Scheduler, ReportsAtLeastOneThread) {
  EXPECT_GE(default_threads(), 1u);
}

}  // namespace
}  // namespace srvdb
