#include "srvdb/database/query_ring.h"

#include <algorithm>

#include "srvdb/base/crc32c.h"

namespace srvdb {
namespace {

constexpr std::uint32_t kOneIn = 16;  // of the queries enter once the ring is full

std::size_t capacity(std::size_t dim) noexcept {
  return std::clamp(QueryRing::kMaxBytes / (dim * sizeof(float)), QueryRing::kMinQueries,
                    QueryRing::kMaxQueries);
}

}  // namespace

void QueryRing::note(const float* query, std::size_t dim) noexcept {
  if (dim == 0) return;
  if (full_.load(std::memory_order_relaxed) &&
      asked_.fetch_add(1, std::memory_order_relaxed) % kOneIn != 0) {
    return;
  }
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return;
  const std::uint32_t mark = crc32c(query, dim * sizeof(float));
  if (std::find(marks_.begin(), marks_.end(), mark) != marks_.end()) return;
  try {
    if (marks_.empty()) {
      dim_ = dim;
      queries_.reserve(capacity(dim) * dim);
      marks_.reserve(capacity(dim));
    }
    if (dim != dim_) return;
    if (marks_.size() < capacity(dim)) {
      queries_.insert(queries_.end(), query, query + dim);
      marks_.push_back(mark);
      full_.store(marks_.size() == capacity(dim), std::memory_order_relaxed);
    } else {
      std::copy_n(query, dim, queries_.begin() + static_cast<std::ptrdiff_t>(next_ * dim));
      marks_[next_] = mark;
      next_ = (next_ + 1) % marks_.size();
    }
    entered_.fetch_add(1, std::memory_order_relaxed);
  } catch (const std::bad_alloc&) {  // of the first reserve: nothing is kept
  }
}

std::size_t QueryRing::size() const {
  const std::lock_guard lock(mutex_);
  return marks_.size();
}

std::vector<float> QueryRing::copy(std::size_t dim) const {
  const std::lock_guard lock(mutex_);
  return dim == dim_ ? queries_ : std::vector<float>();
}

std::size_t QueryRing::bytes() const {
  const std::lock_guard lock(mutex_);
  return queries_.capacity() * sizeof(float) + marks_.capacity() * sizeof(std::uint32_t);
}

}  // namespace srvdb
