#include "srvdb/database/memory_budget.h"

#include <algorithm>
#include <utility>

#include "srvdb/base/error.h"

namespace srvdb {
namespace {

constexpr std::size_t kPageBytes = 4096;  // that a changed id may dirty in the metadata store
constexpr std::size_t kLeastPending = 512;

}  // namespace

void MemoryBudget::check(std::uint64_t limit) {
  if (limit == 0 || limit >= kLeast) return;
  throw Error(ErrorCode::kInvalidInput, "memory_limit must be at least " + std::to_string(kLeast) +
                                            " bytes (64 MiB), got " + std::to_string(limit));
}

OpenOptions MemoryBudget::within(OpenOptions options) {
  if (options.memory_limit != 0) {
    options.buffer_bytes = std::min<std::size_t>(options.buffer_bytes, options.memory_limit / 16);
    options.filter_cache_bytes =
        std::min<std::size_t>(options.filter_cache_bytes, options.memory_limit / 16);
  }
  return options;
}

MemoryBudget::MemoryBudget(FileSystem& files, std::string directory, std::uint64_t limit)
    : files_(files),
      directory_(std::move(directory)),
      limit_(limit),
      anonymous_(std::make_shared<std::atomic<std::size_t>>(0)),
      in_files_(std::make_shared<std::atomic<std::size_t>>(0)) {}

std::size_t MemoryBudget::scratch_bytes() const noexcept {
  return limit_ == 0 ? static_cast<std::size_t>(-1) : static_cast<std::size_t>(limit_ / 4);
}

SegmentMemory MemoryBudget::make(std::size_t bytes) {
  if (limit_ == 0 || anonymous_->load() + bytes <= limit_ / 4) {
    SegmentMemory memory(bytes);
    memory.count_in(anonymous_);
    return memory;
  }
  SegmentMemory memory(files_.map_scratch(directory_, bytes), bytes);
  memory.count_in(in_files_);
  return memory;
}

std::size_t MemoryBudget::pending_ids(std::size_t usual) const noexcept {
  if (limit_ == 0) return usual;
  return std::clamp<std::size_t>(limit_ / 8 / kPageBytes, kLeastPending, usual);
}

std::size_t MemoryBudget::pending_bytes(std::size_t usual) const noexcept {
  return limit_ == 0 ? usual : std::min<std::size_t>(limit_ / 16, usual);
}

}  // namespace srvdb
