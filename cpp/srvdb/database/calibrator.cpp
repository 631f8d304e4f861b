#include "srvdb/database/calibrator.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <ctime>
#include <utility>

#include "srvdb/base/clock.h"
#include "srvdb/base/scheduler.h"
#include "srvdb/database/indexer.h"
#include "srvdb/index/flat.h"
#include "srvdb/index/graph_search.h"

namespace srvdb {
namespace {

constexpr std::size_t kRowQueries = 384;
constexpr std::size_t kQueryBytes = std::size_t{4} << 20;  // of rows as queries, at most
constexpr std::size_t kFewRowQueries = 128;  // of a small database, and beside queries that were
constexpr Row kSmall = 20'000;               //   asked
constexpr Row kFirstPiece = 4096;
constexpr std::size_t kQueriesAtOnce = 16;  // a thread
constexpr double kEnough = 0.9985;          // a bound from which wider walks are of no interest
constexpr std::uint32_t kFirstWidth = 5;
constexpr double kStep = 1.4142135623730951;  // from width to width
constexpr std::uint32_t kMaxWidth = 2000;
constexpr std::size_t kScanBytes = std::size_t{64} << 20;
constexpr int kScans = 3;

double seconds_of_this_thread() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

constexpr double kUnreached = 1000;  // so many times as wide: then nothing but a scan will do

// How many times as wide a walk must be on curve `a` as on curve `b`.
double width_ratio(const RecallCurve& a, const RecallCurve& b, double recall) {
  Calibration one;
  one.curves = {a};
  const auto first = one.width_for(recall, a.k);
  one.curves = {b};
  const auto second = one.width_for(recall, b.k);
  if (!second) return 0;
  return first ? static_cast<double>(*first) / *second : kUnreached;
}

}  // namespace

Calibrator::Calibrator(const View& view, std::vector<float> asked, std::vector<std::uint32_t> ks,
                       float hardness)
    : view_(view), ks_(std::move(ks)) {
  limit_ = std::min(view.index->linked(), view.file_rows());
  // Only what is linked matters; append buffers are used again when nobody holds them.
  view_.buffer = nullptr;
  view_.rows = limit_;
  const std::size_t dim = view.dim;
  const std::size_t n_asked = asked.size() / dim;
  const bool few = limit_ < kSmall || n_asked >= kMinSearches;
  const std::size_t fit = std::max<std::size_t>(32, kQueryBytes / (dim * sizeof(float)));
  const std::size_t wanted =
      std::min<std::size_t>({few ? kFewRowQueries : kRowQueries, fit, limit_});
  const RowsView rows = view_.rows_view();
  for (std::size_t i = 0; i < wanted; ++i) {
    const auto row = static_cast<Row>((2 * i + 1) * std::size_t{limit_} / (2 * wanted));
    if (view_.hidden.test(row)) continue;
    rows.verify(row);
    own_rows_.push_back(row);
    queries_.insert(queries_.end(), rows.row(row), rows.row(row) + dim);
  }
  samples_.push_back({0, own_rows_.size(), true});
  if (n_asked >= kMinSearches) {
    queries_.insert(queries_.end(), asked.begin(), asked.end());
    samples_.push_back({own_rows_.size(), own_rows_.size() + n_asked, false});
  }
  truth_.resize(queries_.size() / dim);
  piece_rows_ = std::min(limit_, kFirstPiece);
  out_.generation = view_.generation;
  out_.rows = limit_;
  out_.code_bytes = view_.index->walk_code_bytes(view_.hidden);
  out_.hidden = static_cast<Row>(view_.hidden.count(0, limit_));
  out_.hardness = std::max(1.0F, hardness);
  if (own_rows_.empty()) phase_ = Phase::kDone;
}

Calibrator::Progress Calibrator::step(std::chrono::milliseconds budget, std::size_t threads,
                                      Interrupt* interrupt) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point started = Clock::now();
  const Clock::time_point end = started + budget;
  do {
    check(interrupt);
    switch (phase_) {
      case Phase::kTruth:
        find_truth(budget, threads, interrupt);
        break;
      case Phase::kWalks:
        if (!walk_some(threads, interrupt)) return {.more = false, .damaged = true};
        break;
      case Phase::kScans:
        time_scans(interrupt);
        break;
      case Phase::kDone:
        break;
    }
  } while (phase_ != Phase::kDone && Clock::now() < end);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - started);
  out_.cost_us += static_cast<std::uint64_t>(took.count());
  return {.more = phase_ != Phase::kDone, .damaged = false};
}

