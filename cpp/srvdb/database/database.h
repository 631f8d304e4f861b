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
#include "srvdb/database/change_log.h"
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
  std::span<const std::int64_t> expires_at =
      {};  // n moments, milliseconds since the epoch (0: never), or empty: never
};

// What is to be changed of one row; at least one thing. The memory stays the caller's.
struct Update {
  std::string_view id;
  const float* row = nullptr;                     // dim floats, finite; null: stays
  std::optional<std::string_view> metadata = {};  // takes the place of all of it
  std::optional<std::int64_t> expires_at = {};    // milliseconds since the epoch, 0: never
};

struct SearchOptions {
  std::size_t k = 10;  // >= 1
  // More walks further and finds more. 0: the handle's, or k where that is more.
  std::uint32_t ef = 0;
  // (0, 1]: the mean share of the k best to be found; the width follows from what was measured of
  // this database (calibration.h), 1 is an exact search. 0: by ef. Not together with ef.
  double recall = 0;
  bool exact = false;              // compare with every row, whatever the mode
  bool include_deleted = false;    // soft-deleted rows too
  std::size_t threads = 1;         // search_batch only; 0: all processors
  std::string_view where = {};     // only rows that match this filter (cpp/FILTERS.md); "": all
  std::string_view group_by = {};  // search_groups only: the path of a field
  std::size_t group_size = 1;      // search_groups only: hits of a group at most; >= 1
  std::span<const std::string> among = {};  // search_groups only: these groups alone; none: all
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
  std::vector<std::string> groups;   // search_groups: of each hit, its group's value as JSON text
};

struct Record {
  std::string id;
  std::string metadata;          // JSON object text
  std::vector<float> embedding;  // empty unless asked for
  std::int64_t expires_at = 0;   // milliseconds since the epoch; 0: never
  bool deleted = false;          // soft-deleted
};

// A value that a metadata field has, and how many rows have it.
struct FacetValue {
  std::string value;  // JSON text
  std::size_t count = 0;
};

// How a filter is answered.
struct Explanation {
  struct Field {
    std::string path;
    bool indexed = false;  // by a column; else documents are read
  };
  std::vector<Field> fields;  // that the filter asks for
  std::size_t rows = 0;       // live ones
  std::size_t documents = 0;  // of them, that columns and ids leave in doubt: these are read
  std::size_t matching = 0;   // rows that match: an estimate when documents would have to be read
  bool exact = false;         // `matching` is no estimate
  bool cached = false;        // the rows that match now are known from before
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
  // add: kDuplicateId when an id exists (soft-deleted ones do), or stands twice in the batch.
  // Returns rows written.
  std::size_t add(const Batch& batch);
  // upsert: replaces what exists; of several equal ids in the batch the last wins. Returns rows
  // written.
  std::size_t upsert(const Batch& batch);
  // Removes for good, soft-deleted rows too; unknown ids are ignored. Returns how many it removed.
  std::size_t remove(std::span<const std::string_view> ids);
  // The same for the rows that match a filter (kFilter when it cannot be read) and are not
  // soft-deleted. More than kMaxBatchRows of them are removed in several changes, each wholly or
  // not at all; a row that stops matching before its turn stays. So for the other two, which leave
  // alone what is soft-deleted.
  std::size_t remove_where(std::string_view where);
  std::size_t soft_delete_where(std::string_view where);
  // Gives the rows the update's metadata, expiry, or both; its id and row are not used.
  std::size_t update_where(std::string_view where, const Update& update);
  // Changes rows that exist, all of them or none. A new vector is a new row with the old one's
  // metadata and expiry unless these are given; without one only the metadata store is written.
  // kNotFound lists the ids that are unknown or soft-deleted; kDimension. Returns rows changed.
  std::size_t update(std::span<const Update> updates, std::size_t dim);
  // Hides rows from searches and look-ups until they are restored; returns how many were hidden.
  // Ids that are unknown or soft-deleted already are ignored.
  std::size_t soft_delete(std::span<const std::string_view> ids);
  // Shows soft-deleted rows again; other ids are ignored. Returns how many came back.
  std::size_t restore(std::span<const std::string_view> ids);
  // Ids of the soft-deleted rows, in id order.
  std::vector<std::string> deleted_ids() const;
  // Rows that fit one atomic batch of this dimension, for callers that cut a large input into
  // chunks.
  std::size_t chunk_rows(std::size_t dim) const;

  // kInvalidInput: k == 0, recall and ef both, or a component that is not finite; kDimension. An
  // empty database answers with no hits, whatever the dimension. search_batch answers in the order
  // of its n queries, all of them at one moment; kInterrupted when stopped. `wheres`: a filter for
  // each query, or none: options.where for all. kFilter: one that cannot be read.
  SearchResult search(const float* query, std::size_t dim, const SearchOptions& options) const;
  std::vector<SearchResult> search_batch(const float* queries, std::size_t n, std::size_t dim,
                                         const SearchOptions& options,
                                         Interrupt* interrupt = nullptr,
                                         std::span<const std::string_view> wheres = {}) const;

  // For each of n queries the k best groups of rows, each with its group_size best rows; all of
  // them best first. Rows of a group have the same value at the path `group_by`, a scalar that is
  // their only one there and not in an array; other rows are in no group. Which groups are the best
  // goes by their best rows.
  // Each query is answered at a moment of its own. `wheres` as for search_batch; `among`: for each
  // query options.among, or none: that for all. kFilter, kInterrupted, and as search().
  std::vector<SearchResult> search_groups(
      const float* queries, std::size_t n, std::size_t dim, const SearchOptions& options,
      Interrupt* interrupt = nullptr, std::span<const std::string_view> wheres = {},
      std::span<const std::vector<std::string>> among = {}) const;

