// Short codes, of either form, that the tests of walks by them share.
#pragma once

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "index/index_cases.h"
#include "srvdb/index/graph_search.h"
#include "srvdb/quant/short_coder.h"

namespace srvdb::testing {

inline std::vector<const float*> addresses(const TestRows& rows) {
  std::vector<const float*> at;
  for (Row r = 0; r < rows.size(); ++r) at.push_back(rows.at(r));
  return at;
}

// Short codes of all rows, and how often they were looked at.
class TestShortCodes final : public RowVerifier {
 public:
  TestShortCodes(const TestRows& rows, std::optional<ShortCoder> coder)
      : coder_(std::move(coder)), checked_(rows.size() / 64 + 1) {
    if (!coder_) return;
    bytes_.reset(rows.size() * coder_->stride());
    ShortCoder::Scratch scratch;
    Reduction::Held held;
    for (Row r = 0; r < rows.size(); ++r) {
      coder_->encode(rows.at(r), scratch, bytes_.data() + r * coder_->stride(), held);
    }
  }
  // Whether there was anything to make them by; without, nothing else may be asked.
  bool made() const { return coder_.has_value(); }
  ShortCodes of_rows(Row rows) const {
    ShortCodes out;
    out.coder = &*coder_;
    out.codes.base = bytes_.data();
    out.codes.stride = coder_->stride();
    out.codes.rows = rows;
    out.codes.verifier = this;
    out.codes.checked = checked_.data();
    return out;
  }
  void verify(Row first, Row last) const override { looks_ += last - first; }
  // Since it was last asked.
  std::size_t looks() const { return looks_.exchange(0); }

 private:
  std::optional<ShortCoder> coder_;
  AlignedBuffer<std::uint8_t> bytes_;
  std::vector<std::atomic<std::uint64_t>> checked_;
  mutable std::atomic<std::size_t> looks_{0};
};

// The same rows with the same scores, in the same order.
inline bool same(const std::vector<ScoredRow>& a, const std::vector<ScoredRow>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.row == y.row && x.score == y.score;
  });
}

}  // namespace srvdb::testing
