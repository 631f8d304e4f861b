// The derived data of one generation: 8-bit codes, short ones where they pay, and the graph, kept
// in step with the rows.
//
// Rows are coded and linked in the background, piece by piece, as they reach vectors.bin. Nothing
// here is truth: what is missing, damaged or not yet made is scanned exactly, and made again. Codes
// are appended to codes.i8 as they come and count after a restart up to the length that the
// manifest records; the graph file is written whole by save().
//
// Threads: every method may be called from any thread; one mutex keeps builders apart, searches use
// the IndexView of their View and wait for nobody.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "srvdb/base/interrupt.h"
#include "srvdb/database/code_files.h"
#include "srvdb/database/index_view.h"
#include "srvdb/database/options.h"
#include "srvdb/database/short_code_maker.h"
#include "srvdb/database/view.h"
#include "srvdb/index/bulk_build.h"
#include "srvdb/index/graph.h"
#include "srvdb/index/graph_build.h"
#include "srvdb/index/graph_compact.h"
#include "srvdb/index/row_mapping.h"
#include "srvdb/quant/scalar_quantizer.h"
#include "srvdb/storage/manifest.h"

namespace srvdb {

inline constexpr const char* kGraphName = "graph.hnsw";

// What the indexer asks of its database.
class IndexHost {
 public:
  virtual ~IndexHost() = default;
  virtual std::shared_ptr<const View> view() const = 0;
  // Puts the index view into a new View; does nothing once another generation is shown.
  virtual void publish_index(std::uint64_t generation, std::shared_ptr<const IndexView> index) = 0;
  // The same of a changed copy of what is shown.
  virtual void change_index(std::uint64_t generation,
                            const std::function<void(IndexView&)>& change) = 0;
  // Makes everything published durable; how many rows that are. Derived files may cover those.
  virtual Row checkpointed_rows() = 0;
  // Puts the entries into the manifest when they differ from those in it; does nothing once it
  // names another generation.
  virtual void store_derived(std::uint64_t generation, std::vector<ManifestDerived> derived) = 0;
};

struct IndexConfig {
  std::string directory;  // of the generation
  Uuid uuid{};
  std::uint64_t generation = 0;
  std::size_t dim = 0;
  GraphParams graph;
  std::shared_ptr<SegmentSource> memory = nullptr;  // of links under construction
};

class Indexer {
 public:
  // Rows from which "auto" builds and uses a graph.
  static Row auto_rows(std::size_t dim) noexcept;

  Indexer(IndexHost& host, FileSystem& files, const IndexConfig& config, Mode mode, bool read_only);

  // Takes over what an earlier run saved, as far as it is sound and of this generation; what a View
  // is to show of it. `rows` are the published ones: nothing beyond them is believed. Reads headers
  // only. Before any other call.
  std::shared_ptr<const IndexView> load(const std::vector<ManifestDerived>& derived, Row rows);

  void set_mode(Mode mode) noexcept { mode_.store(mode, std::memory_order_relaxed); }
  // Whether step() would find something to do, as things stand.
  bool has_work();
  // One piece of background work; true when there is more. Does nothing while optimize() runs.
  bool step();
  // Makes step() and optimize() end soon, with what they have; for closing, and when another
  // generation has taken this one's place.
  void stop() noexcept { stopping_.stop(); }

  // Codes and links all rows of vectors.bin in the view, partial batches included.
  void optimize(std::size_t threads, const std::function<void(std::size_t, std::size_t)>& progress,
                Interrupt* interrupt);
  // Makes codes durable, writes the graph file when `force` or more than 5 % of the links are not
  // in it, and tells the manifest. Ends with a checkpoint in any case.
  void save(bool force);

  // True when so much is not saved that it is worth doing in between.
  bool worth_saving() const;

  // A search met damage: from now on no View shows the graph (the codes that are damaged); they are
  // made again in the background. Never waits for a builder.
  void drop_graph(const std::string& why);
  void drop_codes(const DerivedDamage& damage);

  std::uint64_t generation() const noexcept { return config_.generation; }
  // For compaction: writes into `directory`, of that next generation, the codes and the graph of
  // the rows that the mapping keeps, as far as the View has them, synced; what the manifest is to
  // say of them. Nothing is coded or linked anew that needs not be (graph_compact.h). This indexer
  // goes on meanwhile; the next generation's takes up from there. Damaged derived data are dropped,
  // here and there. Throws Error(kInterrupted) and what the file layer throws; then the directory
  // is of no use.
  std::vector<ManifestDerived> write_compacted(const std::string& directory,
                                               std::uint64_t generation, const RowMapping& mapping,
                                               const CompactOptions& options);

  Row saved_rows() const noexcept { return saved_rows_.load(std::memory_order_relaxed); }

 private:
  bool wants_codes(const View& view) const noexcept;
  bool wants_graph(const View& view) const noexcept;
  // Trains on rows 0, step, 2 step, … below `rows`.
  std::shared_ptr<const ScalarQuantizer> train(const View& view, Row rows, Row step);
  void start_codes(std::shared_ptr<const ScalarQuantizer> quantizer, Row trained_rows);
  void encode(const View& view, Row last, std::size_t threads, Interrupt* interrupt);
  void retrain(const View& view, Interrupt* interrupt);
  void shorten(const View& view, std::size_t threads, Interrupt* interrupt);
  void own_graph(Interrupt* interrupt);
  bool worth_bulk(Row rows) const noexcept;
  void build_graph(Row rows, std::size_t threads, Interrupt* interrupt);
  std::size_t scratch_bytes() const noexcept;
  bool short_codes_wanted(Row available, bool asked) const noexcept;
  Row coded() const noexcept { return codes_ ? codes_->rows() : 0; }
  Row linked() const noexcept { return graph_ ? graph_->linked() : 0; }
  void forget_damaged();
  std::shared_ptr<const IndexView> index_view();
  void publish();
  void load_codes(const ManifestDerived& entry, Row rows);
  void load_graph(const ManifestDerived& entry, Row rows);
  void write_graph(const Graph& graph, std::uint64_t lineage, const std::string& directory,
                   Interrupt* interrupt);
  StridedHeader codes_header(const ScalarQuantizer& quantizer, std::uint64_t generation) const;
  std::string file_path(const char* name) const { return config_.directory + "/" + name; }

  IndexHost& host_;
  FileSystem& files_;
  const IndexConfig config_;
  const bool read_only_;
  std::atomic<Mode> mode_;
  std::atomic<Row> saved_rows_{0};
  Interrupt stopping_;
  std::atomic<int> waiting_{0};  // calls of optimize() that wait for mutex_
  std::atomic<bool> graph_damaged_{false};
  std::atomic<bool> codes_damaged_{false};
  std::atomic<bool> short_codes_damaged_{false};

  std::mutex mutex_;  // guards what follows
  std::unique_ptr<CodeFiles> codes_;
  std::shared_ptr<const ScalarQuantizer> quantizer_;
  std::shared_ptr<Graph> graph_;
  std::unique_ptr<GraphBuilder> builder_;  // null while the graph is a mapped image
  MisfitCounter misfits_;
  ShortCodeMaker short_codes_;
  Row trained_rows_ = 0;             // rows there were when the quantiser was trained
  std::uint64_t graph_lineage_ = 0;  // of the graph; 0 before it was first saved
};

}  // namespace srvdb
