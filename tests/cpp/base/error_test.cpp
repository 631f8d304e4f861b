#include "srvdb/base/error.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <string>

namespace srvdb {
namespace {

TEST(Error, CarriesItsCodeMessageAndErrno) {
  const Error error(ErrorCode::kStorage, "cannot write 'rows': no space", 28);
  EXPECT_EQ(error.code(), ErrorCode::kStorage);
  EXPECT_STREQ(error.what(), "cannot write 'rows': no space");
  EXPECT_EQ(error.os_error(), 28);
}

TEST(Error, HasNoErrnoUnlessGiven) {
  EXPECT_EQ(Error(ErrorCode::kNotFound, "x").os_error(), 0);
}

TEST(Error, IsCaughtAsARuntimeError) {
  EXPECT_THROW(throw Error(ErrorCode::kFilter, "x"), std::runtime_error);
}

TEST(ErrorCodeName, GivesEachCodeANameOfItsOwn) {
  std::set<std::string> names;
  const int last = static_cast<int>(ErrorCode::kInterrupted);
  for (int code = 0; code <= last; ++code) {
    names.insert(error_code_name(static_cast<ErrorCode>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(last) + 1);
  EXPECT_EQ(names.count("unknown"), 0u);
  EXPECT_STREQ(error_code_name(ErrorCode::kCorruption), "corruption");
}

}  // namespace
}  // namespace srvdb
