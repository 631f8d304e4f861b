#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/base/planted_bugs.h"
#include "srvdb/storage/manifest.h"
#include "srvdb/storage/wal.h"
#include "srvdb/storage/wal_format.h"
#include "srvdb/storage/wal_tail.h"

namespace srvdb {

namespace {

// Records up to here are copied into one piece: cheaper than a call with many parts.
constexpr std::size_t kCopiedRecordBytes = 32u << 10;

// Appends a whole record of `total` bytes. Nothing has changed when there is no memory for it.
void put_record(std::string& out, const WalRecordHeader& header, std::span<const ByteSpan> payload,
                std::size_t total) {
  const std::size_t start = out.size();
  if (out.capacity() - start < total) out.reserve(start + total);
  put_wal_record_header(out, header);
  for (const ByteSpan part : payload) out += as_text(part);
  put(out, crc32c(out.data() + start, out.size() - start));
}

}  // namespace

// A segment file that is open because it is written to or still has to be synced.
struct WalWriter::Segment {
  std::unique_ptr<File> file;
  Sequence first = 0;
  std::uint64_t salt = 0;
  std::uint64_t end = 0;    // bytes handed to the operating system
  bool dir_synced = false;  // its name is durable; touched by the syncing thread only
};

WalWriter::WalWriter(FileSystem& files, std::string directory, Sequence next, WalOptions options)
    : files_(files), directory_(std::move(directory)), options_(options), last_(next - 1) {
  for (const std::string& name : files_.list_dir(directory_)) {
    const auto first = wal_segment_first(name);
    if (!first) continue;
    const auto found = files_.info(directory_ + "/" + name);
    old_.push_back({*first, found ? found->size : 0});
    unsynced_.push_back(std::make_shared<Segment>());
    unsynced_.back()->first = *first;
  }
}

WalWriter::~WalWriter() {
  if (poisoned()) return;
  try {
    flush();
    if (tail_ == nullptr) return;
    tail_.reset();
    remove_wal_tail(files_, directory_);
  } catch (const std::exception&) {
    // Records in memory are lost with the process by contract, the tail is there to be read.
  }
}

void WalWriter::check_usable() const {
  if (!poisoned()) return;
  throw Error(ErrorCode::kStorage,
              "the log failed earlier and takes no more writes (the outcome of the failed one is "
              "unknown): " +
                  poison_why_,
              poison_errno_);
}

void WalWriter::poison(const std::string& why, int os_error) noexcept {
  if (poisoned()) return;
  try {
    poison_why_ = why;
  } catch (const std::bad_alloc&) {
    poison_why_.clear();
  }
  poison_errno_ = os_error;
  poisoned_.store(true, std::memory_order_release);
}

// Makes the segment for the next record and writes its header; syncs nothing.
void WalWriter::open_segment() {
  auto segment = std::make_shared<Segment>();
  segment->first = last_sequence() + 1;
  segment->salt = random_u64();
  const std::string path = directory_ + "/" + wal_segment_name(segment->first);
  const std::string header = encode_wal_segment_header(
      {segment->salt, segment->first, std::min(durable_sequence(), last_sequence())});
  try {
    segment->file = files_.open(path, OpenMode::kCreateNew);
    segment->file->pwrite(header.data(), header.size(), 0);
  } catch (const Error& error) {
    if (!is_no_space(error.os_error())) {
      poison(error.what(), error.os_error());
    } else if (segment->file) {
      segment->file.reset();
      remove_or_poison(path);
    }
    throw;
  }
  segment->end = header.size();
  bytes_.store(segment->end, std::memory_order_relaxed);
  unsynced_.push_back(segment);
  current_ = std::move(segment);
  tail_begun_ = false;
}

void WalWriter::remove_or_poison(const std::string& path) noexcept {
  try {
    files_.remove(path);
  } catch (const Error& error) {
    poison(error.what(), error.os_error());
  } catch (const std::exception& error) {
    poison(error.what(), 0);
  }
}

void WalWriter::write_at_end(std::span<const ByteSpan> parts, std::size_t bytes) {
  Segment& segment = *current_;
  try {
    segment.file->pwritev(parts, segment.end);
  } catch (const Error& error) {
    if (!is_no_space(error.os_error())) {
      poison(error.what(), error.os_error());
      throw;
    }
    try {
      segment.file->truncate(segment.end);
    } catch (const Error& second) {
      poison(second.what(), second.os_error());
    }
    throw;
  }
  segment.end += bytes;
  tail_begun_ = false;
}

void WalWriter::flush_locked() {
  if (buffer_.empty()) return;
  const std::array<ByteSpan, 1> parts{as_byte_span(buffer_)};
  write_at_end(parts, buffer_.size());
  buffer_.clear();
}

// A large record goes to the file from where its parts lie.
void WalWriter::write_record(const WalRecordHeader& header, std::span<const ByteSpan> payload,
                             std::size_t total) {
  record_.clear();
  put_wal_record_header(record_, header);
  std::uint32_t crc = crc32c(record_);
  for (const ByteSpan part : payload) crc = crc32c(part.data(), part.size(), crc);
  put(record_, crc);
  std::vector<ByteSpan> parts;
  parts.reserve(payload.size() + 2);
  parts.push_back(as_byte_span(record_).first(kWalRecordHeaderBytes));
  parts.insert(parts.end(), payload.begin(), payload.end());
  parts.push_back(as_byte_span(record_).subspan(kWalRecordHeaderBytes));
  write_at_end(parts, total);
}

// Bytes of records that may wait.
std::size_t WalWriter::room() const noexcept {
  if (options_.buffering == WalBuffering::kShared) return kWalTailRoom;
  return options_.buffering == WalBuffering::kProcess ? options_.buffer_bytes : 0;
}

// Makes the tail continue the current segment. Nothing is in it alone.
void WalWriter::begin_tail() {
  if (tail_ == nullptr) tail_ = WalTail::open(files_, directory_);
  if (tail_ == nullptr) {
    options_.buffering = WalBuffering::kNone;
    return;
  }
  tail_->restart({current_->first, current_->salt, current_->end, last_sequence() + 1});
  tail_begun_ = true;
}

// Keeps a record for a later write; in the tail too when the process may not take it along.
void WalWriter::put_buffered(const WalRecordHeader& header, std::span<const ByteSpan> payload,
                             std::size_t total) {
  const std::size_t before = buffer_.size();
  put_record(buffer_, header, payload, total);
  if (options_.buffering != WalBuffering::kShared) return;
  tail_->write(as_byte_span(buffer_).subspan(before), before);
}

Sequence WalWriter::append(std::uint8_t type, std::span<const ByteSpan> payload) {
  std::size_t bytes = 0;
  for (const ByteSpan part : payload) bytes += part.size();
  if (bytes > kMaxWalPayloadBytes) {
    throw Error(ErrorCode::kInvalidInput, "a log record: expected at most " +
                                              std::to_string(kMaxWalPayloadBytes) + " bytes, got " +
                                              std::to_string(bytes));
  }
  const std::lock_guard lock(mutex_);
  check_usable();
  if (!current_) open_segment();
  const Sequence sequence = last_sequence() + 1;
  const WalRecordHeader header{static_cast<std::uint32_t>(bytes), type, sequence,
                               std::min(durable_sequence(), sequence - 1), current_->salt};
  const std::size_t total = bytes + kWalRecordOverheadBytes;
  if (buffer_.size() + total > room()) flush_locked();
  if (options_.buffering == WalBuffering::kShared && !tail_begun_ && total <= room()) begin_tail();
  if (total <= room()) {
    put_buffered(header, payload, total);
  } else if (total <= kCopiedRecordBytes) {
    record_.clear();
    put_record(record_, header, payload, total);
    const std::array<ByteSpan, 1> parts{as_byte_span(record_)};
    write_at_end(parts, total);
  } else {
    write_record(header, payload, total);
  }
  bytes_.fetch_add(total, std::memory_order_relaxed);
  last_.store(sequence, std::memory_order_release);
  return sequence;
}

void WalWriter::flush() {
  const std::lock_guard lock(mutex_);
  check_usable();
  flush_locked();
}

void WalWriter::set_buffering(WalBuffering buffering) {
  const std::lock_guard lock(mutex_);
  check_usable();
  flush_locked();
  options_.buffering = buffering;
}

// One thread at a time syncs, outside the mutex; the others wait and usually find their record
// covered when it ends.
void WalWriter::sync(Sequence upto) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (durable_sequence() >= upto) return;
    check_usable();
    if (!syncing_) break;
    synced_.wait(lock);
  }
  flush_locked();
  drop_durable_segments();
  const Sequence target = last_sequence();
  const std::vector<std::shared_ptr<Segment>> segments(unsynced_.begin(), unsynced_.end());
  for (const auto& segment : segments) {
    // A segment of an earlier process, which may not have synced it.
    if (segment->file) continue;
    segment->file =
        files_.open(directory_ + "/" + wal_segment_name(segment->first), OpenMode::kReadWrite);
  }
  syncing_ = true;
  lock.unlock();
  std::optional<Error> failure;
  try {
    for (const auto& segment : segments) {
      if (!planted(Bug::kSkipLogSync)) segment->file->sync_data();
      const bool skip = segment->dir_synced || planted(Bug::kSkipLogDirectorySync);
      if (!skip) files_.sync_dir(directory_);
      segment->dir_synced = true;
    }
  } catch (const Error& error) {
    failure = error;
  }
  lock.lock();
  syncing_ = false;
  if (failure) {
    poison(failure->what(), failure->os_error());
  } else {
    mark_durable(target);
    drop_durable_segments();
  }
  synced_.notify_all();
  if (failure) throw *failure;
}

