#include "srvdb/database/filter_cache.h"

#include <utility>

namespace srvdb {
namespace {

constexpr std::size_t kEntryBytes = 256;  // of list and map, about

}  // namespace

FilterCache::Entry FilterCache::find(std::string_view where) {
  {
    const std::lock_guard lock(mutex_);
    if (const Kept* kept = touch(where)) return kept->entry;
  }
  Entry fresh;
  fresh.expression = filter::Expression::parse(where);
  const std::lock_guard lock(mutex_);
  if (const Kept* kept = touch(where)) return kept->entry;  // somebody was faster
  order_.push_front({std::string(where), fresh, 0});
  by_text_.emplace(order_.front().where, order_.begin());
  measure(order_.front());
  trim();
  return fresh;
}

void FilterCache::keep(std::string_view where, std::shared_ptr<const FilterAnswer> answer) {
  if (answer->matches.memory_bytes() > max_bytes_) return;
  const std::lock_guard lock(mutex_);
  Kept* const kept = touch(where);
  if (kept == nullptr) return;
  const FilterAnswer* const old = kept->entry.answer.get();
  if (old != nullptr &&
      std::pair(old->generation, old->sequence) > std::pair(answer->generation, answer->sequence)) {
    return;
  }
  kept->entry.answer = std::move(answer);
  kept->entry.exclusion = nullptr;
  measure(*kept);
  trim();
}

void FilterCache::keep(std::string_view where, const std::shared_ptr<const FilterAnswer>& answer,
                       std::shared_ptr<const FilterExclusion> exclusion) {
  const std::lock_guard lock(mutex_);
  Kept* const kept = touch(where);
  if (kept == nullptr || kept->entry.answer != answer) return;
  kept->entry.exclusion = std::move(exclusion);
  measure(*kept);
  trim();
}

std::size_t FilterCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

std::size_t FilterCache::size() const {
  const std::lock_guard lock(mutex_);
  return order_.size();
}

FilterCache::Kept* FilterCache::touch(std::string_view where) {
  const auto at = by_text_.find(where);
  if (at == by_text_.end()) return nullptr;
  order_.splice(order_.begin(), order_, at->second);
  return &order_.front();
}

void FilterCache::measure(Kept& kept) {
  bytes_ -= kept.bytes;
  kept.bytes = kEntryBytes + kept.where.size() + kept.entry.expression->bytes();
  if (kept.entry.answer) kept.bytes += kept.entry.answer->matches.memory_bytes();
  if (const FilterExclusion* const left_out = kept.entry.exclusion.get()) {
    kept.bytes += left_out->excluded.memory_bytes() + left_out->hidden.memory_bytes();
  }
  bytes_ += kept.bytes;
}

void FilterCache::trim() {
  while (bytes_ > max_bytes_ && !order_.empty()) {
    Kept& last = order_.back();
    bytes_ -= last.bytes;
    by_text_.erase(last.where);
    order_.pop_back();
  }
}

}  // namespace srvdb
