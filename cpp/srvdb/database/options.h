// What can be asked of a database when it is opened, and what it reports of itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/base/types.h"
#include "srvdb/distance/metric.h"

namespace srvdb {

class FileSystem;
struct Calibration;  // calibration.h

// How rows are searched: exactly; over a graph; exactly over 8-bit codes with the best rescored in
// float32; or exactly while that is the faster and over the graph from then on. Stored with the
// database.
enum class Mode : std::uint8_t { kFlat = 0, kHnsw = 1, kSq8 = 2, kAuto = 3 };

// Where an acknowledged write is: in this process's memory; with the operating system (survives the
// end of the process); on disk (survives loss of power). Not stored: a choice of each opening.
enum class Durability : std::uint8_t { kMemory = 0, kOs = 1, kDisk = 2 };

const char* mode_name(Mode mode) noexcept;
const char* durability_name(Durability durability) noexcept;
// Throw Error(kInvalidInput) that lists the names.
Mode parse_mode(std::string_view name);
Durability parse_durability(std::string_view name);

inline constexpr std::uint32_t kDefaultM = 16;
inline constexpr std::uint32_t kDefaultEfConstruction = 200;
inline constexpr std::uint32_t kDefaultEf = 100;
inline constexpr std::uint32_t kMaxEf = 1'000'000;

// Which fields of metadata have columns (cpp/FORMAT.md), so that filters on them need not read
// documents.
struct IndexedFields {
  bool all = true;                 // each as it first appears, up to 64
  std::vector<std::string> paths;  // not all: these, keys joined by dots; the order does not matter
};

// An absent value means "as stored"; for a new database the default in the comment. A present value
// that differs from the stored one is Error(kInvalidInput) naming both (kDimension for the
// dimension).
struct OpenOptions {
  std::optional<std::size_t> dimension;  // 1..kMaxDimension; default: that of the first batch
  std::optional<Metric> metric;          // default: cosine
  std::optional<Mode> mode;              // default: auto
  std::optional<std::uint32_t> m;        // 2..128, half of a row's links at most; default 16
  std::optional<std::uint32_t> ef_construction;  // 1..100,000; default 200
  // Default: all. One that differs from what is stored takes its place, and columns are made anew.
  std::optional<IndexedFields> indexed_fields;
  std::uint32_t ef = kDefaultEf;  // 1..1,000,000; not stored
  double recall = 0;              // (0, 1]: in the place of ef; 0: by ef; not stored
  Durability durability = Durability::kOs;
  bool read_only = false;
  bool create = true;                   // when false, a missing database is kNotFound
  std::size_t buffer_bytes = 8u << 20;  // append buffer: rows waiting to be written; >= 4096
  std::size_t flush_rows = 1000;        // append buffer: rows; >= 1
  // Anonymous memory that the database may take, in bytes, see memory_budget.h; 0: no limit.
  std::uint64_t memory_limit = 0;
  std::size_t filter_cache_bytes = 16u << 20;  // of answers of filters that are kept; 0: none
  bool prefault = false;     // bring codes and links into memory, in the background, on opening
  bool lock_memory = false;  // keep them there; opening fails where that is not permitted
  bool background = true;    // link rows, and checkpoint when idle, unasked
  std::int64_t snapshot_every_ms = 0;  // automatic snapshots so far apart; 0: none
  std::size_t snapshot_keep = 24;      // automatic snapshots that stay, the newest; >= 1
  // Compaction unasked: when this share of the rows is gone and takes at least so many bytes; 0:
  // not.
  double auto_compact_share = 0.5;
  std::uint64_t auto_compact_bytes = 64u << 20;
  FileSystem* files = nullptr;  // nullptr: the operating system's; tests replace it
};

// A named state that was kept.
struct SnapshotInfo {
  std::string name;
  std::int64_t time_us = 0;     // when it was made, since the epoch (UTC)
  std::uint64_t vectors = 0;    // live rows
  std::uint64_t deleted = 0;    // rows that it holds besides
  std::uint64_t own_bytes = 0;  // of files that nothing else shares: dropping it frees them
  bool automatic = false;
};

// How far the measuring of recall (calibration.h) is.
enum class Tuning : std::uint8_t {
  kNone,       // there is no graph, or one so small that it does not matter: nothing to measure
  kDefault,    // not measured yet: search(recall=) takes cautious widths
  kMeasuring,  // being measured; until then the last measurement counts, or the cautious widths
  kMeasured,
  kDue,  // the data have changed since: it will be measured again
};
const char* tuning_name(Tuning tuning) noexcept;

// Bytes of this process that the database takes beyond the page cache, and its working files.
struct MemoryParts {
  std::uint64_t limit = 0;          // 0: none
  std::uint64_t links = 0;          // graph under construction
  std::uint64_t working_files = 0;  // the same beyond its share of the limit: mapped from disk
  std::uint64_t buffers = 0;        // append buffers
  std::uint64_t pending = 0;        // ids and metadata that wait for a checkpoint
  std::uint64_t queries = 0;        // that were asked, for measuring recall
  std::uint64_t filters = 0;        // answers of filters
};

// A consistent look at one moment; plain values.
struct Stats {
  std::string path;
  std::size_t dimension = 0;  // 0: not known before the first batch
  Metric metric = Metric::kCosine;
  Mode mode = Mode::kAuto;
  Mode searching = Mode::kFlat;  // what a search does now: kFlat, kSq8 or kHnsw
  Durability durability = Durability::kOs;
  bool read_only = false;
  std::uint32_t m = 0, ef_construction = 0, ef = 0;
  std::optional<std::vector<std::string>> indexed_fields;  // nothing: each as it first appears
  double recall = 0;  // that searches are to reach which name neither recall nor ef; 0: by ef
  Tuning tuning = Tuning::kNone;
  std::shared_ptr<const Calibration>
      calibration;  // never null; of another generation: carried over
  std::size_t buffer_bytes = 0, flush_rows = 0;
  std::uint64_t generation = 0;
  Sequence sequence = 0;             // last acknowledged batch
  Sequence checkpointed = 0;         // last batch that the metadata store holds
  std::size_t rows = 0;              // of this generation, all of them
  std::size_t live = 0;              // rows a search can return
  std::size_t soft_deleted = 0;      // rows that can be restored
  std::size_t gone = 0;              // rows that only take up room until compaction
  std::size_t buffered_rows = 0;     // in the append buffer, not yet in vectors.bin
  std::size_t coded_rows = 0;        // rows that have an 8-bit code
  std::size_t short_coded_rows = 0;  // rows that have a short one, by which graphs are walked
  std::size_t linked_rows = 0;       // rows in the graph; the others are scanned
  std::size_t graph_saved_rows = 0;  // rows that the graph file on disk covers
  std::uint64_t wal_bytes = 0;
  std::uint64_t disk_bytes = 0;          // all files of the directory, the log included
  std::uint64_t graph_memory_bytes = 0;  // links held in memory of this process (0: mapped)
  MemoryParts memory;
  std::string simd;                                     // instruction set in use
  std::optional<std::uint64_t> oldest_reader_sequence;  // pinned by a reader process, if any
  std::string background_error;                         // why background work stopped, or empty
};

}  // namespace srvdb
