// One log segment, read: its header, records at an offset, and the search for records behind
// damage. Records that a process left in the tail (wal_tail.h) are read as if the segment held
// them.
//
// Reads through a window, so memory is bounded by the largest record. Single-threaded. Nothing here
// throws for damaged bytes; failed reads throw Error(kStorage).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "srvdb/base/bytes.h"
#include "srvdb/storage/file.h"
#include "srvdb/storage/wal_format.h"
#include "srvdb/storage/wal_tail.h"

namespace srvdb {

class WalSegment {
 public:
  WalSegment(FileSystem& files, const std::string& path);

  // When it was opened; with what the tail adds.
  std::uint64_t size() const noexcept { return size_; }
  // Nothing when it is damaged.
  const std::optional<WalSegmentHeader>& header() const noexcept { return header_; }

  // The record at the offset if it is whole and its checksum holds.
  std::optional<WalRecordHeader> valid_record(std::uint64_t offset);
  // Payload of a record that valid_record returned; lives until the next call.
  ByteSpan payload(std::uint64_t offset, const WalRecordHeader& header);

  struct Found {
    std::uint64_t offset = 0;
    WalRecordHeader header;
  };
  // The first valid record at or behind `from`, wherever it begins.
  std::optional<Found> find_record(std::uint64_t from);

 private:
  std::optional<WalRecordHeader> valid_record(std::uint64_t offset, std::uint64_t salt);
  std::optional<Found> find_record(std::uint64_t from, std::uint64_t salt);
  // Bytes [offset, offset + bytes) of the file, fewer at its end; lives until the next call.
  ByteSpan window(std::uint64_t offset, std::size_t bytes);

  std::size_t read(std::uint8_t* to, std::size_t bytes, std::uint64_t offset) const;

  std::vector<WalPiece> tail_;  // what stands in the place of the file's bytes, and beyond them
  std::unique_ptr<File> file_;
  std::uint64_t size_ = 0;  // with the tail
  std::optional<WalSegmentHeader> header_;
  std::vector<std::uint64_t> salts_;  // one when the header is good, else the candidates
  std::vector<std::uint8_t> buffer_;  // file bytes from buffer_offset_ on
  std::uint64_t buffer_offset_ = 0;
};

}  // namespace srvdb