// ---- true answers ------------------------------------------------------------------------------

void Calibrator::find_truth(std::chrono::milliseconds budget, std::size_t threads,
                            Interrupt* interrupt) {
  FlatOptions options;
  options.k = ks_.back() + 1;  // the row itself may be among them
  options.first = next_row_;
  options.last = next_row_ + std::min(piece_rows_, limit_ - next_row_);
  options.excluded = view_.hidden.empty() ? nullptr : &view_.hidden;
  options.threads = threads;
  options.interrupt = interrupt;
  const double before = seconds_of_this_thread();
  const auto found = flat_search_batch(view_.rows_view(), view_.metric, queries_.data(),
                                       truth_.size(), with_codes(*view_.index, options));
  const double took =
      (seconds_of_this_thread() - before) * static_cast<double>(std::max<std::size_t>(threads, 1));
  for (std::size_t q = 0; q < truth_.size(); ++q) {
    truth_[q] = merge_best(std::move(truth_[q]), found[q], options.k);
  }
  const Row rows = options.last - options.first;
  const auto compared = static_cast<double>(rows) * static_cast<double>(truth_.size());
  out_.batch_scan_ns = static_cast<float>(took * 1e9 / compared);  // of the last piece
  if (rows == piece_rows_ && took > 0) {
    const double scale = 1e-3 * static_cast<double>(budget.count()) / took;
    piece_rows_ = static_cast<Row>(
        std::clamp(piece_rows_ * std::clamp(scale, 0.5, 2.0), 256.0, 16'777'216.0));
  }
  next_row_ = options.last;
  if (next_row_ == limit_) end_of_truth();
}

// A walk may be narrower than the answer is long, unless graph_search() would raise its width.
std::uint32_t Calibrator::first_width(std::uint32_t k) const noexcept {
  const Graph& graph = *view_.index->graph;
  const bool raised = graph.dimension().of(graph.linked()) == 0;
  return std::max(kFirstWidth, raised ? k : k / 2);
}

void Calibrator::end_of_truth() {
  for (std::size_t q = 0; q < own_rows_.size(); ++q) {
    std::erase_if(truth_[q], [&](const ScoredRow& hit) { return hit.row == own_rows_[q]; });
  }
  phase_ = Phase::kWalks;
  curve_ = {.k = ks_.front(), .queries = 0, .of_searches = false, .points = {}};
  ef_ = first_width(ks_.front());
}

// ---- walks -------------------------------------------------------------------------------------

// Share of the k best rows, ties counted.
double Calibrator::recall_of(std::size_t query, std::span<const ScoredRow> found) const {
  const std::size_t k = std::min<std::size_t>(curve_.k, truth_[query].size());
  if (k == 0) return 1;
  const double limit = truth_[query][k - 1].score;
  std::size_t right = 0;
  for (const ScoredRow& hit : found) {
    const bool own = has_row(query) && hit.row == own_rows_[query];
    right += !own && hit.score >= limit ? 1u : 0u;
  }
  return static_cast<double>(std::min(right, k)) / static_cast<double>(k);
}

// A few queries more at the present width. False when the graph is damaged.
bool Calibrator::walk_some(std::size_t threads, Interrupt* interrupt) {
  const Sample& sample = samples_[sample_at_];
  const std::size_t first = sample.first + query_at_;
  const std::size_t n =
      std::min(kQueriesAtOnce * std::max<std::size_t>(threads, 1), sample.last - first);
  const IndexView& index = *view_.index;
  const RowsView rows = view_.rows_view();
  std::vector<Tally> tallies(n);
  std::atomic<bool> damaged{false};
  parallel_for(n, 4, threads, interrupt, [&](std::size_t i, std::size_t) {
    const std::size_t q = first + i;
    GraphSearchOptions options;
    options.k = curve_.k;
    options.ef = ef_;
    options.limit = limit_;
    options.excluded = view_.hidden.empty() ? nullptr : &view_.hidden;
    options.short_codes = index.shorter();
    if (sample.rows) options.barred = own_rows_[q];
    const double before = seconds_of_this_thread();
    const GraphResult result =
        graph_search(*index.graph, rows, index.codes->view(), *index.quantizer,
                     queries_.data() + q * view_.dim, options);
    tallies[i].ns = (seconds_of_this_thread() - before) * 1e9;
    tallies[i].recall = recall_of(q, result.rows);
    if (result.end == WalkEnd::kDamaged) damaged = true;
  });
  if (damaged) return false;
  for (const Tally& one : tallies) {
    tally_.recall += one.recall;
    tally_.squares += one.recall * one.recall;
    tally_.ns += one.ns;
  }
  tally_.queries += n;
  query_at_ += n;
  if (sample.first + query_at_ == sample.last) end_of_width();
  return true;
}

