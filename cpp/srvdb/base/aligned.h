// Heap memory on a 64-byte boundary, zero-filled, move-only.
//
// Used for prepared queries and scratch space that SIMD kernels read in whole registers. Not
// thread-safe to resize; the elements follow the usual rules of plain memory.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

namespace srvdb {

inline constexpr std::size_t kAlignment = 64;  // bytes: a cache line and the widest register

// n rounded up to a multiple of step (step > 0).
constexpr std::size_t round_up(std::size_t n, std::size_t step) noexcept {
  return (n + step - 1) / step * step;
}

template <typename T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t n) { reset(n); }

  // Drops the contents and holds n zeroed elements. Throws std::bad_alloc.
  void reset(std::size_t n) {
    if (n > (static_cast<std::size_t>(-1) - kAlignment) / sizeof(T)) throw std::bad_alloc();
    const std::size_t bytes = round_up(n * sizeof(T), kAlignment);
    data_.reset(bytes == 0 ? nullptr : static_cast<T*>(std::aligned_alloc(kAlignment, bytes)));
    if (bytes != 0 && !data_) throw std::bad_alloc();
    if (bytes != 0) std::memset(static_cast<void*>(data_.get()), 0, bytes);
    size_ = n;
  }

  T* data() noexcept { return data_.get(); }
  const T* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return size_; }
  T& operator[](std::size_t i) noexcept { return data_.get()[i]; }
  const T& operator[](std::size_t i) const noexcept { return data_.get()[i]; }
  operator std::span<T>() noexcept { return {data_.get(), size_}; }
  operator std::span<const T>() const noexcept { return {data_.get(), size_}; }

 private:
  struct Free {
    void operator()(T* p) const noexcept { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace srvdb
