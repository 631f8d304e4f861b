// Checks metadata text. The one home of simdjson.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace srvdb {

// nullopt when the text is one JSON object in valid UTF-8 (RFC 8259), else what is wrong with it,
// as the end of a sentence ("is not valid JSON: …"). Thread-safe.
std::optional<std::string> json_object_problem(std::string_view text);

}  // namespace srvdb
