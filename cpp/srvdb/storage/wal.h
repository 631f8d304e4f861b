// The write-ahead log: segments of checksummed records, numbered without a gap.
//
// Segment file: <directory>/<20 digits>.log, where the digits are the sequence of its first record.
// The layout of segments and records stands in cpp/FORMAT.md; payloads are the caller's bytes
// (record.h).
//
// What "durable" means here: `durable_sequence()` is the highest sequence known to have reached the
// disk, and each record carries its value at the time of writing (durable_upto). A reader that
// meets a bad record at sequence s and finds a later valid one with durable_upto >= s knows that
// bytes once safe have changed: Error(kCorruption). Otherwise the bad record is the torn tail of a
// crash.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "srvdb/base/bytes.h"
#include "srvdb/base/types.h"
#include "srvdb/storage/file.h"

namespace srvdb {

inline constexpr std::size_t kWalSegmentHeaderBytes = 64;
inline constexpr std::size_t kWalRecordHeaderBytes = 32;
inline constexpr std::size_t kWalRecordOverheadBytes = kWalRecordHeaderBytes + 4;  // and the CRC
inline constexpr std::size_t kMaxWalPayloadBytes = 2 * kMaxBatchBytes;

struct WalRecordHeader;  // wal_format.h
class WalTail;           // wal_tail.h

enum class WalBuffering : std::uint8_t {
  kNone,     // one write call a record: survives the process
  kShared,   // kept in the tail (wal_tail.h) until flush(), sync() or a full tail: survives the
             // process too; the same as kNone where the file system cannot
  kProcess,  // kept in memory until flush(), sync() or a full buffer: lost with the process
};

// A segment by its first sequence (0: none), and the bytes it has.
struct WalPlace {
  Sequence first = 0;
  std::uint64_t bytes = 0;
  bool operator==(const WalPlace&) const = default;
};

struct WalOptions {
  WalBuffering buffering = WalBuffering::kNone;
  std::size_t buffer_bytes = 1u << 20;  // kProcess: flushed when it holds more
};

// Appends records. Writes nothing, not even a segment, before the first append.
//
// Threads: append, flush, rotate and remove_through are called under the caller's write lock; sync
// and the getters from any thread at any time. Concurrent syncs share one fdatasync.
//
// Failures: no room (ENOSPC, EDQUOT) refuses the one call, cuts the file back to the last whole
// record and leaves the writer usable; the record has no sequence. Any other failure of a write,
// and every failure of a sync, poisons the writer: its outcome is unknown, and each later call
// throws Error(kStorage).
class WalWriter {
 public:
  // `next` is the sequence of the first record to come: one above everything applied or in the log.
  // Older segments in the directory are known to remove_through and live_bytes.
  WalWriter(FileSystem& files, std::string directory, Sequence next, WalOptions options = {});
  ~WalWriter();  // flushes what is buffered if it can; syncs nothing
  WalWriter(const WalWriter&) = delete;
  WalWriter& operator=(const WalWriter&) = delete;

  // Appends one record and returns its sequence. More than kMaxWalPayloadBytes is
  // Error(kInvalidInput).
  Sequence append(std::uint8_t type, std::span<const ByteSpan> payload);
  // Hands everything buffered to the operating system.
  void flush();
  // Returns when every record up to `upto` (at most last_sequence()) is on disk.
  void sync(Sequence upto);
  // The next record starts a new segment; returns the last one until then.
  WalPlace rotate();
  // Removes segments whose records are all <= upto, never the current one. Not synced: a segment
  // that comes back after a crash does no harm.
  void remove_through(Sequence upto);
  // Changes the buffering; flushes first.
  void set_buffering(WalBuffering buffering);

  Sequence last_sequence() const noexcept { return last_.load(std::memory_order_acquire); }
  Sequence durable_sequence() const noexcept { return durable_.load(std::memory_order_acquire); }
  // Records up to here are durable by other means (a checkpoint holds them): sync need not wait for
  // them.
  void mark_durable(Sequence upto) noexcept;
  std::uint64_t segment_bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }
  std::uint64_t live_bytes() const;  // all segments
  bool poisoned() const noexcept { return poisoned_.load(std::memory_order_acquire); }

 private:
  struct Segment;
  void check_usable() const;
  void open_segment();
  void flush_locked();
  std::size_t room() const noexcept;
  void begin_tail();
  void put_buffered(const WalRecordHeader& header, std::span<const ByteSpan> payload,
                    std::size_t total);
  void write_at_end(std::span<const ByteSpan> parts, std::size_t bytes);
  void write_record(const WalRecordHeader& header, std::span<const ByteSpan> payload,
                    std::size_t total);
  void drop_durable_segments();
  void remove_or_poison(const std::string& path) noexcept;
  void poison(const std::string& why, int os_error) noexcept;

  FileSystem& files_;
  const std::string directory_;
  WalOptions options_;

  mutable std::mutex mutex_;        // guards everything below but the atomics
  std::condition_variable synced_;  // a sync has ended
  bool syncing_ = false;
  std::string record_;  // room for the record being written
  std::string buffer_;  // records not yet handed to the operating system, or in the tail alone
  std::unique_ptr<WalTail> tail_;
  bool tail_begun_ = false;  // it continues the current segment from its end on
  std::shared_ptr<Segment> current_;
  std::deque<std::shared_ptr<Segment>> unsynced_;  // oldest first; the current one last
  std::deque<WalPlace> old_;                       // segments before the current one, oldest first
  std::string poison_why_;
  int poison_errno_ = 0;

  std::atomic<Sequence> last_;
  std::atomic<Sequence> durable_{0};
  std::atomic<std::uint64_t> bytes_{0};  // of the current segment, buffered ones included
  std::atomic<bool> poisoned_{false};
};

struct WalRecord {
  Sequence sequence = 0;
  std::uint8_t type = 0;
  ByteSpan payload;  // valid until the reader's next call
};

// Where the valid log ends; made by WalReader.
struct WalEnd {
  Sequence last_sequence = 0;  // of the last valid record, or `after` when there is none above it
  bool torn = false;           // something follows the end that must be cut before writing
  std::string segment;         // file the tail begins in; empty when it begins with `drop`
  std::uint64_t offset = 0;    // bytes of `segment` to keep
  std::vector<std::string> drop;  // later segments, to be removed whole, in order
  std::uint64_t lost_bytes = 0;   // behind the end, in all
  std::uint64_t lost_records =
      0;               // valid ones behind the end: whole, but after a hole that was never synced
  std::string reason;  // what was wrong at the end, with file and offset
};

// Reads the records above `after` in sequence order. Holds one record in memory. Writes nothing.
class WalReader {
 public:
  WalReader(FileSystem& files, std::string directory, Sequence after);
  ~WalReader();

  // The next record, or nothing at the end of the valid log. Throws Error(kCorruption) by the rule
  // above.
  std::optional<WalRecord> next();
  // The record just returned turns out to be bad (its direct rows fail their checksum): the
  // rule is applied to it. Throws Error(kCorruption), or the log ends before that record.
  void reject(const std::string& why);
  // After next() returned nothing, or reject() returned.
  const WalEnd& end() const noexcept { return end_; }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  WalEnd end_;
};

// Makes a torn log whole: removes what follows the end (last segment first), truncates, syncs. May
// be killed anywhere and repeated.
void cut_wal(FileSystem& files, const std::string& directory, const WalEnd& end);

}  // namespace srvdb
