// How a failed operation is reported.
//
// Three kinds of failure, told apart everywhere in the core: a programmer's mistake is an assert;
// a failed operation throws srvdb::Error with a code and a message that says what was expected,
// what came, and (for files) path and offset; an expected outcome is an optional or an enum. The
// bindings translate each code to one Python exception class.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace srvdb {

enum class ErrorCode {
  kInvalidInput,  // an argument that no database would take
  kDimension,     // a vector of the wrong dimension
  kDuplicateId,   // add of an id that exists
  kNotFound,      // an id that must exist does not
  kFilter,        // a filter expression that cannot be read
  kLocked,        // another writer holds the directory
  kReadOnly,      // a write to a database opened (or turned) read-only
  kClosed,        // a handle used after close, or after a fork
  kCorruption,    // bytes on disk that cannot be what was written
  kVersion,       // a format this version does not read
  kStorage,       // the operating system refused an operation; os_error says why
  kInterrupted,   // stopped by the caller's interrupt or deadline; nothing half-applied
};

// Thread safety: immutable after construction.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, int os_error = 0)
      : std::runtime_error(message), code_(code), os_error_(os_error) {}

  ErrorCode code() const noexcept { return code_; }
  // errno of the failed call for kStorage, else 0.
  int os_error() const noexcept { return os_error_; }

 private:
  ErrorCode code_;
  int os_error_;
};

// kNotFound with all of the ids that were not found; the message names the first of them.
class MissingIdsError : public Error {
 public:
  MissingIdsError(const std::string& message, std::vector<std::string> ids)
      : Error(ErrorCode::kNotFound, message), ids_(std::move(ids)) {}

  const std::vector<std::string>& ids() const noexcept { return ids_; }

 private:
  std::vector<std::string> ids_;
};

// Name of a code as it appears in messages and tests, for example "corruption".
const char* error_code_name(ErrorCode code) noexcept;

}  // namespace srvdb
