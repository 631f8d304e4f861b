// metadata.db: LMDB behind an interface that checks every value. The only home of <lmdb.h>.
//
// Its pages lie in the file and their checksums beside it in metadata.crc (lmdb_file.h): a page
// that is not what was written is Error(kCorruption) when it is first touched, by any call.
//
// Holds id -> row, row -> metadata text, row -> moment of expiry, chunks of the bits of gone and of
// soft-deleted rows, columns of metadata, the change log, and the state record that says up to
// where the log is applied and how many rows are published: one transaction moves all of it at
// once. Every value carries a CRC-32C over its tree, key and value; a wrong one is
// Error(kCorruption). Of a block of a column it is worked out when a commit's is first read.
//
// Threads: update() from one thread at a time; readers from any thread. The map grows only while no
// read transaction is open in the process: a growing writer waits for open ones and holds back new
// ones. So keep a ReadTxn short, and never begin one or call update() in a thread that holds one.
// Processes: one writer (see lock.h), any number opened read-only.
// Errors: kStorage (with errno), kCorruption, kVersion. After an update failed to write
// or sync for another reason than no room or no memory, the store is poisoned: each later update
// throws. Reading goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "srvdb/base/bytes.h"
#include "srvdb/base/types.h"

namespace srvdb {

class FileSystem;

inline constexpr std::size_t kChunkBytes = 8192;  // bits of 65,536 rows

// Sets of rows kept as chunks of bits.
enum class RowSet : std::uint8_t {
  kGone,  // retired for good
  kSoft,  // soft-deleted, may be restored
};

struct MetaState {
  Sequence applied_sequence = 0;
  Row published_rows = 0;
  std::uint64_t id_bytes = 0;    // published length of ids.bin
  std::uint64_t live_count = 0;  // neither gone nor soft-deleted
  // Where the log ended when all of it was applied: its last segment and that one's bytes. As long
  // as they are the same nothing of it need be read. 0: not known.
  Sequence log_segment = 0;
  std::uint64_t log_bytes = 0;
  bool operator==(const MetaState&) const = default;
};
inline constexpr std::string_view kMetaStateKey = "state";      // in tree state
inline constexpr std::string_view kColumnStateKey = "columns";  // likewise
// Nothing when the bytes cannot be a state.
std::optional<MetaState> decode_meta_state(ByteSpan bytes) noexcept;

struct IdRow {
  std::string_view id;
  Row row = kNoRow;
};

// One block of a column: the values of one field of metadata in one chunk of rows. What its bytes
// mean is the database layer's.
struct ColumnKey {
  std::uint32_t field = 0;
  std::uint32_t chunk = 0;
  bool operator==(const ColumnKey&) const = default;
};

// A row and the moment from which nobody sees it, in milliseconds since the epoch.
struct DueRow {
  std::int64_t expires_at = 0;
  Row row = kNoRow;
};

struct MetaStoreOptions {
  bool read_only = false;
  bool create = false;
  std::uint64_t initial_map_bytes = 16u << 20;  // doubled as needed
  bool immutable = false;  // read-only, and nobody ever writes the file: no reader table is needed
  FileSystem* files = nullptr;  // the operating system's when null; must outlive it
};

struct MetaStoreStats {
  std::uint64_t map_bytes = 0;
  std::uint64_t used_bytes = 0;  // up to the last used page
  std::uint64_t last_transaction = 0;
  std::uint64_t oldest_reader = 0;  // transaction it is pinned at; 0 when there is none
  std::int64_t oldest_reader_pid = 0;
  std::uint32_t readers = 0;  // slots in use, all processes
};

class MetaStore {
 public:
  class WriteTxn;
  class ReadTxn;

  // `path` is the database file, page_checksum_path(path) its checksums, <path>-lock its reader
  // table.
  MetaStore(const std::string& path, const MetaStoreOptions& options);
  ~MetaStore();  // every transaction must be over
  MetaStore(const MetaStore&) = delete;
  MetaStore& operator=(const MetaStore&) = delete;

  // Runs `change` in a write transaction and commits: durable when it returns. When the map is full
  // it grows and `change` runs again from the start, so it must not keep partial results. An
  // exception of `change` aborts and is rethrown.
  void update(const std::function<void(WriteTxn&)>& change);

  // A snapshot of the last commit; move-only, may change threads.
  ReadTxn read();

  // One-shot conveniences, each in its own snapshot.
  MetaState state();
  std::optional<Row> find_id(std::string_view id);
  std::optional<std::string> metadata(Row row);

  // Makes the map several times as large as the file, so that long read transactions do not keep it
  // from growing. Waits for open ones.
  void reserve_map();

  MetaStoreStats stats();
  // Makes a compact copy of what the transaction sees, `path` and its checksums, both synced (the
  // directory is not). Nothing may be there before. On an error the parts are removed again.
  void copy_to(const ReadTxn& txn, const std::string& path);
  // Looks at every page that the transaction can reach, also at those checked before. Throws
  // Error(kCorruption) with file and offset.
  void check_pages(const ReadTxn& txn);
  // In a forked child: forgets the store without touching the parent's locks or files.
  void abandon_in_child() noexcept;

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

class MetaStore::ReadTxn {
 public:
  ReadTxn(ReadTxn&&) noexcept;
  ReadTxn& operator=(ReadTxn&&) = delete;
  ~ReadTxn();

