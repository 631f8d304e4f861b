#include "srvdb/index/search_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace srvdb {
namespace {

// Nanoseconds for a row or for a list of links, with all that goes with it. Rows in no order cost
// more where they do not fit the processor's caches.
constexpr double kCacheBytes = 32 << 20;
double seen_ns(double code_bytes, double rows) noexcept {
  return (16 + 0.06 * code_bytes) * (code_bytes * rows > kCacheBytes ? 1.6 : 1.0);
}
constexpr double kHoppedNs = 25;
double scanned_ns(double code_bytes) noexcept {
  return 2 + 0.038 * code_bytes;
}
double picked_ns(double code_bytes, double rows) noexcept {  // of a scan that skips most rows
  return (4 + 0.02 * code_bytes) * (code_bytes * rows > kCacheBytes ? 2.3 : 1.0);
}

// With fewer eligible rows than that among the links of the neighbours of a row, these hang
// together too loosely for a walk that looks no further.
constexpr double kFewEligible = 44;

// One row in so many may be excluded for a walk to go through them. If as many lie anywhere, more
// than most_left_out() are nearer than the tenth of the others in about one search of 4 where ef is
// below 16, of 20 where it is below 24, and in hardly any with a larger one.
constexpr std::size_t kThroughRows = 12;

// Rows that a walk expands, of those that it sees eligible ones, and excluded ones whose links it
// looks at.
double expanded_rows(double ef) noexcept {
  return ef + 12;
}
double seen_rows(double expanded, double share) noexcept {
  return 60 * std::pow(expanded, 0.72) * std::min(1.0, 2.5 * std::sqrt(share));
}
double hopped_rows(double expanded, double share, double bound, bool far) noexcept {
  const double missing = std::max(0.0, ((far ? 0.5 : 0.875) - share) * bound);
  const double fresh = (far ? 0.3 : 0.42) * share * bound;  // of the links of one
  const double most = far ? 3 * bound : 0.8 * (1 - share) * bound;
  return expanded * std::min(missing / fresh, most);
}

}  // namespace

SearchPlan plan_search(const PlanInput& input) noexcept {
  constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();
  if (input.eligible >= input.rows) return {.walk = true, .through = true, .budget = kUnlimited};
  const auto rows = static_cast<double>(input.rows);
  const auto eligible = static_cast<double>(input.eligible);
  const auto bytes = static_cast<double>(input.code_bytes);
  const auto bound = static_cast<double>(input.bound);
  const double scan = std::min(rows * scanned_ns(bytes), eligible * picked_ns(bytes, rows));
  const double share = std::max(eligible, 1.0) / rows;
  const bool far = share * bound * bound < kFewEligible;
  const double expanded = expanded_rows(static_cast<double>(input.ef));
  const double seen = std::min(seen_rows(expanded, share), eligible);
  const double hopped = std::min(hopped_rows(expanded, share, bound, far), rows - eligible);
  const double walk = seen * seen_ns(bytes, rows) + hopped * kHoppedNs;
  const double budget = (seen + hopped) * std::max(scan / walk, 2.0);
  return {.walk = walk < scan,
          .through = goes_through(input.rows, input.rows - input.eligible),
          .far = far,
          .budget = static_cast<std::size_t>(budget)};
}

bool goes_through(std::size_t rows, std::size_t excluded) noexcept {
  return excluded <= rows / kThroughRows;
}

std::size_t most_left_out(std::size_t ef, std::size_t k) noexcept {
  return std::min(k / 2, std::max(ef, k) / 8);
}

}  // namespace srvdb
