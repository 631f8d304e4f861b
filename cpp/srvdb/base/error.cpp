#include "srvdb/base/error.h"

namespace srvdb {

const char* error_code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kInvalidInput:
      return "invalid input";
    case ErrorCode::kDimension:
      return "dimension";
    case ErrorCode::kDuplicateId:
      return "duplicate id";
    case ErrorCode::kNotFound:
      return "not found";
    case ErrorCode::kFilter:
      return "filter";
    case ErrorCode::kLocked:
      return "locked";
    case ErrorCode::kReadOnly:
      return "read-only";
    case ErrorCode::kClosed:
      return "closed";
    case ErrorCode::kCorruption:
      return "corruption";
    case ErrorCode::kVersion:
      return "version";
    case ErrorCode::kStorage:
      return "storage";
    case ErrorCode::kInterrupted:
      return "interrupted";
  }
  return "unknown";
}

}  // namespace srvdb