  MetaState state() const;  // all zero in a new store
  std::optional<std::uint64_t> position(std::string_view source) const;
  std::optional<Row> find_id(std::string_view id) const;
  // Calls found(index, row) for each of the ids, sorted ascending by bytes, that exists. Ids that
  // fall into one gap of the store cost one look-up together.
  void find_existing(std::span<const std::string_view> sorted_ids,
                     const std::function<void(std::size_t index, Row row)>& found) const;
  // Text kept for the row, or nothing (which means {}). Points into the map: valid while the
  // transaction lives.
  std::optional<std::string_view> metadata(Row row) const;
  // Up to `limit` ids above `after` (from the first one when empty) in byte order. Views as above.
  std::vector<IdRow> scan_ids(std::string_view after, std::size_t limit) const;
  std::uint64_t id_count() const;
  // Calls chunk(number, bits) for every stored chunk: kChunkBytes, bit r % 65536 of chunk r /
  // 65536.
  void for_each_chunk(RowSet set,
                      const std::function<void(std::uint32_t number, ByteSpan bits)>& chunk) const;
  // Moment of expiry; nothing for a row that stays.
  std::optional<std::int64_t> expires_at(Row row) const;
  // The `limit` rows that expire next after `after` (by time, then row), in this order.
  std::vector<DueRow> next_due(const DueRow& after, std::size_t limit) const;
  // In row order; of rows in [first, end).
  void for_each_metadata(const std::function<void(Row row, std::string_view text)>& found,
                         Row first = 0, Row end = kNoRow) const;
  void for_each_expiry(const std::function<void(Row row, std::int64_t expires_at)>& found) const;
  // A block of a column, or nothing. Points into the map.
  std::optional<ByteSpan> column(ColumnKey key) const;
  // Blocks in order of field, then chunk.
  void for_each_column(const std::function<void(ColumnKey key, ByteSpan block)>& found) const;
  // What is kept of each field that has a column, in order of its number.
  void for_each_field(const std::function<void(std::uint32_t field, ByteSpan bytes)>& found) const;
  // What is kept of the columns as a whole. Points into the map.
  std::optional<ByteSpan> column_state() const;
  // Outside positions, in order of their source.
  void for_each_position(
      const std::function<void(std::string_view source, std::uint64_t position)>& found) const;
  // Entries of the change log with sequence > after, in order, until entry() returns false. The
  // bytes are the database layer's.
  void for_each_log(Sequence after,
                    const std::function<bool(Sequence sequence, ByteSpan bytes)>& entry) const;
  // Entries with sequence < before, newest first.
  void for_each_log_back(Sequence before,
                         const std::function<bool(Sequence sequence, ByteSpan bytes)>& entry) const;

 private:
  friend class MetaStore;
  struct Handle;
  explicit ReadTxn(std::unique_ptr<Handle> handle);
  std::unique_ptr<Handle> handle_;
};

class MetaStore::WriteTxn {
 public:
  WriteTxn(const WriteTxn&) = delete;
  WriteTxn& operator=(const WriteTxn&) = delete;

  // Stores or replaces. Fast for ids that come sorted by bytes.
  void put_ids(std::span<const IdRow> ids);
  void put_id(std::string_view id, Row row);
  bool erase_id(std::string_view id);  // false when it was not there
  std::optional<Row> find_id(std::string_view id);
  // An empty text or "{}" erases. Fast for rows that come in ascending order.
  void put_metadata(Row row, std::string_view text);
  bool erase_metadata(Row row);
  void put_chunk(RowSet set, std::uint32_t number, ByteSpan bits);  // kChunkBytes
  // Stores, replaces, or (with nothing) erases the row's moment of expiry; not before the epoch.
  void set_expiry(Row row, std::optional<std::int64_t> expires_at);
  // What is there points into the map, until the transaction's next change.
  std::optional<ByteSpan> column(ColumnKey key);
  void put_column(ColumnKey key, ByteSpan block);
  bool erase_column(ColumnKey key);
  void put_field(std::uint32_t field, ByteSpan bytes);
  void set_column_state(ByteSpan bytes);
  // Erases all columns and fields; the state of the columns stays.
  void clear_columns();
  // Fast for sequences that ascend.
  void put_log(Sequence sequence, ByteSpan bytes);
  // Removes the entries with a sequence below; how many there were.
  std::uint64_t erase_log_before(Sequence sequence);
  void set_state(const MetaState& state);
  void set_position(std::string_view source, std::uint64_t position);

 private:
  friend class MetaStore;
  struct Handle;
  explicit WriteTxn(Handle& handle) : handle_(handle) {}
  Handle& handle_;
};

}  // namespace srvdb
