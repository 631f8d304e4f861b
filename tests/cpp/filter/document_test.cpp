#include "srvdb/filter/document.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "srvdb/filter/value.h"
#include "support/code_of.h"

namespace srvdb::filter {
namespace {

std::string shown(const Value& value) {
  std::ostringstream out;
  if (value.element()) out << "element ";
  switch (value.kind()) {
    case ValueKind::kContainer:
      out << "container";
      break;
    case ValueKind::kNull:
      out << "null";
      break;
    case ValueKind::kBool:
      out << (value.as_bool() ? "true" : "false");
      break;
    case ValueKind::kInt:
      out << value.as_int();
      break;
    case ValueKind::kUint:
      out << value.as_uint() << 'u';
      break;
    case ValueKind::kDouble:
      out << value.as_double() << 'd';
      break;
    case ValueKind::kString:
      out << '"' << value.text() << '"';
      break;
  }
  return out.str();
}

class Lines final : public DocumentSink {
 public:
  void value(std::string_view path, const Value& value) override {
    lines.push_back(std::string(path) + ": " + shown(value));
  }
  std::vector<std::string> lines;
};

using Expected = std::vector<std::string>;

Expected read(std::string_view text) {
  Lines sink;
  read_document(text, sink);
  return sink.lines;
}

TEST(DocumentTest, ScalarsHaveTheirKeysAsPaths) {
  EXPECT_EQ(read(R"({"n":null,"t":true,"f":false,"i":-3,"d":0.5,"s":"ü","":1})"),
            (Expected{"n: null", "t: true", "f: false", "i: -3", "d: 0.5d", "s: \"ü\"", ": 1"}));
}

TEST(DocumentTest, NumbersAreCanonical) {
  EXPECT_EQ(read(R"({"a":1.0,"b":-0.0,"c":18446744073709551615,"d":1e19,"e":1e20,"f":1e3})"),
            (Expected{"a: 1", "b: 0", "c: 18446744073709551615u", "d: 10000000000000000000u",
                      "e: 1e+20d", "f: 1000"}));
}

TEST(DocumentTest, NestedKeysAreJoinedByDots) {
  EXPECT_EQ(read(R"({"a":{"b":{"c":1}},"a.b":{"c":2},"a.b.c":3})"),
            (Expected{"a: container", "a.b: container", "a.b.c: 1", "a.b: container", "a.b.c: 2",
                      "a.b.c: 3"}));
  EXPECT_EQ(read(R"({"":{"":{"x":1}}})"), (Expected{": container", ".: container", "..x: 1"}));
}

TEST(DocumentTest, ArraysAreEnteredAtAnyDepth) {
  EXPECT_EQ(read(R"({"t":["x",null,[1,[true]]]})"),
            (Expected{"t: element \"x\"", "t: element null", "t: element 1", "t: element true"}));
  EXPECT_EQ(read(R"({"p":[{"q":1},[{"q":[2]}]]})"),
            (Expected{"p: container", "p.q: 1", "p: container", "p.q: element 2"}));
}

TEST(DocumentTest, WhateverIsThereHasAValue) {
  EXPECT_EQ(read(R"({"o":{},"a":[],"n":[[]]})"),
            (Expected{"o: container", "a: container", "n: container"}));
  EXPECT_EQ(read("{}"), Expected{});
}

TEST(DocumentTest, TheLastOfEqualKeysCounts) {
  EXPECT_EQ(read(R"({"a":1,"b":2,"a":3})"), (Expected{"b: 2", "a: 3"}));
  EXPECT_EQ(read(R"({"a":{"x":1},"a":{"y":1,"y":2}})"), (Expected{"a: container", "a.y: 2"}));
  EXPECT_EQ(read(R"({"\u0061":1,"a":2})"), (Expected{"a: 2"}));
  std::string many = "{";
  for (int i = 0; i < 200; ++i) {
    many += "\"k" + std::to_string(i % 50) + "\":" + std::to_string(i) + ",";
  }
  many.back() = '}';
  const Expected lines = read(many);
  ASSERT_EQ(lines.size(), 50U);
  EXPECT_EQ(lines.front(), "k0: 150");
  EXPECT_EQ(lines.back(), "k49: 199");
}

TEST(DocumentTest, WhatLiesAtTooLongAPathIsPassedOver) {
  const std::string just(kMaxPathBytes, 'x');
  EXPECT_EQ(read("{\"" + just + "\":{\"a\":1},\"" + just + "y\":2,\"b\":3}"),
            (Expected{just + ": container", "b: 3"}));
}

TEST(DocumentTest, ReadsWhatIsDeepAndWhatIsLong) {
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "{\"a\":";
  deep += "1" + std::string(1000, '}');
  EXPECT_EQ(read(deep).size(), (kMaxPathBytes + 1) / 2);
  const std::string text(std::size_t{1} << 20, 'x');
  EXPECT_EQ(read("{\"s\":\"" + text + "\"}"), (Expected{"s: \"" + text + "\""}));
}

TEST(DocumentTest, RefusesWhatIsNoObject) {
  for (const char* text : {"", "[1]", "{", "3"}) {
    EXPECT_EQ(code_of([&] { read(text); }), ErrorCode::kCorruption) << text;
  }
  EXPECT_EQ(read(R"({"a":1})"), (Expected{"a: 1"}));  // and goes on after that
}

}  // namespace
}  // namespace srvdb::filter
