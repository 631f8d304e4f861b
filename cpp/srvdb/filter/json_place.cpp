#include "srvdb/filter/json_place.h"

namespace srvdb::filter {

std::string shortened_text(std::string_view text) {
  constexpr std::size_t kShownBytes = 60;
  if (text.size() <= kShownBytes) return std::string(text);
  std::size_t end = kShownBytes;
  while (end > 0 && (static_cast<unsigned>(text[end]) & 0xC0U) == 0x80U) --end;
  return std::string(text.substr(0, end)) + "…";
}

JsonPlace::Step::Step(JsonPlace& place, std::string_view key)
    : text_(place.text_), size_(text_.size()) {
  if (size_ > 0) text_ += '.';
  text_ += shortened_text(key);
}

JsonPlace::Step::Step(JsonPlace& place, std::size_t index)
    : text_(place.text_), size_(text_.size()) {
  text_.append("[").append(std::to_string(index)).append("]");
}

}  // namespace srvdb::filter
