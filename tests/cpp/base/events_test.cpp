#include "srvdb/base/events.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace srvdb {
namespace {

TEST(Events, ComeOutOnceAndInOrder) {
  drain_events();
  EXPECT_FALSE(has_events());
  post_event(Event::Level::kInfo, "first");
  post_event(Event::Level::kWarning, "second");
  EXPECT_TRUE(has_events());
  const auto events = drain_events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].message, "first");
  EXPECT_EQ(events[0].level, Event::Level::kInfo);
  EXPECT_EQ(events[1].message, "second");
  EXPECT_EQ(events[1].level, Event::Level::kWarning);
  EXPECT_FALSE(has_events());
  EXPECT_TRUE(drain_events().empty());
}

TEST(Events, LoseTheOldestWhenNobodyDrains) {
  drain_events();
  for (int i = 0; i < 1000; ++i) post_event(Event::Level::kInfo, std::to_string(i));
  const auto events = drain_events();
  ASSERT_LT(events.size(), 1000u);
  EXPECT_EQ(events.back().message, "999");
  EXPECT_EQ(events.front().message, std::to_string(1000 - events.size()));
}

TEST(Events, AreAllKeptWhenManyThreadsPost) {
  drain_events();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 50; ++i) post_event(Event::Level::kInfo, "x");
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(drain_events().size(), 200u);
}

}  // namespace
}  // namespace srvdb
