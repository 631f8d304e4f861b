// What the index layer sees of the stored vectors: addresses, and a way to have bytes checked
// before they are believed. It knows no files.
//
// RowsView: float32 rows × dim, row-major, unpadded, in two parts: rows [0, file_rows) come from a
// mapped file, rows [file_rows, rows) from the append buffer. CodesView: the 8-bit codes of rows
// [0, rows), `stride` bytes apart (a multiple of 64, the padding is zero). Both are cheap to copy,
// own nothing, and stay valid as long as their maker says (a View of the database).
//
// Mapped bytes carry checksums that are compared when a row is first touched. The view's verifier
// does that; it throws Error(kCorruption) when the bytes are damaged. A view without a verifier
// (nullptr) is trusted, and costs one predictable branch. Thread safety: everything here is
// immutable; a verifier is called by many threads at one time.
#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "srvdb/base/prefetch.h"
#include "srvdb/base/types.h"

namespace srvdb {

// Checks stored bytes on first touch. The implementation remembers what it has checked.
class RowVerifier {
 public:
  virtual ~RowVerifier() = default;
  // Returns when rows [first, last) are sound, throws Error(kCorruption) when one is not.
  virtual void verify(Row first, Row last) const = 0;
  // The same of n rows in any order. Whoever knows where their checksums lie asks for all of them
  // before it compares the first.
  virtual void verify_each(const Row* rows, std::size_t n) const {
    for (std::size_t i = 0; i < n; ++i) verify(rows[i], rows[i] + 1);
  }
};

struct RowsView {
  const float* file = nullptr;    // row 0
  const float* buffer = nullptr;  // row file_rows
  Row file_rows = 0;
  Row rows = 0;
  std::size_t dim = 0;
  // Upper bounds of the Euclidean norms (float32, rounded up), one every `norm_step` floats: the
  // bound of row r is file_norms[r * norm_step] or buffer_norms[(r - file_rows) * norm_step].
  const float* file_norms = nullptr;
  const float* buffer_norms = nullptr;
  std::size_t norm_step = 1;
  const RowVerifier* verifier = nullptr;  // for the mapped part only

  const float* row(Row r) const noexcept {
    assert(r < rows);
    return r < file_rows ? file + std::size_t{r} * dim : buffer + std::size_t{r - file_rows} * dim;
  }
  float norm_bound(Row r) const noexcept {
    assert(r < rows);
    return r < file_rows ? file_norms[std::size_t{r} * norm_step]
                         : buffer_norms[std::size_t{r - file_rows} * norm_step];
  }
  // Asks the memory for a row's beginning; the processor fetches the rest by itself. A hint.
  void prefetch(Row r) const noexcept {
    constexpr std::size_t kBytes = 512;
    prefetch_lines(row(r), std::min(dim * sizeof(float), kBytes));
  }
  // First row after r that does not lie behind it in memory: blocks of rows must not cross it.
  Row contiguous_end(Row r) const noexcept { return r < file_rows ? file_rows : rows; }

  // To be called before the bytes of a row, or of a block, are used. Rows of the buffer need no
  // check.
  void verify(Row r) const { verify(r, r + 1); }
  void verify(Row first, Row last) const {
    if (verifier == nullptr || first >= file_rows) return;
    verifier->verify(first, last < file_rows ? last : file_rows);
  }
};

struct CodesView {
  const std::uint8_t* base = nullptr;  // row 0, 64-byte aligned
  std::size_t stride = 0;              // bytes from row to row
  Row rows = 0;
  const RowVerifier* verifier = nullptr;
  // Bit r is set once row r has been checked; the verifier sets it. It covers `rows` rows. Unused
  // without a verifier.
  const std::atomic<std::uint64_t>* checked = nullptr;
  // The error norm of row r, as encode() returned it, is errors[r * error_step]; checked together
  // with the code. nullptr: not known, so that nothing can be proven by codes.
  const float* errors = nullptr;
  std::size_t error_step = 1;
  // Where scans note what they found out about whole blocks of rows (code_bounds.h), a word each,
  // zero at first. nullptr: nowhere.
  std::atomic<std::uint64_t>* blocks = nullptr;

  const std::uint8_t* code(Row r) const noexcept {
    assert(r < rows);
    return base + std::size_t{r} * stride;
  }
  // To be called before the code of a row is used: one bit test once it has been checked.
  void verify(Row r) const {
    if (verifier == nullptr) return;
    const std::uint64_t word = checked[r / 64].load(std::memory_order_relaxed);
    if ((word >> (r % 64) & 1) == 0) [[unlikely]]
      verifier->verify(r, r + 1);
  }
  void verify(Row first, Row last) const {
    if (verifier != nullptr && first < last && !all_checked(first, last)) {
      verifier->verify(first, last);
    }
  }
  // The same for n rows in any order.
  void verify(const Row* rows, std::size_t n) const {
    if (verifier == nullptr) return;
    std::uint64_t all = 1;
    for (std::size_t i = 0; i < n; ++i) {
      all &= checked[rows[i] / 64].load(std::memory_order_relaxed) >> (rows[i] % 64);
    }
    if ((all & 1) == 0) [[unlikely]]
      verifier->verify_each(rows, n);
  }
  float error(Row r) const noexcept { return errors[std::size_t{r} * error_step]; }

 private:
  bool all_checked(Row first, Row last) const noexcept {
    for (Row word = first / 64; word <= (last - 1) / 64; ++word) {
      std::uint64_t wanted = ~std::uint64_t{0};
      if (word == first / 64) wanted <<= first % 64;
      if (word == (last - 1) / 64) wanted &= ~std::uint64_t{0} >> (63 - (last - 1) % 64);
      if ((~checked[word].load(std::memory_order_relaxed) & wanted) != 0) return false;
    }
    return true;
  }
};

}  // namespace srvdb
