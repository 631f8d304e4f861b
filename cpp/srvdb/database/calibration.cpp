#include "srvdb/database/calibration.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <mutex>

namespace srvdb {
namespace {

constexpr std::uint8_t kVersion = 2;
constexpr std::uint8_t kOfRows = 1;
constexpr std::uint8_t kOfSearches = 2;
constexpr double kMaxWidth = 10'000;  // a wider walk costs more than a scan, or nearly so
constexpr double kRounding = 1e-6;    // of bounds, which are float32

// Before anything was measured: enough for queries from outside of the sets this was tried with.
const RecallCurve& cautious_curve() {
  static const RecallCurve curve{
      10, 0, false, {{40, 0, 0.8F, 0}, {80, 0, 0.9F, 0}, {160, 0, 0.95F, 0}, {640, 0, 0.99F, 0}}};
  return curve;
}

// Between two points recall is concave in the width's logarithm, so a straight line lies below it.
double width_on(const std::vector<CurvePoint>& points, double recall) noexcept {
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (points[i].bound + kRounding < recall) continue;
    if (i == 0 || points[i].bound <= points[i - 1].bound) return points[i].ef;
    const CurvePoint& low = points[i - 1];
    const double part = std::min(1.0, (recall - low.bound) / (points[i].bound - low.bound));
    return low.ef * std::pow(static_cast<double>(points[i].ef) / low.ef, part);
  }
  return 0;
}

std::mutex g_costs_mutex;
std::optional<FixedCosts> g_costs;

}  // namespace

const RecallCurve* Calibration::curve_for(std::size_t k) const noexcept {
  for (const RecallCurve& curve : curves) {
    if (curve.k >= k) return &curve;
  }
  return curves.empty() ? nullptr : &curves.back();
}

std::optional<std::uint32_t> Calibration::width_for(double recall, std::size_t k) const {
  const RecallCurve* const measured_curve = curve_for(k);
  const RecallCurve& curve = measured_curve != nullptr ? *measured_curve : cautious_curve();
  double width = width_on(curve.points, recall);
  if (width == 0) return std::nullopt;
  // The same share of a walk's candidates serves more hits at least as well.
  if (k > curve.k) width *= static_cast<double>(k) / curve.k;
  if (measured_curve != nullptr && !curve.of_searches) width *= hardness;
  width = std::max(std::ceil(width - 1e-3), std::ceil(static_cast<double>(k) / 2));
  if (width > kMaxWidth) return std::nullopt;
  return static_cast<std::uint32_t>(width);
}

double Calibration::walk_ns(std::size_t width, std::size_t k) const {
  const RecallCurve* const curve = curve_for(k);
  if (curve == nullptr || width == 0) return 0;
  const std::vector<CurvePoint>& points = curve->points;
  const auto wide = static_cast<double>(width);
  if (wide <= points.front().ef) return points.front().walk_ns;
  for (std::size_t i = 1; i < points.size(); ++i) {
    if (wide > points[i].ef) continue;
    const double part = (wide - points[i - 1].ef) / (points[i].ef - points[i - 1].ef);
    return points[i - 1].walk_ns + part * (points[i].walk_ns - points[i - 1].walk_ns);
  }
  return points.back().walk_ns * wide / points.back().ef;
}

std::size_t hits_step(std::size_t k) noexcept {
  std::size_t step = 0;
  while (step + 1 < std::size(kMeasuredHits) && kMeasuredHits[step] < k) ++step;
  return step;
}

std::string encode_calibration(const Calibration& calibration) {
  std::string out;
  put(out, kVersion);
  put<std::uint64_t>(out, calibration.generation);
  put<std::uint32_t>(out, calibration.rows);
  put<std::uint32_t>(out, calibration.hidden);
  put<std::uint32_t>(out, calibration.code_bytes);
  put<std::int64_t>(out, calibration.time_us);
  put<std::uint64_t>(out, calibration.cost_us);
  put(out, calibration.hardness);
  put(out, calibration.scan_ns);
  put(out, calibration.batch_scan_ns);
  put<std::uint32_t>(out, static_cast<std::uint32_t>(calibration.curves.size()));
  for (const RecallCurve& curve : calibration.curves) {
    put(out, curve.of_searches ? kOfSearches : kOfRows);
    put<std::uint32_t>(out, curve.k);
    put<std::uint32_t>(out, curve.queries);
    put<std::uint32_t>(out, static_cast<std::uint32_t>(curve.points.size()));
    for (const CurvePoint& point : curve.points) {
      put<std::uint32_t>(out, point.ef);
      put(out, point.recall);
      put(out, point.bound);
      put(out, point.walk_ns);
    }
  }
  return out;
}

std::optional<Calibration> decode_calibration(ByteSpan bytes) {
  ByteReader reader(bytes);
  if (reader.get<std::uint8_t>() != kVersion) return std::nullopt;
  Calibration out;
  out.generation = reader.get<std::uint64_t>();
  out.rows = reader.get<std::uint32_t>();
  out.hidden = reader.get<std::uint32_t>();
  out.code_bytes = reader.get<std::uint32_t>();
  out.time_us = reader.get<std::int64_t>();
  out.cost_us = reader.get<std::uint64_t>();
  out.hardness = reader.get<float>();
  out.scan_ns = reader.get<float>();
  out.batch_scan_ns = reader.get<float>();
  const auto curves = reader.get<std::uint32_t>();
  std::uint32_t last_k = 0;
  for (std::uint32_t c = 0; c < curves && reader.ok(); ++c) {
    RecallCurve curve;
    curve.of_searches = reader.get<std::uint8_t>() == kOfSearches;
    curve.k = reader.get<std::uint32_t>();
    curve.queries = reader.get<std::uint32_t>();
    const auto points = reader.get<std::uint32_t>();
    CurvePoint last;
    for (std::uint32_t i = 0; i < points && reader.ok(); ++i) {
      CurvePoint point;
      point.ef = reader.get<std::uint32_t>();
      point.recall = reader.get<float>();
      point.bound = reader.get<float>();
      point.walk_ns = reader.get<float>();
      if (point.ef <= last.ef || !(point.bound >= last.bound) || !(point.walk_ns >= 0)) return {};
      last = point;
      curve.points.push_back(point);
    }
    if (curve.k <= last_k || curve.points.empty()) return std::nullopt;
    last_k = curve.k;
    out.curves.push_back(std::move(curve));
  }
  if (!reader.ok() || reader.remaining() != 0 || !(out.hardness >= 1)) return std::nullopt;
  return out;
}

void set_costs_for_tests(const std::optional<FixedCosts>& costs) {
  const std::lock_guard lock(g_costs_mutex);
  g_costs = costs;
}

std::optional<FixedCosts> costs_for_tests() {
  const std::lock_guard lock(g_costs_mutex);
  return g_costs;
}

}  // namespace srvdb
