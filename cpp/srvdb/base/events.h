// Warnings and notices of the core that no return value can carry ("the graph was damaged and is
// being rebuilt"), kept until somebody drains them. Python drains after each call and raises
// warnings.
//
// One bounded queue for the process; when it is full the oldest event goes. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace srvdb {

struct Event {
  enum class Level : std::uint8_t { kInfo, kWarning };
  Level level = Level::kInfo;
  std::string message;
};

void post_event(Event::Level level, std::string message);

// True when drain_events() would return something; a relaxed atomic read.
bool has_events() noexcept;

// All events so far, oldest first; the queue is empty afterwards.
std::vector<Event> drain_events();

}  // namespace srvdb
