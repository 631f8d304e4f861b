// Checks metadata text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace srvdb::filter {

// nullopt when the text is one JSON object in valid UTF-8 (RFC 8259) that can be filtered by: its
// numbers are integers of 64 bits or fit a double, and it is nested at most 1,024 deep. Else what
// is wrong with it, as the end of a sentence ("is not valid JSON: …"). Thread-safe.
std::optional<std::string> json_object_problem(std::string_view text);

}  // namespace srvdb::filter
