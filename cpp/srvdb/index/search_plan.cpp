#include "srvdb/index/search_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace srvdb {
namespace {

// Rows that a walk sees until it has expanded `width` of them.
double seen_rows(double width) noexcept {
  return 60 * std::pow(width, 0.72);
}

// Nanoseconds for a row, with all that goes with it.
double seen_ns(double code_bytes) noexcept {
  return 25 + 0.06 * code_bytes;
}
double scanned_ns(double code_bytes) noexcept {
  return 2 + 0.038 * code_bytes;
}
double picked_ns(double code_bytes) noexcept {  // of a scan that skips most rows
  return 5.5 + 0.06 * code_bytes;
}

}  // namespace

SearchPlan plan_search(const PlanInput& input) noexcept {
  constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();
  if (input.eligible >= input.rows) return {.walk = true, .budget = kUnlimited};
  const auto rows = static_cast<double>(input.rows);
  const auto eligible = static_cast<double>(input.eligible);
  const auto bytes = static_cast<double>(input.code_bytes);
  const double scan = std::min(rows * scanned_ns(bytes), eligible * picked_ns(bytes));
  // Up to the last one wanted excluded rows come on top. Beyond it the walk looks at rows of any
  // kind; that takes a few more of them too, the more where excluded rows are twins of eligible
  // ones (as after replacing every row by nearly the same).
  const std::size_t wanted = std::min(2 * input.k + 10, input.ef);
  const double share = std::max(eligible, 1.0) / rows;
  const double spare = static_cast<double>(input.ef - wanted) / std::sqrt(share);
  const double width = static_cast<double>(wanted) / share + spare;
  const double walk = std::min(seen_rows(width), rows) * seen_ns(bytes);
  return {.walk = walk < scan,
          .wanted = wanted,
          .spare = static_cast<std::size_t>(spare),
          .budget = static_cast<std::size_t>(scan / seen_ns(bytes))};
}

}  // namespace srvdb
