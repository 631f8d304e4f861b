#include "srvdb/database/indexer.h"

#include <algorithm>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/base/events.h"
#include "srvdb/index/graph_file.h"

namespace srvdb {
namespace {

constexpr std::size_t kAutoComponents = std::size_t{2} << 20;  // "auto" links from here on

}  // namespace

// ---- building ----------------------------------------------------------------------------------

Row Indexer::auto_rows(std::size_t dim) noexcept {
  return static_cast<Row>(
      std::max<std::size_t>(kTrainRows, kAutoComponents / std::max<std::size_t>(dim, 1)));
}

Indexer::Indexer(IndexHost& host, FileSystem& files, const IndexConfig& config, Mode mode,
                 bool read_only)
    : host_(host),
      files_(files),
      config_(config),
      read_only_(read_only),
      mode_(mode),
      short_codes_(files, {.directory = config.directory,
                           .uuid = config.uuid,
                           .generation = config.generation,
                           .dim = config.dim,
                           .metric = config.graph.metric,
                           .read_only = read_only}) {}

bool Indexer::wants_codes(const View& view) const noexcept {
  const Mode mode = mode_.load(std::memory_order_relaxed);
  // Exact scans are faster by codes, where there are enough rows for it to matter.
  return mode == Mode::kSq8 || wants_graph(view) ||
         (mode == Mode::kFlat && view.rows >= auto_rows(view.dim));
}

bool Indexer::wants_graph(const View& view) const noexcept {
  const Mode mode = mode_.load(std::memory_order_relaxed);
  return mode == Mode::kHnsw || (mode == Mode::kAuto && view.rows >= auto_rows(view.dim));
}

bool Indexer::has_work() {
  const std::lock_guard lock(mutex_);
  if (read_only_ || stopping_.stopped()) return false;
  if (graph_damaged_ || codes_damaged_ || short_codes_damaged_) return true;
  const std::shared_ptr<const View> view = host_.view();
  if (!wants_codes(*view) || view->generation != config_.generation) return false;
  if (!codes_) return view->file_rows() >= kTrainRows;
  return coded() < view->file_rows() ||
         (wants_graph(*view) && (worth_bulk(coded()) || next_batch_end(linked()) <= coded() ||
                                 short_codes_wanted(view->file_rows(), false)));
}

// Whether shorten() would find something to do. Nothing is decided while rows still get codes.
bool Indexer::short_codes_wanted(Row available, bool asked) const noexcept {
  return short_codes_.lags(coded()) ||
         (coded() == available && short_codes_.due(coded(), asked, scratch_bytes()));
}

// Bytes that building may take.
std::size_t Indexer::scratch_bytes() const noexcept {
  return config_.memory ? config_.memory->scratch_bytes() : static_cast<std::size_t>(-1);
}

bool Indexer::step() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || read_only_ || stopping_.stopped()) return false;
  forget_damaged();
  const std::shared_ptr<const View> view = host_.view();
  const Row available = view->file_rows();
  if (!wants_codes(*view) || view->generation != config_.generation) return false;
  if (!codes_) {
    if (available < kTrainRows) return false;
    // The first rows: then the same input gives the same codes however it was cut into batches.
    start_codes(train(*view, static_cast<Row>(kTrainRows), 1), static_cast<Row>(kTrainRows));
  }
  if (coded() < available) {
    encode(*view, codes_->piece_end(available), 1, &stopping_);
    if (misfits_.retrain() && coded() >= 2 * trained_rows_) retrain(*view, &stopping_);
    publish();
  }
  bool more_links = false;
  if (wants_graph(*view)) {
    // optimize() has more threads: what takes long gives way to it.
    Interrupt give_way([this] { return stopping_.stopped() || waiting_ != 0; });
    try {
      if (short_codes_wanted(available, false)) {
        shorten(*view, 1, &give_way);
        if (short_codes_wanted(available, false)) return true;
      }
      if (worth_bulk(coded())) build_graph(coded(), 1, &give_way);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kInterrupted) throw;
      return false;
    }
  }
  // A mapped graph stays mapped until there is something to link.
  if (wants_graph(*view) && next_batch_end(linked()) <= coded()) {
    own_graph(&stopping_);
    LinkOptions options;
    options.last = coded();
    options.max_batches = 1;
    options.interrupt = &stopping_;
    const Row now = builder_->link(codes_->part()->view(), *quantizer_, options);
    more_links = next_batch_end(now) <= coded();
  }
  return more_links || coded() < available;
}

