#include "srvdb/filter/json.h"

#include <gtest/gtest.h>

namespace srvdb::filter {
namespace {

TEST(JsonTest, TakesObjects) {
  for (const char* text : {"{}", " {\"a\": [1, 2.5e3, null, true]} \n",
                           R"({"ü":"\u00fc\ud83d\ude00"})", R"({"deep":{"er":[[[{}]]]}})"}) {
    EXPECT_EQ(json_object_problem(text), std::nullopt) << text;
  }
}

TEST(JsonTest, NamesWhatIsNotAnObject) {
  const auto problem = [](const char* text) { return json_object_problem(text).value_or("none"); };
  EXPECT_EQ(problem("[1]"), "must be a JSON object, got an array");
  EXPECT_EQ(problem("\"x\""), "must be a JSON object, got a string");
  EXPECT_EQ(problem("1"), "must be a JSON object, got a number");
  EXPECT_EQ(problem("true"), "must be a JSON object, got a boolean");
  EXPECT_EQ(problem("null"), "must be a JSON object, got null");
}

TEST(JsonTest, RefusesWhatIsNotJson) {
  for (const char* text : {"", " ", "{", "{'a': 1}", "{\"a\": NaN}", "{\"a\": 1,}", "{} {}",
                           "{\"a\"}", "{\"a\": \"\xff\"}", "{\"a\": \"\\ud800\"}", "{\"a\": 01}"}) {
    const auto problem = json_object_problem(text);
    ASSERT_TRUE(problem) << text;
    EXPECT_TRUE(problem->starts_with("is not valid JSON: ")) << *problem;
  }
  EXPECT_TRUE(json_object_problem(std::string("{\"a\": 1}\0", 9)));
}

TEST(JsonTest, RefusesABottomlessText) {
  EXPECT_TRUE(json_object_problem("{\"a\":" + std::string(100'000, '[')));
}

}  // namespace
}  // namespace srvdb::filter
