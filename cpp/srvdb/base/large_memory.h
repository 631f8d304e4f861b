// An allocator whose large blocks go back to the system when they are freed.
//
// For memory that comes and goes in megabytes: what waits for a checkpoint, and what a checkpoint
// works on. The C library keeps large blocks that were freed for the next request of any size, so
// that the pieces between them add up: with it, adding a million rows held 50 MiB more than was in
// use. Blocks of kLargeBytes and more are mappings of their own; smaller ones come from the heap.
// Stateless and thread-safe, as std::allocator is; throws std::bad_alloc.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <limits>
#include <new>
#include <vector>

namespace srvdb {

inline constexpr std::size_t kLargeBytes = std::size_t{128} << 10;

template <typename T>
struct LargeAllocator {
  static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
  using value_type = T;
  using is_always_equal = std::true_type;

  LargeAllocator() = default;
  template <typename U>
  LargeAllocator(const LargeAllocator<U>&) noexcept {}  // as containers expect of allocators

  T* allocate(std::size_t n) {
    if (n > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_alloc();
    const std::size_t bytes = n * sizeof(T);
    if (bytes < kLargeBytes) return static_cast<T*>(::operator new(bytes));
    void* const at =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, off_t{0});
    if (at == MAP_FAILED) throw std::bad_alloc();
    return static_cast<T*>(at);
  }
  void deallocate(T* at, std::size_t n) noexcept {
    const std::size_t bytes = n * sizeof(T);
    if (bytes < kLargeBytes) {
      ::operator delete(static_cast<void*>(at));
    } else {
      ::munmap(at, bytes);
    }
  }
  friend bool operator==(const LargeAllocator&, const LargeAllocator&) noexcept { return true; }
};

template <typename T>
using LargeVector = std::vector<T, LargeAllocator<T>>;

}  // namespace srvdb
