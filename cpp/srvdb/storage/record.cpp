#include "srvdb/storage/record.h"

#include <cassert>
#include <limits>
#include <utility>

#include "srvdb/base/error.h"

namespace srvdb {

namespace {

constexpr std::uint32_t kUnchanged = 0xFFFFFFFFu;  // a metadata length without bytes
constexpr std::size_t kSectionHeaderBytes = 9;
constexpr std::size_t kMaxSourceBytes = 255;
constexpr std::size_t kMostSpareBytes = 64u
                                        << 10;  // of memory that a thread keeps for its next one

[[noreturn]] void bad(SectionTag tag, const std::string& what) {
  throw Error(ErrorCode::kCorruption,
              "log record, section " + std::to_string(static_cast<unsigned>(tag)) + ": " + what);
}

std::uint32_t count_of(std::size_t n) {
  assert(n <= std::numeric_limits<std::uint32_t>::max());
  return static_cast<std::uint32_t>(n);
}

void check_whole(SectionTag tag, const ByteReader& reader) {
  if (!reader.ok()) bad(tag, "ends too early");
  if (reader.remaining() != 0) {
    bad(tag, "expected its end, got " + std::to_string(reader.remaining()) + " bytes more");
  }
}

}  // namespace

// -- building ------------------------------------------------------------------------------------

thread_local RecordBuilder::Memory RecordBuilder::spare_;

RecordBuilder::RecordBuilder() noexcept : memory_(std::move(spare_)) {}

RecordBuilder::~RecordBuilder() {
  if (memory_.owned.capacity() > kMostSpareBytes) return;
  memory_.owned.clear();
  memory_.borrowed.clear();
  spare_ = std::move(memory_);
}

std::string& RecordBuilder::section(SectionTag tag, std::size_t length) {
  std::string& owned = memory_.owned;
  section_at_ = owned.size();
  put_all(owned, static_cast<std::uint8_t>(tag), std::uint64_t{length});
  return owned;
}

void RecordBuilder::finish(std::string& owned, ByteSpan borrowed) {
  const std::size_t own = owned.size() - section_at_;
  assert(load<std::uint64_t>(owned.data() + section_at_ + 1) ==
         own - kSectionHeaderBytes + borrowed.size());
  if (!borrowed.empty()) memory_.borrowed.push_back({owned.size(), borrowed});
  bytes_ += own + borrowed.size();
}

std::span<const ByteSpan> RecordBuilder::parts() {
  memory_.parts.clear();
  const ByteSpan owned = as_byte_span(memory_.owned);
  std::size_t done = 0;
  for (const Borrowed& piece : memory_.borrowed) {
    memory_.parts.push_back(owned.subspan(done, piece.at - done));
    memory_.parts.push_back(piece.bytes);
    done = piece.at;
  }
  if (done != owned.size()) memory_.parts.push_back(owned.subspan(done));
  return memory_.parts;
}

void RecordBuilder::id_list(SectionTag tag, std::span<const std::string_view> ids) {
  std::size_t length = 4 + 2 * ids.size();
  for (const std::string_view id : ids) length += id.size();
  std::string& out = section(tag, length);
  out.reserve(out.size() + length);
  put(out, count_of(ids.size()));
  for (const std::string_view id : ids) {
    assert(!id.empty() && id.size() <= kMaxIdBytes);
    put<std::uint16_t>(out, static_cast<std::uint16_t>(id.size()));
  }
  for (const std::string_view id : ids) out.append(id);
  finish(out);
}

template <typename Texts>
void RecordBuilder::text_list(const Texts& texts) {
  std::size_t length = 4 + 4 * texts.size();
  for (const std::optional<std::string_view> text : texts) length += text ? text->size() : 0;
  std::string& out = section(SectionTag::kMetadata, length);
  out.reserve(out.size() + length);
  put(out, count_of(texts.size()));
  for (const std::optional<std::string_view> text : texts) {
    put(out, text ? count_of(text->size()) : kUnchanged);
  }
  for (const std::optional<std::string_view> text : texts) {
    if (text) out.append(*text);
  }
  finish(out);
}

void RecordBuilder::metadata(std::span<const std::optional<std::string_view>> texts) {
  text_list(texts);
}

void RecordBuilder::metadata(std::span<const std::string_view> texts) {
  text_list(texts);
}

void RecordBuilder::rows(const InlineRows& rows) {
  assert(rows.bytes.size() == std::size_t{rows.count} * rows.dimension * sizeof(float));
  std::string& out = section(SectionTag::kRows, 16 + rows.bytes.size());
  put_all(out, rows.space, rows.dimension, rows.first_row, rows.count);
  finish(out, rows.bytes);
}

void RecordBuilder::direct_rows(const DirectRows& rows) {
  std::string& out = section(SectionTag::kDirectRows, 20);
  put(out, rows.space);
  put(out, rows.dimension);
  put(out, rows.first_row);
  put(out, rows.count);
  put(out, rows.crc);
  finish(out);
}

void RecordBuilder::position(const OutsidePosition& position) {
  assert(!position.source.empty() && position.source.size() <= kMaxSourceBytes);
  std::string& out = section(SectionTag::kPosition, 2 + position.source.size() + 8);
  put<std::uint16_t>(out, static_cast<std::uint16_t>(position.source.size()));
  out.append(position.source);
  put(out, position.position);
  finish(out);
}

void RecordBuilder::row_mask(const std::vector<bool>& has_row) {
  const std::size_t bytes = (has_row.size() + 7) / 8;
  std::string& out = section(SectionTag::kRowMask, 4 + bytes);
  put(out, count_of(has_row.size()));
  const std::size_t begin = out.size();
  out.resize(begin + bytes, '\0');
  for (std::size_t i = 0; i < has_row.size(); ++i) {
    if (has_row[i]) out[begin + i / 8] = static_cast<char>(out[begin + i / 8] | (1 << (i % 8)));
  }
  finish(out);
}

void RecordBuilder::time(std::int64_t time_us) {
  std::string& out = section(SectionTag::kTime, 8);
  put(out, time_us);
  finish(out);
}

void RecordBuilder::expiry(std::span<const std::int64_t> expires_at) {
  std::string& out = section(SectionTag::kExpiry, 4 + 8 * expires_at.size());
  put(out, count_of(expires_at.size()));
  for (const std::int64_t moment : expires_at) put(out, moment);
  finish(out);
}

void RecordBuilder::event(const RecordEvent& event) {
  std::string& out = section(SectionTag::kEvent, 1 + event.details.size());
  put(out, event.operation);
  out.append(event.details);
  finish(out);
}

// -- reading -------------------------------------------------------------------------------------

namespace {

std::vector<std::string_view> decode_ids(SectionTag tag, ByteSpan bytes) {
  ByteReader reader(bytes);
  const auto count = reader.get<std::uint32_t>();
  if (count > reader.remaining() / 2) bad(tag, "more ids than bytes");
  ByteReader lengths(reader.bytes(std::size_t{count} * 2));
  std::vector<std::string_view> ids;
  ids.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto length = lengths.get<std::uint16_t>();
    if (length == 0 || length > kMaxIdBytes) {
      bad(tag, "id " + std::to_string(i) + ": expected 1 to " + std::to_string(kMaxIdBytes) +
                   " bytes, got " + std::to_string(length));
    }
    ids.push_back(as_text(reader.bytes(length)));
  }
  check_whole(tag, reader);
  return ids;
}

std::vector<std::optional<std::string_view>> decode_metadata(ByteSpan bytes) {
  ByteReader reader(bytes);
  const auto count = reader.get<std::uint32_t>();
  if (count > reader.remaining() / 4) bad(SectionTag::kMetadata, "more texts than bytes");
  ByteReader lengths(reader.bytes(std::size_t{count} * 4));
  std::vector<std::optional<std::string_view>> texts;
  texts.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto length = lengths.get<std::uint32_t>();
    if (length == kUnchanged) {
      texts.emplace_back();
    } else if (length > kMaxMetadataBytes) {
      bad(SectionTag::kMetadata, "text " + std::to_string(i) + ": expected at most " +
                                     std::to_string(kMaxMetadataBytes) + " bytes, got " +
                                     std::to_string(length));
    } else {
      texts.emplace_back(as_text(reader.bytes(length)));
    }
  }
  check_whole(SectionTag::kMetadata, reader);
  return texts;
}

