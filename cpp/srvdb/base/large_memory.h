// An allocator whose large blocks go back to the system when they are freed.
//
// For memory that comes and goes in megabytes: what waits for a checkpoint, and what a checkpoint
// works on. The C library keeps large blocks that were freed for the next request of any size, so
// that the pieces between them add up: with it, adding a million rows held 50 MiB more than was in
// use. Blocks of kLargeBytes and more are mappings of their own; smaller ones come from the heap.
// Stateless and thread-safe, as std::allocator is; throws std::bad_alloc.
//
// ZeroedVector is for marks of many rows of which few are ever touched: its elements begin as
// zeros, and those of one of kZeroedBytes and more take time and memory when they are first
// touched, not when it is made. It may only grow: elements that clear() or a smaller resize() took
// away come back as they were (move an empty one in instead). Where they are about to be touched
// all over, prefault() is quicker than page after page.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace srvdb {

inline constexpr std::size_t kLargeBytes = std::size_t{128} << 10;
inline constexpr std::size_t kZeroedBytes = std::size_t{32} << 10;

template <typename T>
struct LargeAllocator {
  static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
  using value_type = T;
  using is_always_equal = std::true_type;

  LargeAllocator() = default;
  template <typename U>
  LargeAllocator(const LargeAllocator<U>&) noexcept {}  // as containers expect of allocators

  T* allocate(std::size_t n) { return allocate(n, kLargeBytes); }
  void deallocate(T* at, std::size_t n) noexcept { deallocate(at, n, kLargeBytes); }
  friend bool operator==(const LargeAllocator&, const LargeAllocator&) noexcept { return true; }

 protected:
  // Blocks of `least` bytes and more are mappings.
  static T* allocate(std::size_t n, std::size_t least) {
    if (n > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_alloc();
    const std::size_t bytes = n * sizeof(T);
    if (bytes < least) return static_cast<T*>(::operator new(bytes));
    void* const at =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, off_t{0});
    if (at == MAP_FAILED) throw std::bad_alloc();
    return static_cast<T*>(at);
  }
  static void deallocate(T* at, std::size_t n, std::size_t least) noexcept {
    const std::size_t bytes = n * sizeof(T);
    if (bytes < least) {
      ::operator delete(static_cast<void*>(at));
    } else {
      ::munmap(at, bytes);
    }
  }
};

template <typename T>
using LargeVector = std::vector<T, LargeAllocator<T>>;

// Memory of zeros, in which elements that are made of nothing are left as they are. For types
// whose value of nothing is all zeros (integers, pointers, and atomics of them).
template <typename T>
struct ZeroedAllocator : LargeAllocator<T> {
  using value_type = T;
  using is_always_equal = std::true_type;

  ZeroedAllocator() = default;
  template <typename U>
  ZeroedAllocator(const ZeroedAllocator<U>&) noexcept {}  // as containers expect of allocators

  T* allocate(std::size_t n) {
    T* const at = LargeAllocator<T>::allocate(n, kZeroedBytes);
    const std::size_t bytes = n * sizeof(T);
    if (bytes < kZeroedBytes) std::memset(static_cast<void*>(at), 0, bytes);
    return at;
  }
  void deallocate(T* at, std::size_t n) noexcept {
    LargeAllocator<T>::deallocate(at, n, kZeroedBytes);
  }
  template <typename U>
  void construct(U*) noexcept {}
  template <typename U, typename... Args>
  requires(sizeof...(Args) > 0) void construct(U* at, Args&&... args) {
    std::construct_at(at, std::forward<Args>(args)...);
  }
};

template <typename T>
using ZeroedVector = std::vector<T, ZeroedAllocator<T>>;

// Gives memory that nothing was written to its pages at once, where they are few: each that is
// first read and then written costs two page faults otherwise. Advice: nothing happens where the
// system does not know it (Linux before 5.14).
inline void prefault(void* at, std::size_t bytes) noexcept {
  constexpr std::size_t kMost = std::size_t{512} << 10;  // so that opening takes no time by rows
  constexpr int kPopulateWrite = 23;                     // MADV_POPULATE_WRITE
  constexpr std::uintptr_t kPage = 4096;
  const auto first = reinterpret_cast<std::uintptr_t>(at) / kPage * kPage;
  const std::size_t length = reinterpret_cast<std::uintptr_t>(at) + bytes - first;
  if (bytes != 0 && bytes <= kMost) {
    ::madvise(reinterpret_cast<void*>(first), length, kPopulateWrite);
  }
}

}  // namespace srvdb
