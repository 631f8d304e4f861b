// Zero-filled memory for large tables that are read at random: mapped by itself, on a 2 MiB
// boundary, with huge pages asked for. Pages take memory when first written. Move-only.
#pragma once

#include <cstddef>
#include <utility>

namespace srvdb {

class SegmentMemory {
 public:
  SegmentMemory() = default;
  // Throws std::bad_alloc.
  explicit SegmentMemory(std::size_t bytes);
  ~SegmentMemory() { reset(); }
  SegmentMemory(SegmentMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  SegmentMemory& operator=(SegmentMemory&& other) noexcept {
    if (this != &other) {
      reset();
      data_ = std::exchange(other.data_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }

  void* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  void reset() noexcept;

  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace srvdb