void check_row_range(SectionTag tag, std::uint32_t dimension, Row first_row, std::uint32_t count) {
  if (dimension == 0 || dimension > kMaxDimension) {
    bad(tag, "impossible dimension " + std::to_string(dimension));
  }
  if (first_row > kMaxRows || count > kMaxRows - first_row) {
    bad(tag, std::to_string(count) + " rows from row " + std::to_string(first_row) +
                 ": expected rows below " + std::to_string(kMaxRows));
  }
}

InlineRows decode_rows(ByteSpan bytes) {
  ByteReader reader(bytes);
  InlineRows rows;
  rows.space = reader.get<std::uint32_t>();
  rows.dimension = reader.get<std::uint32_t>();
  rows.first_row = reader.get<Row>();
  rows.count = reader.get<std::uint32_t>();
  if (!reader.ok()) bad(SectionTag::kRows, "ends too early");
  check_row_range(SectionTag::kRows, rows.dimension, rows.first_row, rows.count);
  // At most 2^16 * 2^32 * 4: no overflow.
  rows.bytes = reader.bytes(std::size_t{rows.count} * rows.dimension * sizeof(float));
  check_whole(SectionTag::kRows, reader);
  return rows;
}

DirectRows decode_direct_rows(ByteSpan bytes) {
  ByteReader reader(bytes);
  DirectRows rows;
  rows.space = reader.get<std::uint32_t>();
  rows.dimension = reader.get<std::uint32_t>();
  rows.first_row = reader.get<Row>();
  rows.count = reader.get<std::uint32_t>();
  rows.crc = reader.get<std::uint32_t>();
  check_whole(SectionTag::kDirectRows, reader);
  check_row_range(SectionTag::kDirectRows, rows.dimension, rows.first_row, rows.count);
  return rows;
}

