// What a call that must fail throws.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "srvdb/base/error.h"

namespace srvdb {

// The code of the srvdb::Error that the call throws; fails the test when it throws none.
template <typename Call>
ErrorCode code_of(Call&& call, std::string* message = nullptr) {
  try {
    call();
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return error.code();
  }
  ADD_FAILURE() << "expected an error";
  return ErrorCode::kInvalidInput;
}

}  // namespace srvdb