void Indexer::optimize(std::size_t threads,
                       const std::function<void(std::size_t, std::size_t)>& progress,
                       Interrupt* interrupt) {
  ++waiting_;
  const std::lock_guard lock(mutex_);
  --waiting_;
  forget_damaged();
  const std::shared_ptr<const View> view = host_.view();
  const Row target = view->file_rows();
  if (read_only_ || target == 0 || !wants_codes(*view)) return;
  if (view->generation != config_.generation) check(&stopping_);
  if (!codes_) {
    const Row rows = std::min<Row>(target, kTrainRows);
    start_codes(train(*view, rows, 1), rows);
  }
  while (coded() < target) {
    encode(*view, codes_->piece_end(target), threads, interrupt);
    check(interrupt);
  }
  if (misfits_.retrain() && coded() >= 2 * trained_rows_) retrain(*view, interrupt);
  publish();
  if (!wants_graph(*view)) return;
  Interrupt either([this, interrupt] {
    return stopping_.stopped() || (interrupt != nullptr && interrupt->poll());
  });
  while (short_codes_wanted(target, true)) shorten(*view, threads, &either);
  if (linked() >= target) return;
  if (worth_bulk(target)) {
    if (progress) progress(linked(), target);
    build_graph(target, threads, &either);
  }
  own_graph(interrupt);
  LinkOptions options;
  options.last = target;
  options.partial = true;
  options.max_batches = 1;
  options.threads = threads;
  options.interrupt = interrupt;
  const std::shared_ptr<const CodePart> codes = codes_->part();
  while (linked() < target) {
    if (progress) progress(linked(), target);
    builder_->link(codes->view(), *quantizer_, options);
    check(interrupt);
    check(&stopping_);
  }
  if (progress) progress(target, target);
}

std::shared_ptr<const ScalarQuantizer> Indexer::train(const View& view, Row rows, Row step) {
  const RowsView stored = view.rows_view();
  std::vector<const float*> sample;
  for (Row r = 0; r < rows; r += step) {
    stored.verify(r);
    sample.push_back(stored.row(r));
  }
  return std::make_shared<const ScalarQuantizer>(
      ScalarQuantizer::train(sample, config_.dim, config_.graph.metric));
}

StridedHeader Indexer::codes_header(const ScalarQuantizer& quantizer,
                                    std::uint64_t generation) const {
  StridedHeader header;
  header.kind = StridedKind::kCodes;
  header.uuid = config_.uuid;
  header.generation = generation;
  header.lineage = random_u64();
  header.dimension = static_cast<std::uint32_t>(config_.dim);
  header.stride = static_cast<std::uint32_t>(quantizer.stride());
  header.opaque = quantizer.to_bytes();
  return header;
}

void Indexer::start_codes(std::shared_ptr<const ScalarQuantizer> quantizer, Row trained_rows) {
  codes_ = nullptr;  // whatever comes of it, the files will be others
  quantizer_ = nullptr;
  codes_ = CodeFiles::create(files_, config_.directory, kUsualCodes,
                             codes_header(*quantizer, config_.generation));
  quantizer_ = std::move(quantizer);
  trained_rows_ = trained_rows;
  misfits_ = {};
}

void Indexer::encode(const View& view, Row last, std::size_t threads, Interrupt* interrupt) {
  const bool by_norm = config_.graph.metric == Metric::kCosine;
  const LargeVector<RowFix> fixes = codes_->append(
      view, last, threads, interrupt, [&](const float* row, std::uint8_t* code, std::size_t) {
        return quantizer_->encode(row, by_norm ? check_row(row, config_.dim).norm : 0, code);
      });
  for (const RowFix& fix : fixes) misfits_.add(quantizer_->misfit(fix.value));
}

// Makes a piece of the short codes that lag, or else decides about them anew. They are never
// missed: whatever fails is told, and the rest goes on without them.
void Indexer::shorten(const View& view, std::size_t threads, Interrupt* interrupt) {
  try {
    if (!short_codes_.lags(coded())) {
      const std::shared_ptr<const CodePart> codes = codes_->part();
      short_codes_.decide(view, codes->view(), *quantizer_, coded(), scratch_bytes(), interrupt);
    } else {
      short_codes_.follow(view, coded(), threads, interrupt);
    }
  } catch (const DerivedDamage&) {
    throw;  // of the usual codes
  } catch (const std::exception& error) {
    const Error* const known = dynamic_cast<const Error*>(&error);
    if (known != nullptr && known->code() == ErrorCode::kInterrupted) throw;
    short_codes_.give_up(coded());
    post_event(Event::Level::kWarning, std::string("there are no short codes: ") + error.what());
  }
  publish();
}

