#include "srvdb/database/indexer.h"

#include <algorithm>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/base/events.h"
#include "srvdb/base/large_memory.h"
#include "srvdb/base/scheduler.h"
#include "srvdb/index/code_bounds.h"
#include "srvdb/index/graph_file.h"

namespace srvdb {
namespace {

constexpr std::size_t kEncodePieceBytes = 2 * kHugePageBytes;  // codes made in one piece, about
constexpr Row kEncodeBlock = 512;                              // rows one thread codes at a time
constexpr std::size_t kAutoComponents = std::size_t{2} << 20;  // "auto" links from here on

void copy_words(const CodeNotes::Words& from, CodeNotes::Words& to) noexcept {
  for (std::size_t i = 0; i < from.size(); ++i) {
    to[i].store(from[i].load(std::memory_order_relaxed), std::memory_order_relaxed);
  }
}

}  // namespace

CodeNotes::CodeNotes(Row rows)
    : checked(std::max<std::size_t>(1024, rows / 64 + 1)),
      blocks(bound_blocks(static_cast<Row>(checked.size() * 64))) {}

std::shared_ptr<CodeNotes> make_code_notes(Row rows) {
  return std::make_shared<CodeNotes>(rows < kNoRow / 2 ? 2 * rows : kNoRow);
}

// ---- codes as searches see them ----------------------------------------------------------------

void CodePart::check(Row row) const {
  if (is_checked(row)) return;
  // Rows that were coded since the opening are known to the file.
  if (!codes_.is_verified(row) && !codes_.row_is_good(row)) {
    try {
      codes_.throw_damaged(row);
    } catch (const Error& error) {
      throw DerivedDamage(error.what());
    }
  }
  notes_->checked[row / 64].fetch_or(std::uint64_t{1} << (row % 64), std::memory_order_relaxed);
}

void CodePart::verify(Row first, Row last) const {
  for (Row row = first; row < last; ++row) check(row);
}

void CodePart::verify_each(const Row* rows, std::size_t n) const {
  for (std::size_t i = 0; i < n; ++i) codes_.prefetch_fix(rows[i]);
  for (std::size_t i = 0; i < n; ++i) check(rows[i]);
}

CodesView CodePart::view() const noexcept {
  CodesView out;
  out.base = codes_.base();
  out.stride = codes_.stride();
  out.rows = codes_.rows();
  out.verifier = this;
  out.checked = notes_->checked.data();
  out.errors = codes_.values();
  out.error_step = sizeof(RowFix) / sizeof(float);
  out.blocks = notes_->blocks.data();
  return out;
}

// ---- building ----------------------------------------------------------------------------------

Row Indexer::auto_rows(std::size_t dim) noexcept {
  return static_cast<Row>(
      std::max<std::size_t>(kTrainRows, kAutoComponents / std::max<std::size_t>(dim, 1)));
}

Indexer::Indexer(IndexHost& host, FileSystem& files, const IndexConfig& config, Mode mode,
                 bool read_only)
    : host_(host), files_(files), config_(config), read_only_(read_only), mode_(mode) {}

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
  if (graph_damaged_ || codes_damaged_) return true;
  const std::shared_ptr<const View> view = host_.view();
  if (!wants_codes(*view) || view->generation != config_.generation) return false;
  if (!code_files_) return view->file_rows() >= kTrainRows;
  return coded_ < view->file_rows() ||
         (wants_graph(*view) && (worth_bulk(coded_) || next_batch_end(linked()) <= coded_));
}