  bool contains(std::string_view id) const;
  // Metadata text, "{}" when none was given; nullopt when the id is unknown.
  std::optional<std::string> metadata(std::string_view id) const;
  // One entry for each id, in order; nullopt where unknown.
  // Soft-deleted rows only when asked for; nullopt where a row does not match the filter, too.
  std::vector<std::optional<Record>> records(std::span<const std::string_view> ids,
                                             bool with_embedding, bool include_deleted = false,
                                             std::string_view where = {},
                                             bool with_metadata = true) const;
  // Up to `limit` records with id > after, in id order (byte order of UTF-8, which is code point
  // order); only those that match the filter. kFilter.
  std::vector<Record> scroll(std::string_view after, std::size_t limit, bool with_metadata,
                             bool with_embedding, std::string_view where = {},
                             bool include_deleted = false) const;
  // How a filter would be answered now, and about how many rows match. kFilter, kInterrupted.
  Explanation explain(std::string_view where, Interrupt* interrupt = nullptr) const;
  // Of a hit: metadata now (nullopt when the row has gone since), embedding as it was searched.
  std::optional<std::string> hit_metadata(const View& view, Row row) const;
  std::vector<float> hit_embedding(const View& view, Row row) const;
  // Live rows, or those of them that match a filter. kFilter, kInterrupted.
  std::size_t count(std::string_view where = {}, Interrupt* interrupt = nullptr) const;
  // The values that live rows (that match) have at a path, the most frequent first, then in the
  // order of values (filter/value.h); at most `limit`. A row counts once for each of the values it
  // has. kFilter, kInterrupted.
  std::vector<FacetValue> facet(std::string_view field, std::string_view where, std::size_t limit,
                                Interrupt* interrupt = nullptr) const;
  // Entries of the change log in order of sequence: the first ones after `since`, or the newest.
  std::vector<LogEntry> change_log(const LogQuery& query) const;
  // Forgets the entries with a sequence below `before`; returns how many.
  std::uint64_t trim_change_log(Sequence before);
  // Sequence of the first entry made at or after the moment (microseconds since the epoch); one
  // beyond the newest when there is none.
  Sequence change_log_at(std::int64_t time_us) const;

  // Everything written so far is on disk and in the metadata store when it returns.
  void persist();
  // Waits for running calls, checkpoints, releases the directory when this is the last handle.
  // Twice is fine.
  void close();
  // Links every row that was there when it was called, measures recall where the data have changed
  // since it was measured, saves codes and graph. threads 0: all processors. kInterrupted leaves a
  // valid, shorter graph.
  void optimize(std::size_t threads, const Progress& progress, Interrupt* interrupt);

  // Drops deleted and replaced rows from the files, soft-deleted ones stay; returns the bytes given
  // back to the file system. Searches and writes go on meanwhile; writes wait for a moment at its
  // end. Needs room for a second copy of the rows that stay. kInterrupted changes nothing;
  // kCorruption when a row is damaged.
  std::int64_t compact(const Progress& progress, Interrupt* interrupt);

  Stats stats() const;
  Metric metric() const;
  void set_mode(Mode mode);  // stored
  // For searches that name neither: 1..1,000,000; (0, 1]. The later call counts. kInvalidInput.
  void set_ef(std::uint32_t ef);
  void set_recall(double recall);

  // Snapshots: named states that are kept in the directory and share unchanged bytes with it. Made
  // and restored while searches go on; one is opened as a database of its own, read-only, at
  // snapshot_path(). A name is 1..100 letters, digits, '.', '_' or '-', not beginning with '.'
  // (kInvalidInput); without one it is "snapshot_YYYYMMDD_HHMMSS" (UTC). kDuplicateId: taken.
  SnapshotInfo create_snapshot(const std::string& name = {});
  std::vector<SnapshotInfo> list_snapshots() const;  // oldest first
  void drop_snapshot(const std::string& name);       // kNotFound
  // Puts the snapshot's state in the place of the present one, wholly or not at all. Unless told
  // otherwise the present one becomes the snapshot "before_restore_YYYYMMDD_HHMMSS". Sequences and
  // change log go on. kNotFound.
  void restore_snapshot(const std::string& name, bool keep_current = true);
  std::string snapshot_path(const std::string& name) const;  // kNotFound, kInvalidInput

  // A full copy of the present state, without snapshots, made while the database is in use: a
  // directory (new or empty) that opens as a database, or one compressed file for
  // restore_backup(). kInvalidInput: the target exists.
  void backup(const std::string& path, bool compressed = false);
  // Unpacks a compressed backup to a new or empty directory. kCorruption: damaged, nothing is left.
  static void restore_backup(const std::string& file, const std::string& path,
                             FileSystem* files = nullptr);

  // Moves a read-only handle to the newest state a reader may see, and says which sequence it shows
  // now. Hits and views handed out before stay as they are. A handle that writes, or shares the
  // core of one that does, is always there.
  Sequence refresh();

 private:
  class Call;
  Database(std::shared_ptr<Core> core, bool read_only);

  struct Handle;
  std::unique_ptr<Handle> handle_;
};

}  // namespace srvdb
