#include "srvdb/base/interrupt.h"

#include <gtest/gtest.h>

#include <chrono>

#include "srvdb/base/error.h"

namespace srvdb {
namespace {

using namespace std::chrono_literals;

TEST(Interrupt, NeverStopsByItself) {
  Interrupt interrupt;
  EXPECT_FALSE(interrupt.poll());
  EXPECT_NO_THROW(check(&interrupt));
  EXPECT_NO_THROW(check(nullptr));
}

TEST(Interrupt, StaysStopped) {
  Interrupt interrupt;
  interrupt.stop();
  EXPECT_TRUE(interrupt.stopped());
  EXPECT_TRUE(interrupt.poll());
  try {
    check(&interrupt);
    FAIL() << "not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInterrupted);
  }
}

TEST(Interrupt, StopsAtItsDeadline) {
  Interrupt early;
  early.set_deadline(Interrupt::Clock::now() + 1h);
  EXPECT_FALSE(early.poll());
  Interrupt late;
  late.set_deadline(Interrupt::Clock::now() - 1ms);
  EXPECT_FALSE(late.stopped()) << "only poll() looks at the clock";
  EXPECT_TRUE(late.poll());
  EXPECT_TRUE(late.stopped());
}

TEST(Interrupt, AsksThePollFunctionAtOnceAndThenRarely) {
  int asked = 0;
  Interrupt interrupt([&] {
    ++asked;
    return false;
  });
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(interrupt.poll());
  EXPECT_GE(asked, 1);
  EXPECT_LT(asked, 1000);
}

TEST(Interrupt, StopsWhenThePollFunctionSaysSo) {
  Interrupt interrupt([] { return true; });
  EXPECT_TRUE(interrupt.poll());
  EXPECT_TRUE(interrupt.stopped());
}

}  // namespace
}  // namespace srvdb
