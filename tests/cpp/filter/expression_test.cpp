#include "srvdb/filter/expression.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "srvdb/filter/values_expression.h"
#include "support/code_of.h"

namespace srvdb::filter {
namespace {

bool matches(std::string_view where, std::string_view metadata, std::string_view id = "id") {
  return Expression::parse(where)->matches(id, metadata);
}

// What the refusal of an expression says.
std::string refusal(std::string_view where) {
  std::string message;
  EXPECT_EQ(code_of([&] { Expression::parse(where); }, &message), ErrorCode::kFilter) << where;
  return message;
}

struct Case {
  const char* where;
  const char* metadata;
  bool expected;
};

void check(const std::vector<Case>& cases) {
  for (const Case& each : cases) {
    EXPECT_EQ(matches(each.where, each.metadata), each.expected)
        << each.where << " on " << each.metadata;
  }
}

TEST(ExpressionTest, NothingAskedMatchesAll) {
  EXPECT_TRUE(Expression::parse("{}")->matches_all());
  EXPECT_TRUE(Expression::parse("")->matches_all());
  EXPECT_TRUE(Expression::parse(R"({"$and":[{},{}]})")->matches_all());
  EXPECT_TRUE(Expression::parse(R"({"$or":[{"a":1},{}]})")->matches_all());
  check({{R"({"$not":{}})", "{}", false}, {R"({"$not":{"$not":{}}})", "{}", true}});
}

TEST(ExpressionTest, EqualityIsWithinAClass) {
  check({
      {R"({"a":1})", R"({"a":1.0})", true},
      {R"({"a":1})", R"({"a":true})", false},
      {R"({"a":1})", R"({"a":"1"})", false},
      {R"({"a":true})", R"({"a":true})", true},
      {R"({"a":true})", R"({"a":false})", false},
      {R"({"a":"x"})", R"({"a":"x"})", true},
      {R"({"a":{"$eq":9007199254740993}})", R"({"a":9007199254740992})", false},
      {R"({"a":18446744073709551615})", R"({"a":18446744073709551615})", true},
      {R"({"a":18446744073709551615})", R"({"a":18446744073709551616.0})", false},
  });
}

TEST(ExpressionTest, NullMatchesAnExplicitNullOnly) {
  check({
      {R"({"a":null})", R"({"a":null})", true},
      {R"({"a":null})", R"({"a":[1,null]})", true},
      {R"({"a":null})", R"({"b":1})", false},
      {R"({"a":null})", R"({"a":{}})", false},
      {R"({"a":{"$ne":null}})", R"({})", true},
      {R"({"a":{"$ne":null}})", R"({"a":null})", false},
  });
}

TEST(ExpressionTest, AMissingFieldMatchesOnlyWhatDenies) {
  for (const char* where :
       {R"({"a":{"$ne":1}})", R"({"a":{"$nin":[1]}})", R"({"a":{"$nin":[]}})",
        R"({"a":{"$exists":false}})", R"({"a":{"$not":{"$gt":1}}})", R"({"$not":{"a":1}})"}) {
    EXPECT_TRUE(matches(where, R"({"b":1})")) << where;
  }
  for (const char* where :
       {R"({"a":1})", R"({"a":{"$in":[1]}})", R"({"a":{"$in":[]}})", R"({"a":{"$exists":true}})",
        R"({"a":{"$gt":1}})", R"({"a":{"$lte":"x"}})", R"({"a":{"$contains":"x"}})"}) {
    EXPECT_FALSE(matches(where, R"({"b":1})")) << where;
  }
}

TEST(ExpressionTest, ComparisonsAreWithinNumbersAndStrings) {
  check({
      {R"({"y":{"$gte":2020}})", R"({"y":2020})", true},
      {R"({"y":{"$gt":2020}})", R"({"y":2020})", false},
      {R"({"y":{"$gt":2020}})", R"({"y":2020.5})", true},
      {R"({"y":{"$lte":2020}})", R"({"y":2020.0})", true},
      {R"({"y":{"$lt":2020}})", R"({"y":2020})", false},
      {R"({"y":{"$lt":2020}})", R"({"y":2019})", true},
      {R"({"y":{"$lt":2020}})", R"({"y":"2019"})", false},
      {R"({"y":{"$lte":"2020-01-31"}})", R"({"y":"2020-01-05T10:00"})", true},
      {R"({"y":{"$gt":"2020-01-31"}})", R"({"y":"2020-02"})", true},
      {R"({"y":{"$lt":5}})", R"({"y":null})", false},
      {R"({"y":{"$lt":5}})", R"({"y":false})", false},
      {R"({"y":{"$gt":1,"$lt":3}})", R"({"y":2})", true},
      {R"({"y":{"$gt":1,"$lt":3}})", R"({"y":3})", false},
  });
}

TEST(ExpressionTest, ArraysMatchWhenAnyElementDoes) {
  check({
      {R"({"t":"x"})", R"({"t":["y","x"]})", true},
      {R"({"t":{"$gt":3}})", R"({"t":[1,[5]]})", true},
      {R"({"t":{"$gt":3,"$lt":2}})", R"({"t":[1,5]})", true},  // one element each
      {R"({"t":{"$ne":"x"}})", R"({"t":["y","x"]})", false},
      {R"({"a.b":2})", R"({"a":[{"b":1},{"b":2}]})", true},
      {R"({"a.b":2})", R"({"a.b":2})", true},
  });
}

TEST(ExpressionTest, ContainsIsAnElementOrASubstring) {
  check({
      {R"({"t":{"$contains":"x"}})", R"({"t":["y","x"]})", true},
      {R"({"t":{"$contains":"x"}})", R"({"t":["xy"]})", false},
      {R"({"t":{"$contains":"x"}})", R"({"t":"yxy"})", true},
      {R"({"t":{"$contains":""}})", R"({"t":"yxy"})", true},
      {R"({"t":{"$contains":1}})", R"({"t":[1.0]})", true},
      {R"({"t":{"$contains":1}})", R"({"t":1})", false},
      {R"({"t":{"$contains":null}})", R"({"t":[null]})", true},
      {R"({"p.q":{"$contains":"b"}})", R"({"p":[{"q":"abc"}]})", true},
  });
}

TEST(ExpressionTest, ExistenceIsOfAnythingAtAll) {
  for (const char* metadata : {R"({"a":1})", R"({"a":null})", R"({"a":[]})", R"({"a":[[]]})",
                               R"({"a":{}})", R"({"a":{"b":1}})"}) {
    EXPECT_TRUE(matches(R"({"a":{"$exists":true}})", metadata)) << metadata;
    EXPECT_FALSE(matches(R"({"a":{"$exists":false}})", metadata)) << metadata;
  }
  check({{R"({"a.b":{"$exists":true}})", R"({"a":{"b":1}})", true},
         {R"({"a.b":{"$exists":true}})", R"({"a":{"c":1}})", false}});
}

TEST(ExpressionTest, ConditionsCombine) {
  check({
      {R"({"a":1,"b":2})", R"({"a":1,"b":2})", true},
      {R"({"a":1,"b":2})", R"({"a":1,"b":3})", false},
      {R"({"$and":[{"a":1},{"b":2}]})", R"({"a":1,"b":2})", true},
      {R"({"$or":[{"a":1},{"b":2}]})", R"({"a":0,"b":2})", true},
      {R"({"$or":[{"a":1},{"b":2}]})", R"({"a":0,"b":3})", false},
      {R"({"$not":{"a":1,"b":2}})", R"({"a":1,"b":3})", true},
      {R"({"a":{"$not":{"$in":[1,2]}}})", R"({"a":2})", false},
      {R"({"a":{"$not":{"$not":{"$in":[1,2]}}}})", R"({"a":2})", true},
      {R"({"$or":[{"a":1}],"b":2})", R"({"a":1,"b":3})", false},
  });
}

TEST(ExpressionTest, IdsAreFoundByListAndPrefix) {
  const auto on_id = [](std::string_view where) { return matches(where, "{}", "doc1/3"); };
  EXPECT_TRUE(on_id(R"({"$id":"doc1/3"})"));
  EXPECT_TRUE(on_id(R"({"$id":{"$eq":"doc1/3"}})"));
  EXPECT_TRUE(on_id(R"({"$id":{"$in":["x","doc1/3"]}})"));
  EXPECT_TRUE(on_id(R"({"$id":{"$prefix":"doc1/"}})"));
  EXPECT_TRUE(on_id(R"({"$id":{"$not":{"$prefix":"doc2/"}}})"));
  EXPECT_FALSE(on_id(R"({"$id":{"$ne":"doc1/3"}})"));
  EXPECT_FALSE(on_id(R"({"$id":{"$nin":["doc1/3"]}})"));
  EXPECT_FALSE(on_id(R"({"$id":{"$prefix":"doc1/","$ne":"doc1/3"}})"));
}

TEST(ExpressionTest, AnIdAloneNeedsNoMetadata) {
  EXPECT_TRUE(Expression::parse(R"({"$id":"x"})")->paths().empty());
  EXPECT_TRUE(matches(R"({"$id":"x"})", "no JSON at all", "x"));
  EXPECT_EQ(code_of([] { matches(R"({"a":"x"})", "no JSON at all"); }), ErrorCode::kCorruption);
}

TEST(ExpressionTest, LeavesArePositiveAndPathsListedOnce) {
  const auto expression = Expression::parse(R"({"b":{"$ne":1},"a":{"$nin":[2,1,1.0]},"$id":"x",
                                                "$or":[{"b":{"$exists":false}},{"c.d":3}]})");
  EXPECT_EQ(expression->root().kind, NodeKind::kAnd);
  EXPECT_EQ(expression->root().children[0].kind, NodeKind::kNot);
  ASSERT_EQ(expression->leaves().size(), 5U);
  EXPECT_EQ(expression->leaves()[0].op(), Operator::kEqual);
  EXPECT_EQ(expression->leaves()[1].operands().size(), 2U);
  EXPECT_TRUE(expression->leaves()[2].is_on_id());
  EXPECT_EQ(expression->leaves()[3].op(), Operator::kExists);
  const auto twice = Expression::parse(R"({"a":{"$not":{"$ne":1}}})");
  EXPECT_EQ(twice->root().kind, NodeKind::kLeaf);
  const auto paths = expression->paths();
  EXPECT_EQ(std::vector<std::string_view>(paths.begin(), paths.end()),
            (std::vector<std::string_view>{"a", "b", "c.d"}));
}

TEST(ExpressionTest, ManyFieldsAreTestedAsFewAre) {
  std::string where = "{";
  std::string metadata = "{";
  for (int i = 0; i < 40; ++i) {
    where.append("\"f").append(std::to_string(i)).append("\":1,");
    metadata.append("\"f").append(std::to_string(39 - i)).append("\":1,");
  }
  where.back() = '}';
  metadata.back() = '}';
  EXPECT_TRUE(matches(where, metadata));
  EXPECT_FALSE(matches(where, R"({"f0":0})"));
}

TEST(ExpressionTest, RefusalsNameThePlaceWhatWasExpectedAndWhatCame) {
  EXPECT_EQ(refusal(R"({"$and":[{},{"year":{"$gte":null}}]})"),
            "$and[1].year.$gte: expected a number or a string, got null");
  EXPECT_EQ(refusal(R"({"a":[1]})"),
            "a: expected null, a boolean, a number or a string, got an array (any of several "
            "values: $in)");
  EXPECT_EQ(refusal(R"({"a":{"$eq":{}}})"),
            "a.$eq: expected null, a boolean, a number or a string, got an object");
  EXPECT_EQ(refusal(R"({"a":{"b":1}})"),
            "a.b: expected an operator, got the key \"b\" (a nested field is written \"a.b\")");
  EXPECT_EQ(refusal(R"({"a":{}})"), "a: expected at least one operator, got {}");
  EXPECT_EQ(refusal(R"({"a":{"$in":3}})"), "a.$in: expected an array, got a number (3)");
  EXPECT_EQ(refusal(R"({"a":{"$in":[1,[2]]}})"),
            "a.$in[1]: expected null, a boolean, a number or a string, got an array (any of "
            "several values: $in)");
  EXPECT_EQ(refusal(R"({"a":{"$exists":1}})"),
            "a.$exists: expected true or false, got a number (1)");
  EXPECT_EQ(refusal(R"({"$or":[]})"), "$or: expected at least one condition, got an empty array");
  EXPECT_EQ(refusal(R"({"$or":{"a":1}})"), "$or: expected an array of conditions, got an object");
  EXPECT_EQ(refusal(R"({"$not":[1]})"), "$not: expected an object, got an array");
  EXPECT_EQ(refusal(R"({"$id":5})"),
            "$id: expected a string or an object of operators, got a number (5)");
  EXPECT_EQ(refusal(R"({"$id":{"$in":["x",true]}})"),
            "$id.$in[1]: expected a string, got a boolean (true)");
  EXPECT_EQ(refusal("[1]"), "filter: expected an object, got an array");
  EXPECT_EQ(refusal(R"({"a":1,"a":2})"), "filter: the key \"a\" stands there twice");
  EXPECT_TRUE(refusal("{").starts_with("filter: not valid JSON: "));
}

TEST(ExpressionTest, NumbersThatNoDocumentCanHoldAreRefusedWithTheirPlace) {
  EXPECT_EQ(refusal(R"({"$and":[{"a":1},{"b.c":{"$in":[1, 18446744073709551616 ]}}]})"),
            "$and[1].b.c.$in[1]: expected an integer of 64 bits or a finite double, got "
            "18446744073709551616");
  EXPECT_EQ(refusal(R"({"a":{"$gt":-9223372036854775809}})"),
            "a.$gt: expected an integer of 64 bits or a finite double, got -9223372036854775809");
  EXPECT_EQ(refusal(R"({"a":1e400})"),
            "a: expected an integer of 64 bits or a finite double, got 1e400");
  EXPECT_TRUE(refusal(R"({"a":NaN})").starts_with("filter: not valid JSON: "));
  EXPECT_TRUE(refusal("{\"a\":" + std::string(5000, '[') + "1e400")
                  .starts_with("filter: not valid JSON: "));
}

TEST(ExpressionTest, PatternsAreSearchedInStringsOnly) {
  check({
      {R"({"t":{"$regex":"^a.*z$"}})", R"({"t":"abcz"})", true},
      {R"({"t":{"$regex":"b"}})", R"({"t":[1,"abc"]})", true},
      {R"({"t":{"$regex":"1"}})", R"({"t":1})", false},
      {R"({"t":{"$not":{"$regex":"1"}}})", R"({})", true},
  });
  EXPECT_EQ(refusal(R"({"t":{"$regex":1}})"), "t.$regex: expected a string, got a number (1)");
  EXPECT_EQ(refusal(R"({"t":{"$regex":"(a"}})"),
            "t.$regex: not a regular expression of RE2: missing ): (a");
  EXPECT_EQ(refusal("{\"t\":{\"$regex\":\"" + std::string(1001, 'a') + "\"}}"),
            "t.$regex: a pattern has at most 1000 bytes, got 1001");
}

TEST(ExpressionTest, UnknownOperatorsAreRefusedWithTheKnownOnes) {
  EXPECT_TRUE(refusal(R"({"$gt":1})").starts_with("$gt: unknown operator $gt, expected $and"));
  EXPECT_TRUE(
      refusal(R"({"a":{"$like":1}})").starts_with("a.$like: unknown operator $like, expected $eq"));
  EXPECT_TRUE(
      refusal(R"({"$id":{"$gt":"x"}})").starts_with("$id.$gt: unknown operator $gt, expected $eq"));
}

TEST(ExpressionTest, AnyTextIsReadOrRefused) {
  const std::string sound =
      R"({"$and":[{"a.b":{"$gte":1.5e3,"$lt":-7}},{"$id":{"$in":["x","ü\u00fc"]}}],"$or":[{"t":)"
      R"({"$not":{"$regex":"^a+(b|c)$"}}},{"$not":{"s":{"$nin":[null,true,18446744073709551615]})"
      R"(}}],"c":{"$contains":"x","$exists":false}})";
  const std::string spare = std::string(R"({}[]",:$.\9e-+ntui)").append("\0\xff", 2);
  Expression::parse(sound);
  std::mt19937 random(3);
  int read = 0;
  for (int i = 0; i < 30'000; ++i) {
    std::string text = sound;
    for (std::uint32_t change = random() % 4 + 1; change > 0; --change) {
      const std::size_t at = random() % text.size();
      const std::size_t size = random() % 3;
      text.replace(at, size, spare.substr(random() % spare.size(), random() % 3));
    }
    try {
      const auto expression = Expression::parse(text);
      expression->matches("x", R"({"a":{"b":1499.5},"t":["abc",null],"s":false,"c":"x"})");
      ++read;
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kFilter) << text;
    }
  }
  EXPECT_GT(read, 1000);
}

TEST(ExpressionTest, LimitsAreNotForTheCore) {
  const std::vector<std::string> values = {'"' + std::string(kMaxExpressionBytes, 'x') + '"', "3",
                                           "null", "3.0"};
  const auto expression = expression_for_values("$a", values);
  EXPECT_EQ(expression->leaves()[0].operands().size(), 3U);
  EXPECT_TRUE(expression->matches("", "{\"$a\":[" + values[0] + "]}"));
  EXPECT_TRUE(expression->matches("", R"({"$a":null})"));
  EXPECT_FALSE(expression->matches("", R"({"$a":"x"})"));
  EXPECT_FALSE(expression_for_values("a", {})->matches("", R"({"a":1})"));
}

TEST(ExpressionTest, LimitsAreKept) {
  const auto nested = [](std::size_t depth) {
    std::string text;
    for (std::size_t i = 0; i < depth; ++i) text += R"({"$not":)";
    return text + "{}" + std::string(depth, '}');
  };
  EXPECT_TRUE(matches(nested(kMaxExpressionDepth), "{}"));
  EXPECT_NE(refusal(nested(kMaxExpressionDepth + 1)).find("nested more than 32 deep"),
            std::string::npos);
  refusal(nested(100'000));

  const auto repeated = [](std::string begin, const char* item, std::size_t count,
                           const char* end) {
    for (std::size_t i = 0; i < count; ++i) begin.append(i > 0 ? "," : "").append(item);
    return begin + end;
  };
  Expression::parse(repeated(R"({"$or":[)", R"({"a":1})", 4'900, "]}"));
  EXPECT_NE(refusal(repeated(R"({"$or":[)", R"({"a":1})", 5'100, "]}")).find("more than 10000"),
            std::string::npos);
  Expression::parse(repeated(R"({"a":{"$in":[)", "1", kMaxOperands, "]}}"));
  EXPECT_NE(refusal(repeated(R"({"a":{"$in":[)", "1", kMaxOperands + 1, "]}}")).find("operands"),
            std::string::npos);
  EXPECT_NE(refusal("{\"a\":\"" + std::string(kMaxExpressionBytes, 'x') + "\"}").find("bytes"),
            std::string::npos);
  EXPECT_NE(refusal("{\"" + std::string(600, 'x') + "\":1}").find("at most 500 bytes, got 600"),
            std::string::npos);
}

}  // namespace
}  // namespace srvdb::filter