bool Indexer::step() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || read_only_ || stopping_.stopped()) return false;
  forget_damaged();
  const std::shared_ptr<const View> view = host_.view();
  const Row available = view->file_rows();
  if (!wants_codes(*view) || view->generation != config_.generation) return false;
  if (!code_files_) {
    if (available < kTrainRows) return false;
    // The first rows: then the same input gives the same codes however it was cut into batches.
    start_codes(train(*view, static_cast<Row>(kTrainRows), 1), static_cast<Row>(kTrainRows));
  }
  if (coded_ < available) {
    encode(*view, piece_end(available), 1, &stopping_);
    if (misfits_.retrain() && coded_ >= 2 * trained_rows_) retrain(*view, &stopping_);
    publish();
  }
  bool more_links = false;
  if (wants_graph(*view) && worth_bulk(coded_)) {
    // optimize() has more threads: the piece gives way to it.
    Interrupt give_way([this] { return stopping_.stopped() || waiting_ != 0; });
    try {
      build_graph(coded_, 1, &give_way);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kInterrupted) throw;
      return false;
    }
  }
  // A mapped graph stays mapped until there is something to link.
  if (wants_graph(*view) && next_batch_end(linked()) <= coded_) {
    own_graph(&stopping_);
    LinkOptions options;
    options.last = coded_;
    options.max_batches = 1;
    options.interrupt = &stopping_;
    const Row now =
        builder_->link(CodePart(code_files_->view(coded_), notes_).view(), *quantizer_, options);
    more_links = next_batch_end(now) <= coded_;
  }
  return more_links || coded_ < available;
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
  if (!code_files_) {
    const Row rows = std::min<Row>(target, kTrainRows);
    start_codes(train(*view, rows, 1), rows);
  }
  while (coded_ < target) {
    encode(*view, piece_end(target), threads, interrupt);
    check(interrupt);
  }
  if (misfits_.retrain() && coded_ >= 2 * trained_rows_) retrain(*view, interrupt);
  publish();
  if (!wants_graph(*view) || linked() >= target) return;
  if (worth_bulk(target)) {
    if (progress) progress(linked(), target);
    Interrupt either([this, interrupt] {
      return stopping_.stopped() || (interrupt != nullptr && interrupt->poll());
    });
    build_graph(target, threads, &either);
  }
  own_graph(interrupt);
  LinkOptions options;
  options.last = target;
  options.partial = true;
  options.max_batches = 1;
  options.threads = threads;
  options.interrupt = interrupt;
  const CodePart codes(code_files_->view(coded_), notes_);
  while (linked() < target) {
    if (progress) progress(linked(), target);
    builder_->link(codes.view(), *quantizer_, options);
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

void Indexer::start_codes(std::shared_ptr<const ScalarQuantizer> quantizer, Row trained_rows) {
  code_files_ = nullptr;
  for (const char* name : {kCodesName, kCodesFixName}) {
    // Searches may still read the old file: it is unlinked, never cut.
    if (files_.exists(file_path(name))) files_.remove(file_path(name));
  }
  StridedHeader header;
  header.kind = StridedKind::kCodes;
  header.uuid = config_.uuid;
  header.generation = config_.generation;
  header.lineage = random_u64();
  header.dimension = static_cast<std::uint32_t>(config_.dim);
  header.stride = static_cast<std::uint32_t>(quantizer->stride());
  header.opaque = quantizer->to_bytes();
  code_files_ = create_code_files(files_, config_.directory, header);
  quantizer_ = std::move(quantizer);
  notes_ = make_code_notes(0);
  lineage_ = header.lineage;
  coded_ = 0;
  saved_codes_ = 0;
  trained_rows_ = trained_rows;
  misfits_ = {};
}

Row code_piece_end(Row first, Row rows, std::size_t stride) noexcept {
  const std::size_t bytes = kHeaderPageBytes + first * stride + kEncodePieceBytes;
  const std::size_t end = (bytes / kHugePageBytes * kHugePageBytes - kHeaderPageBytes) / stride;
  return static_cast<Row>(std::min<std::size_t>(rows, std::max<std::size_t>(end, first + 1)));
}

Row Indexer::piece_end(Row rows) const noexcept {
  return code_piece_end(coded_, rows, quantizer_->stride());
}

void Indexer::encode(const View& view, Row last, std::size_t threads, Interrupt* interrupt) {
  const RowsView stored = view.rows_view();
  const Row first = coded_;
  const std::size_t stride = quantizer_->stride();
  const std::size_t n = last - first;
  LargeVector<std::uint8_t> codes(n * stride);
  LargeVector<RowFix> fixes(n);
  const std::size_t blocks = (n + kEncodeBlock - 1) / kEncodeBlock;
  parallel_for(blocks, 1, threads, interrupt, [&](std::size_t block, std::size_t) {
    const Row from = first + static_cast<Row>(block) * kEncodeBlock;
    const Row to = std::min(last, from + kEncodeBlock);
    stored.verify(from, to);
    for (Row r = from; r < to; ++r) {
      std::uint8_t* code = codes.data() + (r - first) * stride;
      const double norm =
          config_.graph.metric == Metric::kCosine ? check_row(stored.row(r), config_.dim).norm : 0;
      const float error = quantizer_->encode(stored.row(r), norm, code);
      fixes[r - first] = make_fix({code, stride}, error);
    }
  });
  code_files_->write(first, {codes.data(), n * stride}, fixes);
  for (const RowFix& fix : fixes) misfits_.add(quantizer_->misfit(fix.value));
  coded_ = last;
  if (last / 64 >= notes_->checked.size()) {
    const std::shared_ptr<CodeNotes> larger = make_code_notes(last);
    copy_words(notes_->checked, larger->checked);
    copy_words(notes_->blocks, larger->blocks);
    notes_ = larger;
  }
}

// New codes from a sample of all rows, because those that came later do not fit the first ones.
// Links stay: they were chosen on the older, coarser picture and remain good neighbours.
void Indexer::retrain(const View& view, Interrupt* interrupt) {
  const Row rows = coded_;
  start_codes(train(view, rows, std::max<Row>(1, rows / static_cast<Row>(kTrainRows))), rows);
  while (coded_ < rows) encode(view, piece_end(rows), 1, interrupt);
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
  const std::size_t scratch =
      config_.memory ? config_.memory->scratch_bytes() : static_cast<std::size_t>(-1);
  return rows <= scratch / kBulkBytesPerRow &&
         bulk_pays(config_.graph, quantizer_->stride(), linked(), rows);
}

void Indexer::build_graph(Row rows, std::size_t threads, Interrupt* interrupt) {
  const CodePart codes(code_files_->view(coded_), notes_);
  std::shared_ptr<Graph> graph =
      bulk_build(config_.graph, codes.view(), rows,
                 {.threads = threads, .interrupt = interrupt, .source = config_.memory});
  builder_ = nullptr;
  graph_ = std::move(graph);
  saved_rows_ = 0;
  own_graph(interrupt);
}

std::shared_ptr<const IndexView> Indexer::index_view() {
  auto out = std::make_shared<IndexView>();
  if (code_files_) {
    out->codes = std::make_shared<const CodePart>(code_files_->view(coded_), notes_);
    out->quantizer = quantizer_;
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
  auto index = std::make_shared<IndexView>(*host_.view()->index);
  index->graph = nullptr;
  host_.publish_index(config_.generation, std::move(index));
}

void Indexer::drop_codes(const std::string& why) {
  if (codes_damaged_.exchange(true)) return;
  post_event(Event::Level::kWarning, "codes are damaged and are being made again: " + why);
  host_.publish_index(config_.generation, std::make_shared<const IndexView>());
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
  if (codes_damaged_.exchange(false)) {
    code_files_ = nullptr;
    quantizer_ = nullptr;
    coded_ = 0;
    publish();
  }
}

bool Indexer::worth_saving() const {
  const std::shared_ptr<const IndexView> index = host_.view()->index;
  if (!index->graph || index->graph->mapped()) return false;
  const Row linked = index->linked();
  const Row saved = saved_rows();
  return linked > saved && linked - saved > linked / 4;
}

}  // namespace srvdb
