#include "srvdb/base/events.h"

#include <atomic>
#include <deque>
#include <iterator>
#include <mutex>
#include <utility>

namespace srvdb {
namespace {

constexpr std::size_t kMaxEvents = 256;

struct Queue {
  std::mutex mutex;
  std::deque<Event> events;  // guarded by mutex
  std::atomic<bool> any{false};
};

Queue& queue() {
  static Queue* const instance = new Queue;  // outlives every static destructor that may post
  return *instance;
}

}  // namespace

void post_event(Event::Level level, std::string message) {
  Queue& q = queue();
  const std::lock_guard lock(q.mutex);
  if (q.events.size() == kMaxEvents) q.events.pop_front();
  q.events.push_back({level, std::move(message)});
  q.any.store(true, std::memory_order_relaxed);
}

bool has_events() noexcept {
  return queue().any.load(std::memory_order_relaxed);
}

std::vector<Event> drain_events() {
  Queue& q = queue();
  const std::lock_guard lock(q.mutex);
  std::vector<Event> out(std::make_move_iterator(q.events.begin()),
                         std::make_move_iterator(q.events.end()));
  q.events.clear();
  q.any.store(false, std::memory_order_relaxed);
  return out;
}

}  // namespace srvdb
