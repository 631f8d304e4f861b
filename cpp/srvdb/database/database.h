// The façade: one open database.
//
//   auto db = srvdb::Database::open("./vectors", {});
//   std::vector<std::string_view> ids = {"a", "b"};
//   db->add({ids, rows /* 2 × dim floats */, dim, {}});
//   for (const srvdb::Hit& hit : db->search(query, dim, {.k = 10}).hits) use(hit.id, hit.score);
//
// A Database is a handle; handles to one directory in one process share one core, and the directory
// is closed when the last of them closes. All methods are safe to call from any number of threads
// at one time: searches never wait for writers, writers take turns. After close(), or in the child
// of a fork, every method throws Error(kClosed). Vectors are float32, row-major, n × dim, unaligned
// is fine.
//
// A write is atomic: after it returns all of the batch is visible to every later search; when it
// throws nothing of it is (after a failed disk, kStorage says that the outcome is unknown and the
// database turns read-only). Errors are srvdb::Error, listed at each method beside kClosed,
// kReadOnly (writes) and kStorage, kCorruption (everything that reaches files).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/base/interrupt.h"
#include "srvdb/base/types.h"
#include "srvdb/database/options.h"

namespace srvdb {

class Core;
class View;

// One batch to be written. The memory stays the caller's and is not read after the call.
struct Batch {
  std::span<const std::string_view> ids;  // n ids, UTF-8, 1..kMaxIdBytes bytes
  const float* rows = nullptr;            // n × dim, finite
  std::size_t dim = 0;
  std::span<const std::string_view>
      metadata;  // n JSON objects as text ("" means {}), or empty: all {}
  std::size_t first_item =
      0;  // number of ids[0] in messages, for callers that cut up a larger input
  bool metadata_is_valid =
      false;  // the caller made the text itself: size is checked, syntax is not
};

struct SearchOptions {
  std::size_t k = 10;       // >= 1
  std::uint32_t ef = 0;     // 0: the handle's; more walks further and finds more
  bool exact = false;       // compare with every row, whatever the mode
  std::size_t threads = 1;  // search_batch only; 0: all processors
};

struct Hit {
  Row row = kNoRow;
  double score = 0;     // higher is better: cosine, inner product, or minus the squared distance
  std::string_view id;  // lives as long as the SearchResult's view
};

// Best first, equal scores in id order; fewer than k when fewer rows are live.
struct SearchResult {
  std::vector<Hit> hits;
  std::shared_ptr<const View> view;  // the state that was searched; keeps ids and rows readable
};

struct Record {
  std::string id;
  std::string metadata;          // JSON object text
  std::vector<float> embedding;  // empty unless asked for
};

// done and total are rows; called from the thread that called, between pieces of work.
using Progress = std::function<void(std::size_t done, std::size_t total)>;

class Database {
 public:
  // Opens a directory, or creates it. kInvalidInput, kDimension: an option that is out of range or
  // differs from what is stored; kLocked: another process writes it (names its pid); kVersion:
  // written by a version this one cannot read (nothing is touched); kNotFound: absent and not to be
  // created.
  static std::shared_ptr<Database> open(const std::string& path, const OpenOptions& options);
  ~Database();  // close(), with errors posted as events
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Writes. At most kMaxBatchRows rows and kMaxBatchBytes bytes a call (kInvalidInput beyond).
  // add: kDuplicateId when an id exists, or stands twice in the batch. Returns rows written.
  std::size_t add(const Batch& batch);
  // upsert: replaces what exists; of several equal ids in the batch the last wins. Returns rows
  // written.
  std::size_t upsert(const Batch& batch);
  // Removes for good; unknown ids are ignored. Returns how many it removed.
  std::size_t remove(std::span<const std::string_view> ids);
  // Rows that fit one atomic batch of this dimension, for callers that cut a large input into
  // chunks.
  std::size_t chunk_rows(std::size_t dim) const;

  // kInvalidInput: k == 0 or a component that is not finite; kDimension. An empty database answers
  // with no hits, whatever the dimension. search_batch answers in the order of its n queries;
  // kInterrupted when stopped.
  SearchResult search(const float* query, std::size_t dim, const SearchOptions& options) const;
  std::vector<SearchResult> search_batch(const float* queries, std::size_t n, std::size_t dim,
                                         const SearchOptions& options,
                                         Interrupt* interrupt = nullptr) const;

  bool contains(std::string_view id) const;
  // Metadata text, "{}" when none was given; nullopt when the id is unknown.
  std::optional<std::string> metadata(std::string_view id) const;
  // One entry for each id, in order; nullopt where unknown.
  std::vector<std::optional<Record>> records(std::span<const std::string_view> ids,
                                             bool with_embedding) const;
  // Up to `limit` records with id > after, in id order (byte order of UTF-8, which is code point
  // order).
  std::vector<Record> scroll(std::string_view after, std::size_t limit, bool with_metadata,
                             bool with_embedding) const;
  // Of a hit: metadata now (nullopt when the row has gone since), embedding as it was searched.
  std::optional<std::string> hit_metadata(const View& view, Row row) const;
  std::vector<float> hit_embedding(const View& view, Row row) const;
  std::size_t count() const;

  // Everything written so far is on disk and in the metadata store when it returns.
  void persist();
  // Waits for running calls, checkpoints, releases the directory when this is the last handle.
  // Twice is fine.
  void close();
  // Links every row that was there when it was called; saves codes and graph. threads 0: all
  // processors. kInterrupted leaves a valid, shorter graph.
  void optimize(std::size_t threads, const Progress& progress, Interrupt* interrupt);

  Stats stats() const;
  void set_mode(Mode mode);       // stored
  void set_ef(std::uint32_t ef);  // 1..1,000,000, for searches that name none; kInvalidInput

 private:
  class Call;
  Database(std::shared_ptr<Core> core, bool read_only);

  struct Handle;
  std::unique_ptr<Handle> handle_;
};

}  // namespace srvdb
