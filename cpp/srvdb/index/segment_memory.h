// Zero-filled memory for large tables that are read at random: mapped by itself, on a 2 MiB
// boundary, with huge pages asked for. Pages take memory when first written. Move-only.
//
// A SegmentSource gives such memory to who builds large tables, so that its owner can count it, and
// can give mapped files once there is too much of it.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace srvdb {

class SegmentMemory {
 public:
  SegmentMemory() = default;
  // Throws std::bad_alloc.
  explicit SegmentMemory(std::size_t bytes);
  // Takes over a mapping of zeros (munmap() ends it).
  SegmentMemory(void* mapped, std::size_t bytes) noexcept : data_(mapped), bytes_(bytes) {}
  ~SegmentMemory() { reset(); }
  SegmentMemory(SegmentMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        counter_(std::move(other.counter_)) {}
  SegmentMemory& operator=(SegmentMemory&& other) noexcept {
    if (this != &other) {
      reset();
      data_ = std::exchange(other.data_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
      counter_ = std::move(other.counter_);
    }
    return *this;
  }

  void* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }
  // Counts its bytes there until it is gone.
  void count_in(std::shared_ptr<std::atomic<std::size_t>> counter) noexcept {
    counter_ = std::move(counter);
    if (counter_) counter_->fetch_add(bytes_);
  }

 private:
  void reset() noexcept;

  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::shared_ptr<std::atomic<std::size_t>> counter_;
};

class SegmentSource {
 public:
  virtual ~SegmentSource() = default;
  // Throws std::bad_alloc; Error(kStorage).
  virtual SegmentMemory make(std::size_t bytes) = 0;
  // Bytes of other memory that whoever builds such a table may take for the time of it.
  virtual std::size_t scratch_bytes() const noexcept { return static_cast<std::size_t>(-1); }
};

}  // namespace srvdb
