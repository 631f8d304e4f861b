// Exact search by 8-bit codes: the answer of a float32 pass for a quarter of the bytes. Internal to
// the index layer.
//
// How it is exact: each code's error |x - x^| is stored, and a key and an error bound the exact
// score from both sides (CodeQuery). Rows that cannot reach what the k best so far have at least
// are dropped, all others wait, best key first in line, and are scored again in double precision.
// Looser codes cost time, never rows: where many rows of a block pass, the block is left to the
// float32 pass.
//
// Borrows everything; one thread each. Errors: what the verifiers of rows and codes throw.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "srvdb/index/code_bounds.h"
#include "srvdb/index/flat_scan.h"
#include "srvdb/index/top_k.h"
#include "srvdb/quant/code_query.h"

namespace srvdb {

// The k best rows of a screen, kept exactly in bounded memory. Rows wait with their keys; the k-th
// best of what their scores are at least is a threshold that costs no look at the rows. When many
// wait, the k best keys are scored, which rules out more; the others are scored at the end, best
// keys first, or when too many wait still.
class ScreenedTopK {
 public:
  ScreenedTopK(const RowsView& rows, Metric metric, const float* query, const CodeQuery& prepared,
               std::size_t k, const RowBitmap* excluded)
      : rows_(&rows),
        query_(&prepared),
        k_(k),
        capacity_(first_capacity(k)),
        exact_(rows, metric, query, k, excluded) {
    refresh();
  }

  // Which keys cannot be ruled out yet. Changes in every function that is not const.
  const KeyLimit& limit() const noexcept { return limit_; }
  // False as long as nothing can be ruled out.
  bool has_limit() const noexcept { return threshold_ > -std::numeric_limits<double>::infinity(); }
  std::size_t scored() const noexcept { return scored_; }  // rows, in double precision

  // A row that is not excluded.
  void offer(std::int32_t key, Row row, const CodeBound& bound) {
    waiting_.push_back({key, row, bound});
    if (waiting_.size() >= capacity_) make_room();
  }
  // Lowers the limit to what is known of the waiting rows, and drops those beyond it.
  void prune();
  // The same with the k best keys scored.
  void narrow();
  // Forgets all rows, for a query that is to be answered in another way.
  void drop() {
    waiting_ = {};
    exact_.take();
  }
  // Bytes that rows waiting for one query may take.
  static std::size_t most_waiting_bytes(std::size_t k) noexcept {
    return std::max(first_capacity(k), kMaxBuffer) * sizeof(Waiting);
  }
  // Scores what waits, as far as it can still matter.
  void settle();
  // For rows offered without a code. Call refresh() afterwards.
  ExactTopK& exact() noexcept { return exact_; }
  void refresh() noexcept {
    threshold_ = std::max(threshold_, exact_.threshold());
    limit_ = query_->key_limits(threshold_);
  }
  void merge(ScreenedTopK& other) {
    settle();
    other.settle();
    exact_.merge(other.exact_);
  }
  // The answer, best first. Leaves the object empty.
  std::vector<ScoredRow> take() {
    settle();
    return exact_.take();
  }

 private:
  static constexpr std::size_t kMinBuffer = 256;
  // How many may wait, or as many as it begins with. It grows where k is so small that scoring k
  // rows makes no room.
  static constexpr std::size_t kMaxBuffer = 1024;
  static constexpr std::size_t kStep = 16;  // rows scored between two looks at the limit, at least
  static std::size_t first_capacity(std::size_t k) noexcept { return std::max(2 * k, kMinBuffer); }

  struct Waiting {
    std::int32_t key;
    Row row;
    CodeBound bound;
  };
  static bool by_key(const Waiting& a, const Waiting& b) noexcept { return a.key < b.key; }
  bool passes(const Waiting& row) const noexcept {
    return limit_.admits(row.key, row.bound.error, row.bound.norm);
  }
  void make_room();
  void score(std::size_t first, std::size_t last);

  const RowsView* rows_;
  const CodeQuery* query_;
  std::size_t k_;
  std::size_t capacity_;
  ExactTopK exact_;
  double threshold_ = -std::numeric_limits<double>::infinity();
  KeyLimit limit_;
  std::size_t scored_ = 0;
  std::vector<Waiting> waiting_;
};

// The pass of one query over codes.
class CodeScreen {
 public:
  CodeScreen(const RowsView& rows, Metric metric, const float* query, const CodesView& codes,
             const ScalarQuantizer& quantizer, const CodeQuery& prepared)
      : rows_(rows),
        codes_(codes),
        distance_(prepared),
        bounds_(codes, quantizer),
        floats_(rows, metric, query),
        kernels_(simd::kernels()) {}

  // Offers every row of [first, last) that can reach the threshold; all of them have codes.
  void block(Row first, Row last, const RowBitmap* excluded, ScreenedTopK& top);

 private:
  // After kLooseBlocks loose blocks in a row as many as that are done without codes, and twice as
  // many each time that the next one is loose still, up to kMostWithout.
  static constexpr std::size_t kLooseBlocks = 4;
  static constexpr std::size_t kFirstWithout = 4;
  static constexpr std::size_t kMostWithout = 64;

  struct Passed {
    std::int32_t key;
    Row row;
    CodeBound bound;
  };
  void offer_left(Row first, Row last, const RowBitmap* excluded, ScreenedTopK& top);
  void offer_all(Row first, Row last, const RowBitmap* excluded, ScreenedTopK& top);
  void offer_floats(Row first, Row last, const RowBitmap* excluded, ScreenedTopK& top);

  const RowsView& rows_;
  const CodesView& codes_;
  CodeDistance distance_;
  CodeBounds bounds_;
  FloatScan floats_;
  const simd::Kernels& kernels_;
  std::size_t loose_ = 0;    // blocks in a row that the codes told little about
  std::size_t without_ = 0;  // blocks yet to be done without codes
  std::size_t next_without_ = kFirstWithout;
  alignas(64) std::int32_t keys_[kBoundRows];
  alignas(64) std::uint32_t picked_[kBoundRows];
  Passed passed_[kBoundRows];
  Row few_[kBoundRows];
};

}  // namespace srvdb
