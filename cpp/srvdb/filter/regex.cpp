#include "srvdb/filter/regex.h"

#include <re2/re2.h>

#include <string>

#include "srvdb/base/error.h"

namespace srvdb::filter {
namespace {

RE2::Options options() {
  RE2::Options result;  // UTF-8, leftmost-first, Perl's classes
  result.set_log_errors(false);
  result.set_never_capture(true);
  result.set_max_mem(static_cast<std::int64_t>(Regex::kMaxBytes));
  return result;
}

}  // namespace

struct Regex::Compiled {
  explicit Compiled(std::string_view pattern)
      : regex(re2::StringPiece(pattern.data(), pattern.size()), options()) {}

  RE2 regex;
};

Regex::Regex(std::string_view pattern) : compiled_(std::make_unique<const Compiled>(pattern)) {
  const RE2& regex = compiled_->regex;
  if (regex.ok()) return;
  throw Error(ErrorCode::kFilter,
              regex.error_code() == RE2::ErrorPatternTooLarge
                  ? "the pattern needs more than " + std::to_string(kMaxBytes) + " bytes compiled"
                  : "not a regular expression of RE2: " + regex.error());
}

Regex::~Regex() = default;

bool Regex::found_in(std::string_view text) const {
  return RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), compiled_->regex);
}

}  // namespace srvdb::filter
