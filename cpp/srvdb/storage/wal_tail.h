// The end of the log that is not in its segment yet: wal/tail, a file of fixed size whose writes
// are copies into shared memory.
//
// A record put here outlives the process as one written to the segment does, and costs no system
// call; many of them go to the segment in one write. A loss of power may take it, as it may take
// what was written to a segment and not synced. Layout: cpp/FORMAT.md.
//
// The tail says which segment it continues and from which byte on. A valid record of the segment is
// never read from the tail: only records that would lie beyond the segment's end are, and those for
// which a loss of power, while they were written to the segment, left a hole there. So bytes left
// over in the tail from before do no harm, and neither does a crash between writing the segment and
// starting the tail anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "srvdb/base/bytes.h"
#include "srvdb/base/types.h"
#include "srvdb/storage/file.h"

namespace srvdb {

inline constexpr std::size_t kWalTailBytes = 256u << 10;
inline constexpr std::size_t kWalTailHeaderBytes = 512;
inline constexpr std::size_t kWalTailRoom = kWalTailBytes - kWalTailHeaderBytes;  // for records

struct WalTailHeader {
  Sequence segment = 0;    // first sequence of the segment that it continues
  std::uint64_t salt = 0;  // of that segment
  std::uint64_t base = 0;  // bytes of the segment before the tail's first record
  Sequence next = 0;       // sequence of the tail's first record
};

// The writing side. Not thread-safe.
class WalTail {
 public:
  // Null where the file system has no shared memory that is safe to write (FileSystem), no room, or
  // fails otherwise: then each record has to be written to its segment at once.
  static std::unique_ptr<WalTail> open(FileSystem& files, const std::string& directory);

  // Empties it. All records it holds must be in their segment, or be given up.
  void restart(const WalTailHeader& header);
  // Puts records behind the first `at` bytes of records; at + records.size() <= kWalTailRoom.
  void write(ByteSpan records, std::size_t at);

 private:
  explicit WalTail(std::unique_ptr<File> file) : file_(std::move(file)) {}
  std::unique_ptr<File> file_;
};

struct WalTailContent {
  WalTailHeader header;
  std::vector<std::uint8_t> records;  // up to the end of the last valid one; not all must be
};

// What a process has left in the tail; nothing when there is none. Also beside a process that
// writes. Throws Error(kCorruption) when it is damaged so that its records cannot be placed.
std::optional<WalTailContent> read_wal_tail(FileSystem& files, const std::string& directory);

// Bytes of a segment, and where they begin in it.
struct WalPiece {
  std::uint64_t offset = 0;
  std::vector<std::uint8_t> bytes;
};

// What the tail holds and its segment does not, in the order of places; the last piece begins at or
// before the segment's end when it reaches beyond it.
std::vector<WalPiece> missing_in_segment(const WalTailContent& tail, const File& segment);

// Writes what is in the tail alone to its segment, syncs it and removes the tail; no process may be
// writing the log. May be killed anywhere and repeated.
void settle_wal_tail(FileSystem& files, const std::string& directory);

void remove_wal_tail(FileSystem& files, const std::string& directory);

}  // namespace srvdb