OutsidePosition decode_position(ByteSpan bytes) {
  ByteReader reader(bytes);
  OutsidePosition position;
  position.source = as_text(reader.bytes(reader.get<std::uint16_t>()));
  position.position = reader.get<std::uint64_t>();
  check_whole(SectionTag::kPosition, reader);
  if (position.source.empty() || position.source.size() > kMaxSourceBytes) {
    bad(SectionTag::kPosition, "expected a source of 1 to 255 bytes");
  }
  return position;
}

std::vector<bool> decode_row_mask(ByteSpan bytes) {
  ByteReader reader(bytes);
  const std::size_t count = reader.get<std::uint32_t>();
  const ByteSpan bits = reader.bytes((count + 7) / 8);
  check_whole(SectionTag::kRowMask, reader);
  std::vector<bool> mask(count);
  for (std::size_t i = 0; i < bits.size() * 8; ++i) {
    const bool set = (bits[i / 8] >> (i % 8) & 1) != 0;
    if (i < count) {
      mask[i] = set;
    } else if (set) {
      bad(SectionTag::kRowMask, "a bit beyond its end is set");
    }
  }
  return mask;
}

std::int64_t decode_time(ByteSpan bytes) {
  ByteReader reader(bytes);
  const auto time_us = reader.get<std::int64_t>();
  check_whole(SectionTag::kTime, reader);
  return time_us;
}

std::vector<std::int64_t> decode_expiry(ByteSpan bytes) {
  ByteReader reader(bytes);
  const std::size_t count = reader.get<std::uint32_t>();
  if (count > reader.remaining() / 8) bad(SectionTag::kExpiry, "more moments than bytes");
  std::vector<std::int64_t> moments(count);
  for (std::int64_t& moment : moments) {
    moment = reader.get<std::int64_t>();
    if (moment < 0 && moment != kUnchangedExpiry) bad(SectionTag::kExpiry, "before the epoch");
  }
  check_whole(SectionTag::kExpiry, reader);
  return moments;
}

RecordEvent decode_event(ByteSpan bytes) {
  ByteReader reader(bytes);
  RecordEvent event;
  event.operation = reader.get<std::uint8_t>();
  if (!reader.ok()) bad(SectionTag::kEvent, "ends too early");
  event.details = as_text(reader.bytes(reader.remaining()));
  return event;
}

template <typename Rows>
void add_rows(std::vector<Rows>& all, const Rows& rows, SectionTag tag) {
  for (const Rows& other : all) {
    if (other.space == rows.space) bad(tag, "comes twice for one space");
  }
  all.push_back(rows);
}

void decode_section(SectionTag tag, ByteSpan bytes, DecodedRecord& record) {
  switch (tag) {
    case SectionTag::kIds:
      record.ids = decode_ids(tag, bytes);
      record.has_ids = true;
      return;
    case SectionTag::kTargets:
      record.targets = decode_ids(tag, bytes);
      record.has_targets = true;
      return;
    case SectionTag::kMetadata:
      record.metadata = decode_metadata(bytes);
      record.has_metadata = true;
      return;
    case SectionTag::kRows:
      return add_rows(record.rows, decode_rows(bytes), tag);
    case SectionTag::kDirectRows:
      return add_rows(record.direct_rows, decode_direct_rows(bytes), tag);
    case SectionTag::kPosition:
      record.position = decode_position(bytes);
      return;
    case SectionTag::kRowMask:
      record.row_mask = decode_row_mask(bytes);
      record.has_row_mask = true;
      return;
    case SectionTag::kTime:
      record.time_us = decode_time(bytes);
      return;
    case SectionTag::kExpiry:
      record.expiry = decode_expiry(bytes);
      return;
    case SectionTag::kEvent:
      record.event = decode_event(bytes);
      return;
  }
  bad(tag, "unknown tag");
}

}  // namespace

DecodedRecord decode_record(ByteSpan payload) {
  DecodedRecord record;
  std::uint32_t seen = 0;
  ByteReader reader(payload);
  while (reader.remaining() != 0) {
    const auto tag = static_cast<SectionTag>(reader.get<std::uint8_t>());
    const auto length = reader.get<std::uint64_t>();
    if (!reader.ok() || length > reader.remaining()) bad(tag, "longer than the record");
    const std::uint32_t bit = 1u << (static_cast<unsigned>(tag) % 32);
    const bool per_space = tag == SectionTag::kRows || tag == SectionTag::kDirectRows;
    decode_section(tag, reader.bytes(static_cast<std::size_t>(length)), record);
    if ((seen & bit) != 0 && !per_space) bad(tag, "comes twice");
    seen |= bit;
  }
  return record;
}

}  // namespace srvdb
