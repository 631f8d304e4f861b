// A regular expression of RE2, whose time is linear in the text. The one home of RE2.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

namespace srvdb::filter {

// Threads: immutable, search from any number of them.
class Regex {
 public:
  // Memory of one: its program, and what its searches keep of what they found out.
  static constexpr std::size_t kMaxBytes = std::size_t{2} << 20;

  // Throws Error kFilter, saying what is wrong with the pattern, as the end of a sentence.
  explicit Regex(std::string_view pattern);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  // True when the pattern matches somewhere in the text, which is UTF-8.
  bool found_in(std::string_view text) const;

 private:
  struct Compiled;
  std::unique_ptr<const Compiled> compiled_;
};

}  // namespace srvdb::filter
