#include "srvdb/filter/regex.h"

#include "srvdb/base/error.h"

namespace srvdb::filter {

struct Regex::Compiled {};

Regex::Regex(std::string_view /*pattern*/) {
  throw Error(ErrorCode::kFilter, "$regex is not there yet");
}

Regex::~Regex() = default;

bool Regex::found_in(std::string_view /*text*/) const noexcept {
  return false;
}

}  // namespace srvdb::filter
