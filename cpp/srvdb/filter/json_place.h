// Where in a JSON text something stands, as messages name it: "$and[1].year.$gte".
#pragma once

#include <string>
#include <string_view>

namespace srvdb::filter {

// The text when it is short, else its beginning, in whole code points, and an ellipsis.
std::string shortened_text(std::string_view text);

// A place that follows a walk through the text. Not thread-safe.
class JsonPlace {
 public:
  // Leads into a member or an element while it lives.
  class Step {
   public:
    Step(JsonPlace& place, std::string_view key);
    Step(JsonPlace& place, std::size_t index);
    ~Step() { text_.resize(size_); }
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    std::string& text_;
    std::size_t size_;
  };

  // Empty at the root.
  const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

}  // namespace srvdb::filter
