#include "srvdb/storage/wal_segment.h"

#include <algorithm>
#include <functional>

#include "srvdb/storage/wal.h"

namespace srvdb {

namespace {

constexpr std::size_t kWindowBytes = std::size_t{1} << 20;

}  // namespace

WalSegment::WalSegment(FileSystem& files, const std::string& path) {
  // The tail first: a process at work moves records from it to the segment, never back.
  const std::size_t slash = path.rfind('/');
  const auto tail = read_wal_tail(files, path.substr(0, slash));
  file_ = files.open(path, OpenMode::kRead);
  if (tail && wal_segment_first(path.substr(slash + 1)) == tail->header.segment) {
    tail_ = missing_in_segment(*tail, *file_);
  }
  size_ = file_->size();  // not before: what the tail lacks now is in the segment
  for (const WalPiece& piece : tail_) size_ = std::max(size_, piece.offset + piece.bytes.size());
  const ByteSpan start = window(0, kWalSegmentHeaderBytes + kWalRecordHeaderBytes);
  if (start.size() >= kWalSegmentHeaderBytes) {
    header_ = decode_wal_segment_header(start.first(kWalSegmentHeaderBytes), path);
  }
  if (header_) {
    salts_.push_back(header_->salt);
    return;
  }
  // The salt stands twice in the header and once in each record: one of the three will be right.
  for (const std::size_t at :
       {kWalHeaderSaltOffset, kWalHeaderSalt2Offset, kWalSegmentHeaderBytes + kWalSaltOffset}) {
    if (at + sizeof(std::uint64_t) > start.size()) continue;
    const auto salt = load<std::uint64_t>(start.data() + at);
    if (salt != 0 && std::ranges::find(salts_, salt) == salts_.end()) salts_.push_back(salt);
  }
}

ByteSpan WalSegment::window(std::uint64_t offset, std::size_t bytes) {
  if (offset >= size_) return {};
  bytes = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, size_ - offset));
  const bool inside = offset >= buffer_offset_ && offset - buffer_offset_ + bytes <= buffer_.size();
  if (!inside) {
    const std::uint64_t want = std::max<std::uint64_t>(bytes, kWindowBytes);
    buffer_.resize(static_cast<std::size_t>(std::min(want, size_ - offset)));
    buffer_offset_ = offset;
    buffer_.resize(read(buffer_.data(), buffer_.size(), offset));
  }
  const ByteSpan all = ByteSpan(buffer_).subspan(
      std::min(buffer_.size(), static_cast<std::size_t>(offset - buffer_offset_)));
  return all.first(std::min(bytes, all.size()));
}

std::size_t WalSegment::read(std::uint8_t* to, std::size_t bytes, std::uint64_t offset) const {
  std::size_t done = file_->pread(to, bytes, offset);
  for (const WalPiece& piece : tail_) {
    const std::uint64_t first = std::max(offset, piece.offset);
    const std::uint64_t last = std::min(offset + bytes, piece.offset + piece.bytes.size());
    if (first >= last || first > offset + done) continue;
    std::copy_n(piece.bytes.data() + (first - piece.offset), last - first, to + (first - offset));
    done = std::max(done, static_cast<std::size_t>(last - offset));
  }
  return done;
}

std::optional<WalRecordHeader> WalSegment::valid_record(std::uint64_t offset) {
  for (const std::uint64_t salt : salts_) {
    if (const auto header = valid_record(offset, salt)) return header;
  }
  return std::nullopt;
}

std::optional<WalRecordHeader> WalSegment::valid_record(std::uint64_t offset, std::uint64_t salt) {
  const ByteSpan start = window(offset, kWalRecordHeaderBytes);
  if (start.size() < kWalRecordHeaderBytes) return std::nullopt;
  const auto header = decode_wal_record_header(start, salt);
  if (!header || header->length + kWalRecordOverheadBytes > size_ - offset) return std::nullopt;
  const ByteSpan whole = window(offset, header->length + kWalRecordOverheadBytes);
  if (whole.size() < header->length + kWalRecordOverheadBytes) return std::nullopt;
  return wal_record_is_sound(whole) ? header : std::nullopt;
}

ByteSpan WalSegment::payload(std::uint64_t offset, const WalRecordHeader& header) {
  return window(offset + kWalRecordHeaderBytes, header.length);
}

std::optional<WalSegment::Found> WalSegment::find_record(std::uint64_t from) {
  std::optional<Found> first;
  for (const std::uint64_t salt : salts_) {
    const auto found = find_record(from, salt);
    if (found && (!first || found->offset < first->offset)) first = found;
  }
  return first;
}

std::optional<WalSegment::Found> WalSegment::find_record(std::uint64_t from, std::uint64_t salt) {
  std::uint8_t pattern[sizeof(salt)];
  store(pattern, salt);
  const std::boyer_moore_horspool_searcher searcher(pattern, pattern + sizeof(pattern));
  std::uint64_t at = from + kWalSaltOffset;
  for (;;) {
    const ByteSpan bytes = window(at, kWindowBytes / 2);
    if (bytes.size() < sizeof(salt)) return std::nullopt;
    const auto hit = std::search(bytes.begin(), bytes.end(), searcher);
    if (hit == bytes.end()) {
      at += bytes.size() - (sizeof(salt) - 1);
      continue;
    }
    const std::uint64_t salt_at = at + static_cast<std::uint64_t>(hit - bytes.begin());
    const std::uint64_t offset = salt_at - kWalSaltOffset;
    if (const auto header = valid_record(offset, salt)) return Found{offset, *header};
    at = salt_at + 1;
  }
}

}  // namespace srvdb
