// Which kernels run: by the processor, by SRVDB_SIMD, and never one that is unknown.
#include "srvdb/simd/dispatch.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "srvdb/base/error.h"

namespace srvdb::simd {
namespace {

TEST(Dispatch, TheWidestSetIsTheDefault) {
  EXPECT_STREQ(supported_kernels().front()->name, "baseline");
  EXPECT_EQ(&kernels_named(""), supported_kernels().back());
}

TEST(Dispatch, EverySupportedSetHasItsName) {
  for (const Kernels* k : supported_kernels()) EXPECT_EQ(&kernels_named(k->name), k);
}

TEST(Dispatch, AnUnknownNameIsAnErrorThatListsTheNames) {
  try {
    kernels_named("sse9");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidInput);
    EXPECT_NE(std::string(error.what()).find("baseline"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("sse9"), std::string::npos) << error.what();
  }
}

// The choice is made once a process, so each name gets a process of its own.
TEST(Dispatch, HonoursTheEnvironment) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const Kernels* k : supported_kernels()) {
    EXPECT_EXIT(
        {
          setenv("SRVDB_SIMD", k->name, 1);
          std::exit(&kernels() == k ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "")
        << k->name;
  }
  EXPECT_EXIT(
      {
        setenv("SRVDB_SIMD", "no-such-set", 1);
        try {
          kernels();
        } catch (const Error&) {
          std::exit(3);
        }
      },
      ::testing::ExitedWithCode(3), "");
}

}  // namespace
}  // namespace srvdb::simd
