// Measures a Calibration: how recall goes with the width of a walk, on the data of one View.
//
// Two samples of queries: rows, evenly spaced over the linked ones, each treated by its own walks
// as if it were not in the graph (with the row in its place they find far too much; without it they
// find slightly less than real queries do); and queries that were asked. With enough of the latter
// they alone make the curve, and the rows tell how much harder they are. True answers come from
// exact scans of the linked rows, in pieces; then each width of a ladder is walked with every
// query. One-sided 95 % bounds of the mean: mean - 1.645 sd / sqrt(n), and at most 1 - 3 / (n k)
// (the rule of three), made not to fall.
//
// Works in pieces, so that the background can pause between them. One thread at a time calls
// step(), which may use more. Keeps the parts of the View it was made with alive, not the View.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "srvdb/base/interrupt.h"
#include "srvdb/database/calibration.h"
#include "srvdb/database/view.h"
#include "srvdb/index/scored_row.h"

namespace srvdb {

class Calibrator {
 public:
  // Linked rows from which measuring is worth while.
  static constexpr Row kMinRows = 1000;
  // Queries that were asked from which they make the curve.
  static constexpr std::size_t kMinSearches = 64;

  struct Progress {
    bool more = false;
    bool damaged = false;  // the graph: drop it; the measurement is of no use
  };

  // `asked`: queries that were asked, row-major. `ks`: ascending, not empty. `hardness`: as last
  // measured, kept when `asked` are too few. The view has linked rows.
  Calibrator(const View& view, std::vector<float> asked, std::vector<std::uint32_t> ks,
             float hardness);

  // About `budget` of work. Throws DerivedDamage, Error(kCorruption), Error(kInterrupted).
  Progress step(std::chrono::milliseconds budget, std::size_t threads, Interrupt* interrupt);
  // Once step() says that there is no more.
  Calibration result() const;

  std::uint64_t generation() const noexcept { return view_.generation; }

 private:
  enum class Phase : std::uint8_t { kTruth, kWalks, kScans, kDone };
  // One curve in the making: queries [first, last) of queries_.
  struct Sample {
    std::size_t first = 0, last = 0;
    bool rows = false;
  };
  struct Tally {
    double recall = 0, squares = 0, ns = 0;
    std::size_t queries = 0;
  };

  void find_truth(std::chrono::milliseconds budget, std::size_t threads, Interrupt* interrupt);
  std::uint32_t first_width(std::uint32_t k) const noexcept;
  void end_of_truth();
  bool walk_some(std::size_t threads, Interrupt* interrupt);
  double recall_of(std::size_t query, std::span<const ScoredRow> found) const;
  void end_of_width();
  void end_of_curve();
  void time_scans(Interrupt* interrupt);
  bool has_row(std::size_t query) const noexcept { return query < own_rows_.size(); }

  View view_;
  Row limit_ = 0;
  const std::vector<std::uint32_t> ks_;
  std::vector<float> queries_;  // those that are rows, then those that were asked
  std::vector<Row> own_rows_;   // of the former
  std::vector<Sample> samples_;
  std::vector<std::vector<ScoredRow>> truth_;

  Phase phase_ = Phase::kTruth;
  Row next_row_ = 0;    // truth: rows below it have been compared
  Row piece_rows_ = 0;  // truth: rows of the next piece
  std::size_t k_at_ = 0, sample_at_ = 0, query_at_ = 0;
  std::uint32_t ef_ = 0;
  bool damaged_ = false;
  Tally tally_;
  RecallCurve curve_;
  std::vector<RecallCurve> of_rows_, of_searches_;
  Calibration out_;
};

}  // namespace srvdb
