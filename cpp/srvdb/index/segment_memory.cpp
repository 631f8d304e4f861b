#include "srvdb/index/segment_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#include "srvdb/base/aligned.h"

namespace srvdb {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

SegmentMemory::SegmentMemory(std::size_t bytes) {
  if (bytes == 0) return;
  const std::size_t size = round_up(bytes, std::size_t{4096});
  const std::size_t wide = size + kHugePage;
  if (wide < bytes) throw std::bad_alloc();
  void* at = ::mmap(nullptr, wide, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  const auto start = reinterpret_cast<std::uintptr_t>(at);
  const std::uintptr_t aligned = round_up(start, kHugePage);
  if (aligned != start) ::munmap(at, aligned - start);
  const std::size_t behind = start + wide - (aligned + size);
  if (behind != 0) ::munmap(reinterpret_cast<void*>(aligned + size), behind);
  data_ = reinterpret_cast<void*>(aligned);
  bytes_ = size;
#ifdef MADV_HUGEPAGE
  ::madvise(data_, bytes_, MADV_HUGEPAGE);  // advice: small pages do as well
#endif
}

void SegmentMemory::reset() noexcept {
  if (counter_) counter_->fetch_sub(bytes_);
  counter_ = nullptr;
  if (data_ != nullptr) ::munmap(data_, bytes_);
  data_ = nullptr;
  bytes_ = 0;
}

}  // namespace srvdb