void Calibrator::end_of_width() {
  const auto n = static_cast<double>(tally_.queries);
  const double mean = tally_.recall / n;
  const double variance = std::max(0.0, tally_.squares / n - mean * mean);
  const double margin = std::max(1.645 * std::sqrt(variance / n), 3 / (n * curve_.k));
  CurvePoint point;
  point.ef = ef_;
  point.recall = static_cast<float>(mean);
  point.bound = static_cast<float>(std::max(0.0, mean - margin));
  point.walk_ns = static_cast<float>(tally_.ns / n);
  if (!curve_.points.empty()) point.bound = std::max(point.bound, curve_.points.back().bound);
  curve_.points.push_back(point);
  tally_ = {};
  query_at_ = 0;
  const bool enough = point.bound >= std::min(kEnough, 1 - 6 / (n * curve_.k));
  const std::uint32_t widest = std::max(kMaxWidth, limit_ / 32);
  if (enough || ef_ >= widest || ef_ >= limit_) return end_of_curve();
  ef_ = std::min({static_cast<std::uint32_t>(std::lround(ef_ * kStep)), widest, limit_});
}

void Calibrator::end_of_curve() {
  const Sample& sample = samples_[sample_at_];
  curve_.queries = static_cast<std::uint32_t>(sample.last - sample.first);
  curve_.of_searches = !sample.rows;
  // A first pass over cold pages is slower than a wider one after it.
  for (std::size_t i = curve_.points.size() - 1; i-- > 0;) {
    curve_.points[i].walk_ns = std::min(curve_.points[i].walk_ns, curve_.points[i + 1].walk_ns);
  }
  (sample.rows ? of_rows_ : of_searches_).push_back(std::move(curve_));
  if (++k_at_ == ks_.size()) {
    k_at_ = 0;
    if (++sample_at_ == samples_.size()) {
      phase_ = Phase::kScans;
      return;
    }
  }
  curve_ = {.k = ks_[k_at_], .queries = 0, .of_searches = false, .points = {}};
  ef_ = first_width(ks_[k_at_]);
}

// ---- scans -------------------------------------------------------------------------------------

void Calibrator::time_scans(Interrupt* interrupt) {
  FlatOptions options;
  options.k = ks_.front();
  options.last =
      static_cast<Row>(std::min<std::size_t>(limit_, kScanBytes / (view_.dim * sizeof(float)) + 1));
  options.excluded = view_.hidden.empty() ? nullptr : &view_.hidden;
  options.interrupt = interrupt;
  std::vector<double> took;
  for (int i = 0; i < kScans; ++i) {
    const std::size_t q = static_cast<std::size_t>(i) * truth_.size() / kScans;
    const double before = seconds_of_this_thread();
    flat_search(view_.rows_view(), view_.metric, queries_.data() + q * view_.dim,
                with_codes(*view_.index, options));
    took.push_back(seconds_of_this_thread() - before);
  }
  std::sort(took.begin(), took.end());
  out_.scan_ns = static_cast<float>(took[kScans / 2] * 1e9 / options.last);
  phase_ = Phase::kDone;
}

// ---- the result --------------------------------------------------------------------------------

Calibration Calibrator::result() const {
  Calibration out = out_;
  out.time_us = now_us();
  out.curves = of_searches_.empty() ? of_rows_ : of_searches_;
  if (!of_searches_.empty()) {
    double hardness = 1;
    for (const double recall : {0.9, 0.95, 0.99}) {
      hardness = std::max(hardness, width_ratio(of_searches_.front(), of_rows_.front(), recall));
    }
    out.hardness = static_cast<float>(hardness);
  }
  if (const auto costs = costs_for_tests()) {
    out.scan_ns = costs->scan_ns;
    out.batch_scan_ns = costs->batch_scan_ns;
    for (RecallCurve& curve : out.curves) {
      for (CurvePoint& point : curve.points) {
        point.walk_ns = costs->walk_ns_at_100 * static_cast<float>(point.ef) / 100;
      }
    }
  }
  return out;
}

}  // namespace srvdb