// New codes from a sample of all rows, because those that came later do not fit the first ones.
// Links stay: they were chosen on the older, coarser picture and remain good neighbours.
void Indexer::retrain(const View& view, Interrupt* interrupt) {
  const Row rows = coded();
  start_codes(train(view, rows, std::max<Row>(1, rows / static_cast<Row>(kTrainRows))), rows);
  while (coded() < rows) encode(view, codes_->piece_end(rows), 1, interrupt);
}

void Indexer::own_graph(Interrupt* interrupt) {
  if (!graph_) {
    graph_ = std::make_shared<Graph>(config_.graph, config_.memory);
  } else if (graph_->mapped()) {
    try {
      graph_ = copy_graph(*graph_, interrupt, config_.memory);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorruption) throw;
      post_event(Event::Level::kWarning,
                 std::string("the graph is damaged and is being built again: ") + error.what());
      graph_ = std::make_shared<Graph>(config_.graph, config_.memory);
    }
    saved_rows_ = std::min(saved_rows_.load(), graph_->linked());
  } else if (builder_) {
    return;
  }
  builder_ = std::make_unique<GraphBuilder>(*graph_);
  publish();
}

// A graph over the first rows from nothing, in place of the one there is.
// Whether to build the graph anew in bulk: it saves time, and there may be memory for it.
bool Indexer::worth_bulk(Row rows) const noexcept {
  return rows <= scratch_bytes() / kBulkBytesPerRow &&
         bulk_pays(config_.graph, quantizer_->stride(), linked(), rows);
}

void Indexer::build_graph(Row rows, std::size_t threads, Interrupt* interrupt) {
  const std::shared_ptr<const CodePart> codes = codes_->part();
  std::shared_ptr<Graph> graph =
      bulk_build(config_.graph, codes->view(), rows,
                 {.threads = threads, .interrupt = interrupt, .source = config_.memory});
  builder_ = nullptr;
  graph_ = std::move(graph);
  saved_rows_ = 0;
  own_graph(interrupt);
}

std::shared_ptr<const IndexView> Indexer::index_view() {
  auto out = std::make_shared<IndexView>();
  if (codes_) {
    out->codes = codes_->part();
    out->quantizer = quantizer_;
    if (!short_codes_damaged_) short_codes_.show(*out);
  }
  out->graph = graph_;
  return out;
}

void Indexer::publish() {
  host_.publish_index(config_.generation, index_view());
}

// ---- damage ------------------------------------------------------------------------------------

void Indexer::drop_graph(const std::string& why) {
  if (graph_damaged_.exchange(true)) return;
  post_event(Event::Level::kWarning, "the graph is damaged and is being built again: " + why);
  host_.change_index(config_.generation, [](IndexView& index) { index.graph = nullptr; });
}

void Indexer::drop_codes(const DerivedDamage& damage) {
  std::atomic<bool>& flag = damage.of_short_codes ? short_codes_damaged_ : codes_damaged_;
  if (flag.exchange(true)) return;
  post_event(Event::Level::kWarning, std::string(damage.of_short_codes ? "short codes" : "codes") +
                                         " are damaged and are being made again: " + damage.what());
  host_.change_index(config_.generation, [&](IndexView& index) {
    if (!damage.of_short_codes) index = {};
    index.short_codes = nullptr;
    index.short_coder = nullptr;
    index.short_decided = 0;
  });
}

// What drop_graph() and drop_codes() asked for, once no builder is at work.
void Indexer::forget_damaged() {
  if (graph_damaged_.exchange(false)) {
    if (graph_ && graph_->mapped()) {  // an owned one has been checked and comes back
      graph_ = nullptr;
      saved_rows_ = 0;
    }
    publish();
  }
  if (short_codes_damaged_.exchange(false)) {
    short_codes_.forget();
    publish();
  }
  if (codes_damaged_.exchange(false)) {
    codes_ = nullptr;
    quantizer_ = nullptr;
    publish();
  }
}

bool Indexer::worth_saving() const {
  if (short_codes_.unsaved()) return true;
  const std::shared_ptr<const IndexView> index = host_.view()->index;
  if (!index->graph || index->graph->mapped()) return false;
  const Row linked = index->linked();
  const Row saved = saved_rows();
  return linked > saved && linked - saved > linked / 4;
}

}  // namespace srvdb
