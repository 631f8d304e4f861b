// Core: from a wanted recall to the width of a walk, and when that is measured anew.

#include <algorithm>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/database/core.h"

namespace srvdb {
namespace {

constexpr auto kPiece = std::chrono::milliseconds(15);  // of measuring, and of the pause after it
constexpr auto kPieceAsked = std::chrono::milliseconds(100);  // in optimize()
constexpr double kGrown = 1.25;                               // times the rows: measured anew
constexpr double kHidden = 0.1;                               // share of the rows that went or came
constexpr std::uint64_t kNewQueries = QueryRing::kMaxQueries;  // of them, likewise
// For new queries alone measuring may take 1 / so much of the time: after a measurement by rows,
// and by queries.
constexpr std::uint64_t kSoon = 5;
constexpr std::uint64_t kSeldom = 50;

bool measures(const Calibration& calibration, std::size_t step) {
  return std::any_of(calibration.curves.begin(), calibration.curves.end(),
                     [&](const RecallCurve& c) { return c.k == kMeasuredHits[step]; });
}

}  // namespace

void Core::check_recall(double recall) {
  if (recall > 0 && recall <= 1) return;  // false for NaN
  throw Error(ErrorCode::kInvalidInput,
              "recall must be above 0 and at most 1, got " + std::to_string(recall));
}

// A wanted recall turned into a width, or into an exact search.
SearchOptions Core::tuned(const View& view, SearchOptions options) {
  if (options.recall == 0) return options;
  const double recall = options.recall;
  options.ef = kDefaultEf;
  const std::uint32_t bit = 1U << hits_step(options.k);
  const bool first = !recall_wanted_.load(std::memory_order_relaxed);
  if (first || (wanted_hits_.load(std::memory_order_relaxed) & bit) == 0) {
    recall_wanted_ = true;
    wanted_hits_.fetch_or(bit);
    tuning_job_->wake();
  }
  // Codes alone promise nothing.
  const bool by_codes = mode_.load(std::memory_order_relaxed) == Mode::kSq8;
  std::optional<std::uint32_t> width =
      recall >= 1 || by_codes ? std::nullopt : view.calibration->width_for(recall, options.k);
  // What was measured with coarser codes will do; with finer ones it may not.
  if (width && view.calibration->code_bytes > view.index->walk_code_bytes(view.hidden)) {
    const std::optional<std::uint32_t> cautious = Calibration().width_for(recall, options.k);
    if (cautious) {
      width = std::max(*width, *cautious);
    } else {
      width.reset();
    }
  }
  if (width) {
    options.ef = *width;
  } else {
    options.exact = true;
  }
  return options;
}

void Core::note_queries(const float* queries, std::size_t n, std::size_t dim) {
  const std::uint64_t before = queries_.entered();
  for (std::size_t i = 0; i < n; ++i) queries_.note(queries + i * dim, dim);
  const std::uint64_t now = queries_.entered();
  constexpr std::uint64_t kLook = Calibrator::kMinSearches;
  if (now / kLook != before / kLook && recall_wanted_.load(std::memory_order_relaxed)) {
    tuning_job_->wake();
  }
}

// ---- when to measure ---------------------------------------------------------------------------

// That the data or the questions have changed so much that it is worth measuring unasked.
bool Core::calibration_due(const View& view) const {
  if (options_.read_only || !options_.background || failed_) return false;
  const Row linked = std::min(view.index->linked(), view.file_rows());
  if (linked < Calibrator::kMinRows) return false;
  // While rows are loaded in bulk the graph is not what it will be.
  if (view.file_rows() - linked > 1024 + linked / 8) return false;
  const Calibration& last = *view.calibration;
  if (!last.measured() || last.generation != view.generation) return true;
  if (static_cast<double>(linked) > kGrown * last.rows) return true;
  // With signs, which are not asked while many rows are hidden, walks are one finer then: that
  // will do.
  const std::uint32_t bytes = view.index->walk_code_bytes(view.hidden);
  if (last.code_bytes != bytes && last.code_bytes + 1 != bytes && !view.index->short_codes_lag()) {
    return true;
  }
  const auto hidden = static_cast<double>(view.hidden.count());
  if (std::abs(hidden - static_cast<double>(last.hidden)) > kHidden * linked) return true;
  const std::uint32_t wanted = wanted_hits_.load(std::memory_order_relaxed);
  for (std::size_t step = 0; step < std::size(kMeasuredHits); ++step) {
    if ((wanted >> step & 1) != 0 && !measures(last, step)) return true;
  }
  return false;
}

// That nothing has changed at all that a measurement goes by.
bool Core::calibration_is_fresh(const View& view) const {
  const Calibration& last = *view.calibration;
  const Row linked = std::min(view.index->linked(), view.file_rows());
  if (!last.measured() || last.generation != view.generation || last.rows != linked ||
      last.code_bytes != view.index->walk_code_bytes(view.hidden) ||
      last.hidden != view.hidden.count(0, linked)) {
    return false;
  }
  for (const std::uint32_t k : hits_to_measure(view)) {
    if (!measures(last, hits_step(k))) return false;
  }
  const bool enough = queries_.size() >= Calibrator::kMinSearches;
  return !enough || queries_.entered() == measured_upto_.load();
}

std::vector<std::uint32_t> Core::hits_to_measure(const View& view) const {
  const std::uint32_t wanted = wanted_hits_.load() | 1U << kUsualHits;
  std::vector<std::uint32_t> out;
  for (std::size_t step = 0; step < std::size(kMeasuredHits); ++step) {
    if ((wanted >> step & 1) != 0 || measures(*view.calibration, step)) {
      out.push_back(kMeasuredHits[step]);
    }
  }
  return out;
}

Tuning Core::tuning(const View& view) const {
  if (calibrating_) return Tuning::kMeasuring;
  const Calibration& last = *view.calibration;
  const Row linked = std::min(view.index->linked(), view.file_rows());
  if (linked < Calibrator::kMinRows) return Tuning::kNone;
  if (!last.measured()) return Tuning::kDefault;
  return calibration_due(view) ? Tuning::kDue : Tuning::kMeasured;
}

// ---- measuring ---------------------------------------------------------------------------------

std::unique_ptr<Calibrator> Core::make_calibrator(const View& view) {
  measured_upto_ = queries_.entered();
  return std::make_unique<Calibrator>(view, queries_.copy(view.dim), hits_to_measure(view),
                                      view.calibration->hardness);
}

// Shows it, and keeps it with the generation.
void Core::keep_calibration(const Calibrator& calibrator) {
  const auto made = std::make_shared<const Calibration>(calibrator.result());
  update_view([&](View& view) {
    if (view.generation == made->generation) view.calibration = made;
  });
  const std::lock_guard lock(write_mutex_);
  if (manifest_.generation != made->generation) return;
  check_writable();
  Manifest manifest = manifest_;
  manifest.calibration = encode_calibration(*made);
  replace_manifest(std::move(manifest));
}

// Whether the queries that were asked lately are worth measuring with, for who wants recall.
bool Core::questions_are_new(const View& view) const {
  if (!recall_wanted_ || options_.read_only || !options_.background || failed_) return false;
  if (view.index->linked() < Calibrator::kMinRows) return false;
  const Calibration& last = *view.calibration;
  const bool by_searches = last.measured() && last.curves.front().of_searches;
  const std::uint64_t fresh = queries_.entered() - measured_upto_.load();
  if (by_searches ? fresh < kNewQueries : fresh == 0) return false;
  if (queries_.size() < Calibrator::kMinSearches) return false;
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - measured_at_);
  const std::chrono::milliseconds pause((by_searches ? kSeldom : kSoon) * last.cost_us / 1000);
  if (since >= pause) return true;
  tuning_job_->wake_after(pause - since + std::chrono::milliseconds(1));
  return false;
}

