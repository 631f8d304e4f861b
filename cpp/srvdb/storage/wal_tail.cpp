#include "srvdb/storage/wal_tail.h"

#include <algorithm>
#include <utility>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/base/planted_bugs.h"
#include "srvdb/storage/wal.h"
#include "srvdb/storage/wal_format.h"

namespace srvdb {
namespace {

constexpr std::string_view kMagic = "srvdbtal";
constexpr std::size_t kCopyBytes = 64;  // the header stands twice: a kill may tear one of them
constexpr int kTries = 3;               // a process may be writing the header just now

std::string tail_path(const std::string& directory) {
  return directory + "/tail";
}

std::string encode(const WalTailHeader& header) {
  std::string out(kMagic);
  put(out, header.segment);
  put(out, header.salt);
  put(out, header.base);
  put(out, header.next);
  out.resize(kCopyBytes - 4, '\0');
  put(out, crc32c(out.data(), out.size()));
  return out;
}

std::optional<WalTailHeader> decode(const std::uint8_t* copy) {
  if (as_text({copy, kMagic.size()}) != kMagic) return std::nullopt;
  if (crc32c(copy, kCopyBytes - 4) != load<std::uint32_t>(copy + kCopyBytes - 4)) {
    return std::nullopt;
  }
  return WalTailHeader{load<Sequence>(copy + 8), load<std::uint64_t>(copy + 16),
                       load<std::uint64_t>(copy + 24), load<Sequence>(copy + 32)};
}

// Bytes of a valid record of the tail's segment at the start of `bytes`, or 0. `sequence`: which
// record, 0 for any that the tail may hold.
std::size_t record_bytes(ByteSpan bytes, const WalTailHeader& tail, Sequence sequence = 0) {
  if (bytes.size() < kWalRecordOverheadBytes) return 0;
  const auto header = decode_wal_record_header(bytes.first(kWalRecordHeaderBytes), tail.salt);
  if (!header || header->sequence < tail.next) return 0;  // what was there before
  if (sequence != 0 && header->sequence != sequence) return 0;
  const std::size_t total = header->length + kWalRecordOverheadBytes;
  if (total > bytes.size()) return 0;
  return wal_record_is_sound(bytes.first(total)) ? total : 0;
}

// Bytes up to the end of the last valid record, damaged ones before it included: the reader of the
// log has rules for these.
std::size_t used_bytes(ByteSpan records, const WalTailHeader& tail) {
  std::size_t used = 0;
  for (std::size_t at = 0; at + kWalRecordOverheadBytes <= records.size();) {
    std::size_t bytes = 0;
    if (load<std::uint64_t>(records.data() + at + kWalSaltOffset) == tail.salt) {
      bytes = record_bytes(records.subspan(at), tail);
    }
    at += std::max<std::size_t>(bytes, 1);
    if (bytes > 0) used = at;
  }
  return used;
}

}  // namespace

std::unique_ptr<WalTail> WalTail::open(FileSystem& files, const std::string& directory) {
  try {
    auto file = files.open_shared(tail_path(directory), kWalTailBytes);
    if (file == nullptr) return nullptr;
    return std::unique_ptr<WalTail>(new WalTail(std::move(file)));
  } catch (const Error&) {
    return nullptr;
  }
}

void WalTail::restart(const WalTailHeader& header) {
  const std::string copy = encode(header);
  file_->pwrite(copy.data(), copy.size(), 0);
  file_->pwrite(copy.data(), copy.size(), kCopyBytes);
}

void WalTail::write(ByteSpan records, std::size_t at) {
  file_->pwrite(records.data(), records.size(), kWalTailHeaderBytes + at);
}

std::optional<WalTailContent> read_wal_tail(FileSystem& files, const std::string& directory) {
  const std::string path = tail_path(directory);
  if (planted(Bug::kIgnoreLogTail) || !files.exists(path)) return std::nullopt;
  const auto file = files.open(path, OpenMode::kRead);
  std::vector<std::uint8_t> bytes(kWalTailBytes);
  for (int tries = 0; tries < kTries; ++tries) {
    bytes.resize(kWalTailBytes);
    bytes.resize(file->pread(bytes.data(), bytes.size(), 0));
    if (bytes.size() < kWalTailHeaderBytes) return std::nullopt;  // was being made
    auto header = decode(bytes.data());
    if (!header) header = decode(bytes.data() + kCopyBytes);
    if (header) {
      bytes.erase(bytes.begin(), bytes.begin() + kWalTailHeaderBytes);
      bytes.resize(used_bytes(bytes, *header));
      return WalTailContent{*header, std::move(bytes)};
    }
    // Records come when both copies are written.
    const auto second = bytes.begin() + kCopyBytes;
    if (std::all_of(second, second + kCopyBytes, [](std::uint8_t byte) { return byte == 0; })) {
      return std::nullopt;
    }
  }
  throw Error(ErrorCode::kCorruption,
              path +
                  " at offset 0: its header is damaged, so what was last written to the log "
                  "cannot be told");
}

void settle_wal_tail(FileSystem& files, const std::string& directory) {
  if (!files.exists(tail_path(directory))) return;
  if (const auto tail = read_wal_tail(files, directory)) {
    const std::string path = directory + "/" + wal_segment_name(tail->header.segment);
    if (files.exists(path)) {
      const auto file = files.open(path, OpenMode::kReadWrite);
      for (const WalPiece& piece : missing_in_segment(*tail, *file)) {
        file->pwrite(piece.bytes.data(), piece.bytes.size(), piece.offset);
      }
      file->sync_data();
    }
  }
  remove_wal_tail(files, directory);
  // Were it to come back after a crash, it could follow what has been cut off since.
  files.sync_dir(directory);
}

void remove_wal_tail(FileSystem& files, const std::string& directory) {
  if (files.exists(tail_path(directory))) files.remove(tail_path(directory));
}

std::vector<WalPiece> missing_in_segment(const WalTailContent& tail, const File& segment) {
  std::vector<WalPiece> out;
  const std::uint64_t base = tail.header.base;
  const std::uint64_t size = segment.size();
  if (size < base) return out;
  const ByteSpan records(tail.records);
  std::vector<std::uint8_t> own(
      static_cast<std::size_t>(std::min<std::uint64_t>(size - base, records.size())));
  own.resize(segment.pread(own.data(), own.size(), base));
  const auto take = [&](std::size_t at, std::size_t bytes) {
    const ByteSpan piece = records.subspan(at, bytes);
    out.push_back({base + at, {piece.begin(), piece.end()}});
  };
  // Record by record, as long as it is clear which one should be where.
  Sequence expected = tail.header.next;
  std::size_t at = 0;
  while (at < own.size()) {
    std::size_t bytes = record_bytes(ByteSpan(own).subspan(at), tail.header, expected);
    if (bytes == 0) {
      bytes = record_bytes(records.subspan(at), tail.header, expected);
      if (bytes == 0) break;
      take(at, bytes);
    }
    at += bytes;
    ++expected;
  }
  at = std::max(at, own.size());
  if (at < records.size()) take(at, records.size() - at);
  return out;
}

}  // namespace srvdb
