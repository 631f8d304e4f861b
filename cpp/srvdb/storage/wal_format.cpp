#include "srvdb/storage/wal_format.h"

#include <array>
#include <cassert>
#include <charconv>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/base/planted_bugs.h"
#include "srvdb/storage/wal.h"

namespace srvdb {

namespace {

constexpr std::string_view kSegmentMagic = "srvdbwal";
constexpr std::uint32_t kWalVersion = 1;
constexpr std::size_t kSegmentCrcOffset = kWalSegmentHeaderBytes - 4;
constexpr std::size_t kNameDigits = 20;
constexpr std::string_view kNameEnd = ".log";

}  // namespace

std::string wal_segment_name(Sequence first) {
  std::array<char, kNameDigits> digits;
  const auto result = std::to_chars(digits.data(), digits.data() + digits.size(), first);
  const auto length = static_cast<std::size_t>(result.ptr - digits.data());
  return std::string(kNameDigits - length, '0').append(digits.data(), length).append(kNameEnd);
}

std::optional<Sequence> wal_segment_first(std::string_view name) {
  if (name.size() != kNameDigits + kNameEnd.size() || !name.ends_with(kNameEnd)) return {};
  Sequence first = 0;
  const char* end = name.data() + kNameDigits;
  const auto result = std::from_chars(name.data(), end, first);
  if (result.ec != std::errc{} || result.ptr != end || first == 0) return {};
  return first;
}

std::string encode_wal_segment_header(const WalSegmentHeader& header) {
  std::string out(kSegmentMagic);
  put<std::uint32_t>(out, kWalVersion);
  put<std::uint32_t>(out, 0);
  put(out, header.salt);
  put(out, header.first);
  put(out, header.durable_upto);
  put(out, header.salt);
  out.resize(kSegmentCrcOffset, '\0');
  put(out, crc32c(out));
  assert(out.size() == kWalSegmentHeaderBytes);
  return out;
}

std::optional<WalSegmentHeader> decode_wal_segment_header(ByteSpan bytes, const std::string& path) {
  if (bytes.size() < kWalSegmentHeaderBytes) return {};
  if (as_text(bytes.first(kSegmentMagic.size())) != kSegmentMagic) return {};
  const auto crc = load<std::uint32_t>(bytes.data() + kSegmentCrcOffset);
  if (crc32c(bytes.data(), kSegmentCrcOffset) != crc) return {};
  ByteReader reader(bytes.subspan(kSegmentMagic.size()));
  const auto version = reader.get<std::uint32_t>();
  if (version != kWalVersion) {
    throw Error(ErrorCode::kVersion, path + " has log version " + std::to_string(version) +
                                         ", expected " + std::to_string(kWalVersion));
  }
  reader.get<std::uint32_t>();
  WalSegmentHeader header;
  header.salt = reader.get<std::uint64_t>();
  header.first = reader.get<Sequence>();
  header.durable_upto = reader.get<Sequence>();
  if (header.salt == 0 || header.durable_upto >= header.first) return {};
  return header;
}

void put_wal_record_header(std::string& out, const WalRecordHeader& header) {
  assert(header.durable_upto < header.sequence);
  constexpr std::uint8_t kFlags = 0;
  constexpr std::uint16_t kZero = 0;
  put_all(out, header.length, header.type, kFlags, kZero, header.sequence, header.durable_upto,
          header.salt);
}

std::optional<WalRecordHeader> decode_wal_record_header(ByteSpan bytes, std::uint64_t salt) {
  ByteReader reader(bytes);
  WalRecordHeader header;
  header.length = reader.get<std::uint32_t>();
  header.type = reader.get<std::uint8_t>();
  const auto flags = reader.get<std::uint8_t>();
  const auto zero = reader.get<std::uint16_t>();
  header.sequence = reader.get<Sequence>();
  header.durable_upto = reader.get<Sequence>();
  header.salt = reader.get<std::uint64_t>();
  const bool possible = reader.ok() && header.length <= kMaxWalPayloadBytes && flags == 0 &&
                        zero == 0 && header.durable_upto < header.sequence && header.salt == salt;
  if (!possible) return {};
  return header;
}

bool wal_record_is_sound(ByteSpan record) noexcept {
  const std::size_t covered = record.size() - 4;
  return crc32c(record.data(), covered) == load<std::uint32_t>(record.data() + covered) ||
         planted(Bug::kIgnoreRecordChecksum);
}

}  // namespace srvdb
