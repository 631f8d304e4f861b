// Distances between all pairs out of a set of coded rows, many times faster than one by one.
// Internal to the index layer.
//
// Distances are those of CodeProbe (prune.h): integers, the same on every instruction set. Codes
// must not be longer than CodePairs::kMaxStride. Not thread-safe: one CodePairs a worker; CodeTerms
// are shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "srvdb/base/aligned.h"
#include "srvdb/base/interrupt.h"
#include "srvdb/distance/metric.h"
#include "srvdb/index/rows.h"
#include "srvdb/simd/dispatch.h"

namespace srvdb {

// What a distance owes to each of its two rows alone: distance = term of the one + bias of the
// other - products. 8 bytes a row.
class CodeTerms {
 public:
  explicit CodeTerms(Metric metric) : metric_(metric) {}
  // Of rows [0, rows).
  void make(const CodesView& codes, Row rows, std::size_t threads, Interrupt* interrupt);

  Metric metric() const noexcept { return metric_; }
  std::uint32_t own(Row row) const noexcept { return terms_[row].own; }
  std::int32_t bias(Row row) const noexcept { return terms_[row].bias; }

 private:
  struct Term {
    std::uint32_t own;
    std::int32_t bias;
  };
  Metric metric_;
  std::vector<Term> terms_;
};

class CodePairs {
 public:
  // Squared distances between longer codes could pass 2^31.
  static constexpr std::size_t kMaxStride = 32768;

  explicit CodePairs(const CodeTerms& terms) : terms_(terms) {}

  // Takes the rows that distances lead to.
  void columns(const CodesView& codes, std::span<const Row> ids);
  // Takes the rows that distances come from.
  void rows(const CodesView& codes, std::span<const Row> ids);

  // Distances of all rows to all columns.
  void measure();
  // Those of row i, each less own(i) modulo 2^32, which does not change their order. Valid until
  // the next measure().
  const std::int32_t* keys(std::size_t i) const noexcept { return keys_.data() + i * key_stride_; }
  std::uint32_t own(std::size_t i) const noexcept { return own_[i]; }
  std::int32_t key(std::size_t i, std::size_t j) const noexcept {
    return static_cast<std::int32_t>(own_[i] + static_cast<std::uint32_t>(keys(i)[j]));
  }

 private:
  const CodeTerms& terms_;
  std::size_t stride_ = 0;
  std::size_t n_columns_ = 0;
  std::size_t key_stride_ = 0;
  std::vector<std::int32_t> bias_;
  std::vector<std::uint32_t> own_;
  AlignedBuffer<std::uint8_t> panel_;
  AlignedBuffer<std::int8_t> rows_;
  AlignedBuffer<std::int32_t> keys_;
};

}  // namespace srvdb
