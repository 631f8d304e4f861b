#include "srvdb/filter/regex.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "support/code_of.h"

namespace srvdb::filter {
namespace {

std::string refusal(const std::string& pattern) {
  std::string message;
  EXPECT_EQ(code_of([&] { Regex{pattern}; }, &message), ErrorCode::kFilter) << pattern;
  return message;
}

TEST(RegexTest, IsFoundAnywhereUnlessAnchored) {
  EXPECT_TRUE(Regex("b+").found_in("abbc"));
  EXPECT_FALSE(Regex("^b+").found_in("abbc"));
  EXPECT_TRUE(Regex("^a.*c$").found_in("abbc"));
  EXPECT_TRUE(Regex("").found_in(""));
  EXPECT_FALSE(Regex("a.c").found_in("a\nc"));
  EXPECT_TRUE(Regex("(?s)a.c").found_in("a\nc"));
  EXPECT_TRUE(Regex("(?i)ÜBER").found_in("darüber"));
  EXPECT_TRUE(Regex("^.$").found_in("\xf0\x9f\x98\x80"));
  EXPECT_TRUE(Regex(std::string_view("a\0b", 3)).found_in(std::string_view("xa\0b", 4)));
}

TEST(RegexTest, SaysWhatIsWrongWithAPattern) {
  EXPECT_EQ(refusal("(a"), "not a regular expression of RE2: missing ): (a");
  EXPECT_TRUE(refusal(R"((a)\1)").starts_with("not a regular expression of RE2: "));
  EXPECT_TRUE(refusal("(?=a)").starts_with("not a regular expression of RE2: "));
  EXPECT_TRUE(refusal("\xff").starts_with("not a regular expression of RE2: "));
}

TEST(RegexTest, APatternThatGrowsIsRefused) {
  EXPECT_EQ(refusal("((\\pL{100}){10}){10}").substr(0, 12), "not a regula");  // repeats too many
  EXPECT_EQ(refusal("\\pL{900}x\\pL{900}"), "the pattern needs more than 2097152 bytes compiled");
}

// Backtracking would take exponential time here.
TEST(RegexTest, TimeIsLinearInTheText) {
  const std::string text(std::size_t{1} << 20, 'a');
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(Regex("(a*)*b").found_in(text));
  EXPECT_FALSE(Regex("(a|aa)+$x").found_in(text));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(RegexTest, SearchesFromManyThreads) {
  const Regex regex("(x[0-9]*y|z+)q$");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&regex, t] {
      for (int i = 0; i < 200; ++i) {
        const std::string text = std::to_string(t) + "x" + std::to_string(i) + "yq";
        ASSERT_TRUE(regex.found_in(text));
        ASSERT_FALSE(regex.found_in(text + "."));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace srvdb::filter
