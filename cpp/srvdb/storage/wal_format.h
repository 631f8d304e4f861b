// Layout of log segments and records, shared by writer and reader (cpp/FORMAT.md). Encoding and
// decoding of fixed-size headers only; no input or output.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "srvdb/base/bytes.h"
#include "srvdb/base/types.h"

namespace srvdb {

struct WalSegmentHeader {
  std::uint64_t salt = 0;
  Sequence first = 0;
  Sequence durable_upto = 0;
};

struct WalRecordHeader {
  std::uint32_t length = 0;  // bytes of payload
  std::uint8_t type = 0;
  Sequence sequence = 0;
  Sequence durable_upto = 0;
  std::uint64_t salt = 0;
};

inline constexpr std::size_t kWalSaltOffset = 24;         // in a record header
inline constexpr std::size_t kWalHeaderSaltOffset = 16;   // in a segment header
inline constexpr std::size_t kWalHeaderSalt2Offset = 40;  // its second copy

std::string wal_segment_name(Sequence first);  // "00000000000000000001.log"
// The sequence in a segment's name, or nothing for any other name.
std::optional<Sequence> wal_segment_first(std::string_view name);

std::string encode_wal_segment_header(const WalSegmentHeader& header);
// Nothing when it is damaged; throws Error(kVersion) when it is whole but newer.
std::optional<WalSegmentHeader> decode_wal_segment_header(ByteSpan bytes, const std::string& path);

// Appends the header's kWalRecordHeaderBytes to `out`.
void put_wal_record_header(std::string& out, const WalRecordHeader& header);
// Nothing when its fields are impossible or the salt is another one. Says nothing about the CRC.
std::optional<WalRecordHeader> decode_wal_record_header(ByteSpan bytes, std::uint64_t salt);
// Whether the CRC at the end of a record (header, payload, CRC) is that of what is before it.
bool wal_record_is_sound(ByteSpan record) noexcept;

}  // namespace srvdb
