// What was measured of a database's graph: how recall goes with the width of a walk, and what walks
// and scans cost on this machine. search(recall=) and mode "auto" go by it.
//
// A curve belongs to a number of hits k and has a point for each width (ef) that was tried: the
// mean recall@k of the sample's queries, a lower bound of it (one-sided, 95 %), and the processor
// time of a walk. Bounds do not fall from point to point. A plain value, immutable once made; its
// bytes are a section of the manifest (cpp/FORMAT.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "srvdb/base/bytes.h"
#include "srvdb/base/types.h"

namespace srvdb {

struct CurvePoint {
  std::uint32_t ef = 0;
  float recall = 0;
  float bound = 0;
  float walk_ns = 0;
  bool operator==(const CurvePoint&) const = default;
};

struct RecallCurve {
  std::uint32_t k = 10;
  std::uint32_t queries = 0;
  bool of_searches = false;        // queries that were asked; else rows, each left out of the graph
  std::vector<CurvePoint> points;  // ascending widths; not empty
  bool operator==(const RecallCurve&) const = default;
};

struct Calibration {
  std::uint64_t generation = 0;  // what was measured: its generation,
  Row rows = 0;                  //   linked rows,
  Row hidden = 0;                //   of them those that no search returns,
  std::uint32_t code_bytes = 0;  //   and IndexView::walk_code_bytes()
  std::int64_t time_us = 0;      // when, since the epoch
  std::uint64_t cost_us = 0;     // processor time that measuring took, about
  // How many times as wide a walk must be for queries that were asked as for rows, when both were
  // last measured: stands in where the queries are no longer at hand. At least 1.
  float hardness = 1;
  float scan_ns = 0;                // of an exact search for one query, a row; 0: not measured
  float batch_scan_ns = 0;          // likewise in a large batch
  std::vector<RecallCurve> curves;  // ascending k; empty: nothing was measured
  bool operator==(const Calibration&) const = default;

  bool measured() const noexcept { return !curves.empty(); }
  // The curve that a search for k hits goes by: that of the next larger k. Null when there is none.
  const RecallCurve* curve_for(std::size_t k) const noexcept;
  // The least width, at least k / 2, whose recall@k reaches the target in (0, 1), as far as was
  // measured; without a measurement one that is wide enough for most data. Nothing: no width does,
  // only an exact search.
  std::optional<std::uint32_t> width_for(double recall, std::size_t k) const;
  // Nanoseconds of a walk of this width; 0 when walks were not measured.
  double walk_ns(std::size_t width, std::size_t k) const;
};

// Recall is measured for numbers of hits in steps; what lies between goes by the next larger one.
inline constexpr std::uint32_t kMeasuredHits[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000};
inline constexpr std::size_t kUsualHits = 3;  // place of those that are always measured
// Place of the step for k hits; the last one's for more.
std::size_t hits_step(std::size_t k) noexcept;

std::string encode_calibration(const Calibration& calibration);
// Nothing where the bytes are not those of a calibration this version knows: then it is measured
// anew.
std::optional<Calibration> decode_calibration(ByteSpan bytes);

// For tests: calibrations made from now on have these costs in the place of measured ones.
struct FixedCosts {
  float scan_ns = 0, batch_scan_ns = 0;
  float walk_ns_at_100 = 0;  // of a walk of width 100; others in proportion
};
void set_costs_for_tests(const std::optional<FixedCosts>& costs);
std::optional<FixedCosts> costs_for_tests();

}  // namespace srvdb