// Forgets segments all of whose records are durable, but for the current one.
void WalWriter::drop_durable_segments() {
  while (!unsynced_.empty() && unsynced_.front() != current_) {
    const Sequence end = unsynced_.size() > 1 ? unsynced_[1]->first : last_sequence() + 1;
    if (end - 1 > durable_sequence()) return;
    unsynced_.pop_front();
  }
}

void WalWriter::mark_durable(Sequence upto) noexcept {
  Sequence before = durable_sequence();
  while (before < upto &&
         !durable_.compare_exchange_weak(before, upto, std::memory_order_acq_rel)) {
  }
}

WalPlace WalWriter::rotate() {
  const std::lock_guard lock(mutex_);
  check_usable();
  if (current_) {
    flush_locked();
    old_.push_back({current_->first, current_->end});
    current_.reset();
    bytes_.store(0, std::memory_order_relaxed);
  }
  return old_.empty() ? WalPlace{} : old_.back();
}

void WalWriter::remove_through(Sequence upto) {
  const std::lock_guard lock(mutex_);
  check_usable();
  while (!old_.empty()) {
    Sequence next = last_sequence() + 1;  // first sequence behind the oldest segment
    if (current_) next = current_->first;
    if (old_.size() > 1) next = old_[1].first;
    if (next - 1 > upto) return;
    const Sequence first = old_.front().first;
    files_.remove(directory_ + "/" + wal_segment_name(first));
    std::erase_if(unsynced_, [&](const auto& segment) { return segment->first == first; });
    old_.pop_front();
  }
}

std::uint64_t WalWriter::live_bytes() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t sum = segment_bytes();
  for (const WalPlace& segment : old_) sum += segment.bytes;
  return sum;
}

}  // namespace srvdb
