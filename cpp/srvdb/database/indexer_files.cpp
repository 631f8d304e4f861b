// Indexer: what it leaves on disk and takes over from there.

#include <algorithm>

#include "srvdb/base/events.h"
#include "srvdb/database/indexer.h"
#include "srvdb/index/graph_file.h"

namespace srvdb {
namespace {

constexpr const char* kGraphTemporaryName = "graph.hnsw.tmp";

const ManifestDerived* find_entry(const std::vector<ManifestDerived>& derived, std::uint8_t kind) {
  for (const ManifestDerived& entry : derived) {
    if (entry.kind == kind) return &entry;
  }
  return nullptr;
}

}  // namespace

std::shared_ptr<const IndexView> Indexer::load(const std::vector<ManifestDerived>& derived,
                                               Row rows) {
  const ManifestDerived* const codes = find_entry(derived, kUsualCodes.derived);
  const ManifestDerived* const shorter = find_entry(derived, kShortCodes.derived);
  const ManifestDerived* const graph = find_entry(derived, kDerivedGraph);
  try {
    if (codes != nullptr) load_codes(*codes, rows);
  } catch (const Error& error) {
    codes_ = nullptr;
    post_event(Event::Level::kWarning,
               std::string("codes are damaged and are being made again: ") + error.what());
  }
  try {
    if (shorter != nullptr) short_codes_.load(*shorter, rows);
  } catch (const Error& error) {
    post_event(Event::Level::kWarning,
               std::string("short codes are damaged and are being made again: ") + error.what());
  }
  try {
    if (graph != nullptr) load_graph(*graph, rows);
  } catch (const Error& error) {
    graph_ = nullptr;
    post_event(Event::Level::kWarning,
               std::string("the graph is damaged and is being built again: ") + error.what());
  }
  return index_view();
}

void Indexer::load_codes(const ManifestDerived& entry, Row rows) {
  std::unique_ptr<CodeFiles> codes =
      CodeFiles::open(files_, config_.directory, kUsualCodes, entry, rows, config_.uuid,
                      config_.generation, read_only_);
  if (!codes) return;
  const StridedHeader& header = codes->header();
  if (header.dimension != config_.dim || header.stride != code_stride(config_.dim)) {
    throw Error(ErrorCode::kCorruption, file_path(kUsualCodes.name) + ": expected dimension " +
                                            std::to_string(config_.dim) + ", got " +
                                            std::to_string(header.dimension));
  }
  quantizer_ = std::make_shared<const ScalarQuantizer>(
      ScalarQuantizer::from_bytes(as_byte_span(header.opaque), config_.dim, config_.graph.metric));
  trained_rows_ = codes->rows();
  codes_ = std::move(codes);
}

void Indexer::load_graph(const ManifestDerived& entry, Row rows) {
  if (!files_.exists(file_path(kGraphName))) return;
  const std::unique_ptr<File> file = files_.open(file_path(kGraphName), OpenMode::kRead);
  const std::uint64_t bytes = file->size();
  if (bytes < kGraphHeaderBytes) {
    throw Error(ErrorCode::kCorruption, file->path() + ": expected at least " +
                                            std::to_string(kGraphHeaderBytes) + " bytes, got " +
                                            std::to_string(bytes));
  }
  const std::shared_ptr<const Mapping> mapping = file->map(bytes);
  mapping->want_huge_pages();
  const ByteSpan image(mapping->data(), bytes);
  const GraphImageHeader header = read_graph_header(image, file->path());
  // A graph of another generation or of rows that were never published is of no use, yet no damage.
  if (header.lineage != entry.lineage || header.covers_rows > rows ||
      !(header.params == config_.graph)) {
    return;
  }
  // The image must stay mapped for as long as anybody searches it.
  std::unique_ptr<Graph> graph = open_graph_image(image, file->path());
  graph_ = std::shared_ptr<Graph>(graph.release(),
                                  [mapping](Graph* g) { std::unique_ptr<Graph> dying(g); });
  graph_lineage_ = header.lineage;
  saved_rows_ = header.covers_rows;
}

void Indexer::save(bool force) {
  const std::lock_guard lock(mutex_);
  if (read_only_) return;
  const Row published = host_.checkpointed_rows();  // nothing is linked meanwhile
  std::vector<ManifestDerived> entries;
  if (codes_) {
    entries.push_back(codes_->save(published));
    if (auto entry = short_codes_.save(published)) entries.push_back(std::move(*entry));
  }
  if (graph_) {
    const Row linked = graph_->linked();
    const Row saved = saved_rows_.load();
    if (!graph_->mapped() && linked <= published && linked > saved &&
        (force || (linked - saved) > linked / 20)) {
      if (graph_lineage_ == 0) graph_lineage_ = random_u64();
      write_graph(*graph_, graph_lineage_, config_.directory, nullptr);
      saved_rows_ = linked;
    }
    if (saved_rows_ > 0) {
      entries.push_back({kDerivedGraph, kGraphName, saved_rows_.load(), graph_lineage_});
    }
  }
  host_.store_derived(config_.generation, std::move(entries));
}

void Indexer::write_graph(const Graph& graph, std::uint64_t lineage, const std::string& directory,
                          Interrupt* interrupt) {
  const std::string temporary = directory + "/" + kGraphTemporaryName;
  {
    const std::unique_ptr<File> file = files_.open(temporary, OpenMode::kCreate);
    file->truncate(0);
    std::uint64_t offset = 0;
    std::string piece;
    const auto flush = [&](std::size_t bytes) {
      file->pwrite(piece.data(), bytes, offset);
      offset += bytes;
      piece.erase(0, bytes);
    };
    // In aligned pieces of a huge page, so that the page cache holds the file in huge pages.
    write_graph_image(graph, lineage, interrupt, [&](ByteSpan bytes) {
      piece.append(as_text(bytes));
      if (piece.size() >= kHugePageBytes) flush(piece.size() / kHugePageBytes * kHugePageBytes);
    });
    flush(piece.size());
    file->sync_data();
  }
  files_.rename(temporary, directory + "/" + kGraphName);
  files_.sync_dir(directory);
}

// ---- for the next generation -------------------------------------------------------------------

std::vector<ManifestDerived> Indexer::write_compacted(const std::string& directory,
                                                      std::uint64_t generation,
                                                      const RowMapping& mapping,
                                                      const CompactOptions& options) {
  // What the View shows does not change under the copying, whatever a builder does meanwhile.
  const std::shared_ptr<const View> view = host_.view();
  const IndexView& index = *view->index;
  if (view->generation != config_.generation || index.coded() == 0) return {};
  std::vector<ManifestDerived> out;
  try {
    out.push_back(CodeFiles::copy(files_, directory, kUsualCodes,
                                  codes_header(*index.quantizer, generation), *index.codes, mapping,
                                  options.interrupt));
    try {
      auto entry = short_codes_.copy(index, directory, generation, mapping, options.interrupt);
      if (entry) out.push_back(std::move(*entry));
    } catch (const DerivedDamage& damage) {
      drop_codes(damage);
    }
    if (index.linked() == 0) return out;
    const std::unique_ptr<Graph> graph =
        compact_graph(*index.graph, index.codes->view(), *index.quantizer, mapping, options);
    const std::uint64_t lineage = random_u64();
    write_graph(*graph, lineage, directory, options.interrupt);
    out.push_back({kDerivedGraph, kGraphName, graph->linked(), lineage});
  } catch (const DerivedDamage& damage) {
    drop_codes(damage);
    out.clear();  // the new generation makes its own; what was written of them is nobody's
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruption) throw;
    drop_graph(error.what());
  }
  return out;
}

}  // namespace srvdb
