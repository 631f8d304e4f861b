// What the files of this layer share of simdjson. Not for other layers.
#pragma once

#include <simdjson.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/filter/value.h"

namespace srvdb::filter {

// A parser with the padded copy that simdjson reads from, kept for the next text. Not thread-safe.
class JsonParser {
 public:
  // The root is valid until the next parse.
  simdjson::simdjson_result<simdjson::dom::element> parse(std::string_view text) {
    const std::size_t padded = text.size() + simdjson::SIMDJSON_PADDING;
    if (buffer_.size() < padded) buffer_.resize(padded);
    std::memcpy(buffer_.data(), text.data(), text.size());
    std::memset(buffer_.data() + text.size(), 0, simdjson::SIMDJSON_PADDING);
    return parser_.parse(buffer_.data(), text.size(), false);
  }

 private:
  simdjson::dom::parser parser_;
  std::vector<char> buffer_;
};

// "an array", "a number", … as it stands in messages.
const char* json_kind(simdjson::dom::element element) noexcept;

// The value of anything but an array or an object; a string is viewed.
Value json_scalar(simdjson::dom::element element) noexcept;

}  // namespace srvdb::filter
