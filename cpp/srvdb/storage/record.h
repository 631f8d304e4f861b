// Payload of a log record: tagged sections, written without copying the rows and read with every
// length checked. Byte layout in cpp/FORMAT.md.
//
// A builder borrows row data until its parts have been written; everything else it copies. A
// decoded record borrows the payload. Decoding throws Error(kCorruption) that says which section is
// wrong and how; a payload whose checksum held only fails so when the writer was wrong or newer.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/base/bytes.h"
#include "srvdb/base/types.h"

namespace srvdb {

enum class RecordType : std::uint8_t {
  kAdd = 1,         // ids, metadata, rows, expiry
  kDelete = 2,      // target ids
  kUpdate = 3,      // target ids, metadata, expiry and/or rows with a row mask
  kSoftDelete = 4,  // target ids
  kRestore = 5,     // target ids
  kUpsert = 6,      // as kAdd
  kEvent = 7,       // something that changes no row
};

enum class SectionTag : std::uint8_t {
  kIds = 1,
  kMetadata = 2,
  kRows = 3,
  kDirectRows = 4,
  kPosition = 5,
  kTargets = 6,
  kRowMask = 7,
  kTime = 8,
  kExpiry = 9,
  kEvent = 10,
};

// Rows inside the record: count x dimension float32, row-major, at any alignment.
struct InlineRows {
  std::uint32_t space = 0;
  std::uint32_t dimension = 0;
  Row first_row = 0;
  std::uint32_t count = 0;
  ByteSpan bytes;
};

// Rows that were written to the row files before the record.
struct DirectRows {
  std::uint32_t space = 0;
  std::uint32_t dimension = 0;
  Row first_row = 0;
  std::uint32_t count = 0;
  std::uint32_t crc = 0;  // CRC-32C over the rows' own CRCs (u32 each, in row order)
};

struct OutsidePosition {
  std::string_view source;
  std::uint64_t position = 0;
};

inline constexpr std::int64_t kUnchangedExpiry = std::numeric_limits<std::int64_t>::min();

struct RecordEvent {
  std::uint8_t operation = 0;
  std::string_view details;  // JSON text, or nothing
};

class RecordBuilder {
 public:
  RecordBuilder() noexcept;
  ~RecordBuilder();
  RecordBuilder(const RecordBuilder&) = delete;
  RecordBuilder& operator=(const RecordBuilder&) = delete;

  void ids(std::span<const std::string_view> ids) { id_list(SectionTag::kIds, ids); }
  void targets(std::span<const std::string_view> ids) { id_list(SectionTag::kTargets, ids); }
  // One entry an id; an empty optional means "unchanged" (updates).
  void metadata(std::span<const std::optional<std::string_view>> texts);
  void metadata(std::span<const std::string_view> texts);
  void rows(const InlineRows& rows);  // borrows rows.bytes
  void direct_rows(const DirectRows& rows);
  void position(const OutsidePosition& position);
  // Which targets have a row (bit i of the list, least significant first): rows belong to them in
  // order.
  void row_mask(const std::vector<bool>& has_row);
  void time(std::int64_t time_us);  // microseconds since the epoch
  // One entry an id: milliseconds since the epoch, 0, or kUnchangedExpiry.
  void expiry(std::span<const std::int64_t> expires_at);
  void event(const RecordEvent& event);

  // The payload as parts, for WalWriter::append; valid while the builder and the borrowed rows
  // live.
  std::span<const ByteSpan> parts();
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  void id_list(SectionTag tag, std::span<const std::string_view> ids);
  template <typename Texts>
  void text_list(const Texts& texts);
  // The section's bytes are appended to what section() returns; finish() ends it.
  std::string& section(SectionTag tag, std::size_t length);
  void finish(std::string& owned, ByteSpan borrowed = {});

  // Bytes of the caller's, and where they go.
  struct Borrowed {
    std::size_t at;  // behind so many bytes of `owned`
    ByteSpan bytes;
  };
  struct Memory {
    std::string owned;  // everything but borrowed bytes, section after section
    std::vector<Borrowed> borrowed;
    std::vector<ByteSpan> parts;
  };
  // Of the last builder in this thread, so that a small record takes nothing from the heap.
  static thread_local Memory spare_;

  Memory memory_;
  std::size_t section_at_ = 0;  // where the last section begins in `owned`
  std::size_t bytes_ = 0;
};

// Every section at most once, except rows and direct rows: at most one a space. Unknown tags are an
// error.
struct DecodedRecord {
  std::vector<std::string_view> ids;
  std::vector<std::string_view> targets;
  std::vector<std::optional<std::string_view>> metadata;
  std::vector<InlineRows> rows;
  std::vector<DirectRows> direct_rows;
  std::optional<OutsidePosition> position;
  std::vector<bool> row_mask;
  std::int64_t time_us = 0;
  std::vector<std::int64_t> expiry;
  std::optional<RecordEvent> event;
  bool has_ids = false, has_targets = false, has_metadata = false, has_row_mask = false;
};

DecodedRecord decode_record(ByteSpan payload);

}  // namespace srvdb
