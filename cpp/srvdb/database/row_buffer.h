// The append buffer: the newest rows, in memory, until a flush writes them to vectors.bin.
//
// One block of fixed capacity. The writer (under the core's write lock) fills slots in order;
// readers read only slots below the row count of their View, which was published after the slot was
// filled. So a slot is written once and never while it is read, and no lock is needed. A flush
// starts another block; the old one lives as long as a View refers to it, and may then be used
// again.
#pragma once

#include <cassert>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/base/aligned.h"
#include "srvdb/base/types.h"
#include "srvdb/storage/strided_file.h"

namespace srvdb {

class RowBuffer {
 public:
  // first_row: row number of slot 0. Memory for capacity × dim floats is taken at once.
  RowBuffer(Row first_row, std::size_t capacity, std::size_t dim)
      : first_row_(first_row), dim_(dim), rows_(capacity * dim), fixes_(capacity), ids_(capacity) {}

  Row first_row() const noexcept { return first_row_; }
  std::size_t capacity() const noexcept { return ids_.size(); }
  // Held, but for what long ids take beyond their objects.
  std::size_t bytes() const noexcept {
    return rows_.size() * sizeof(float) +
           ids_.size() * (sizeof(RowFix) + sizeof(decltype(ids_)::value_type));
  }
  std::size_t size() const noexcept { return size_; }  // the writer only
  bool has_room(std::size_t n) const noexcept { return n <= capacity() - size_; }

  // The writer only; there must be room.
  void push(const float* row, RowFix fix, std::string_view id) {
    assert(has_room(1));
    std::memcpy(rows_.data() + size_ * dim_, row, dim_ * sizeof(float));
    fixes_[size_] = fix;
    ids_[size_].assign(id);
    ++size_;
  }
  // The writer only: the fix of the slot that push() filled last.
  void fix_last(RowFix fix) noexcept { fixes_[size_ - 1] = fix; }
  // The writer only: forgets the newest slots, which no View has seen.
  void shrink(std::size_t size) noexcept { size_ = size; }

  // The writer only, when no View has it: empty again.
  void restart(Row first_row) noexcept {
    first_row_ = first_row;
    size_ = 0;
  }

  // row >= first_row(), below the View's rows.
  const float* row(Row row) const noexcept { return rows_.data() + (row - first_row_) * dim_; }
  std::string_view id(Row row) const noexcept { return ids_[row - first_row_]; }
  const float* rows() const noexcept { return rows_.data(); }
  const RowFix* fixes() const noexcept { return fixes_.data(); }

 private:
  Row first_row_;
  std::size_t dim_;
  std::size_t size_ = 0;
  AlignedBuffer<float> rows_;    // capacity × dim
  AlignedBuffer<RowFix> fixes_;  // capacity, as in rows.fix
  std::vector<std::string> ids_;
};

}  // namespace srvdb