// One piece, and a pause as long: searches on the other processors go first.
bool Core::background_calibrate() {
  const std::unique_lock lock(calibrator_mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return false;
  const std::shared_ptr<const View> view = this->view();
  try {
    if (calibrator_ && calibrator_->generation() != view->generation) calibrator_ = nullptr;
    calibrating_ = calibrator_ != nullptr;
    if (!calibrator_) {
      if (!calibration_due(*view) && !questions_are_new(*view)) return false;
      calibrator_ = make_calibrator(*view);
      calibrating_ = true;
    }
    const Calibrator::Progress progress = calibrator_->step(kPiece, 1, &tuning_stop_);
    if (progress.more) {
      tuning_job_->wake_after(kPiece);
      return false;
    }
    end_calibration(*view, progress.damaged);
    const std::lock_guard failures(failure_mutex_);
    tuning_error_.clear();
  } catch (const std::exception& error) {
    calibrator_ = nullptr;
    calibrating_ = false;
    const auto* const damage = dynamic_cast<const DerivedDamage*>(&error);
    if (damage != nullptr) drop_codes(*view, *damage);
    const Error* const known = dynamic_cast<const Error*>(&error);
    if (known != nullptr && known->code() == ErrorCode::kInterrupted) return false;
    const std::lock_guard failures(failure_mutex_);
    tuning_error_ = error.what();
  }
  return false;
}

void Core::end_calibration(const View& view, bool damaged) {
  const std::unique_ptr<Calibrator> done = std::move(calibrator_);
  calibrating_ = false;
  measured_at_ = std::chrono::steady_clock::now();
  if (damaged) {
    drop_graph(view);
  } else {
    keep_calibration(*done);
  }
}

// What optimize() does: measures at once, unless nothing has changed.
void Core::calibrate(std::size_t threads, Interrupt* interrupt) {
  const std::lock_guard lock(calibrator_mutex_);
  const std::shared_ptr<const View> view = this->view();
  const Row linked = std::min(view->index->linked(), view->file_rows());
  if (linked < Calibrator::kMinRows || calibration_is_fresh(*view)) return;
  if (threads == 0) threads = default_threads();
  try {
    calibrator_ = make_calibrator(*view);
    calibrating_ = true;
    Calibrator::Progress progress{.more = true};
    while (progress.more) {
      progress = calibrator_->step(kPieceAsked, threads, interrupt);
      check(&tuning_stop_);
    }
    end_calibration(*view, progress.damaged);
  } catch (const DerivedDamage& damage) {
    calibrator_ = nullptr;
    calibrating_ = false;
    drop_codes(*view, damage);
  } catch (...) {
    calibrator_ = nullptr;
    calibrating_ = false;
    throw;
  }
}

}  // namespace srvdb
