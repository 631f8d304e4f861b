#include <algorithm>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/storage/wal.h"
#include "srvdb/storage/wal_segment.h"

namespace srvdb {

// Where reading stands: record `expected` should begin at `offset` of segment `index`.
struct WalReader::Impl {
  Impl(FileSystem& file_system, std::string path, Sequence applied)
      : files(file_system), directory(std::move(path)), after(applied) {}

  FileSystem& files;
  std::string directory;
  Sequence after;
  std::vector<Sequence> firsts;  // of all segments, ascending

  std::size_t index = 0;
  std::optional<WalSegment> segment;
  std::uint64_t offset = 0;
  Sequence expected = 0;            // 0: whatever the first segment begins with
  std::uint64_t record_offset = 0;  // of the record last returned
  bool done = false;

  std::string path(std::size_t i) const { return directory + "/" + wal_segment_name(firsts[i]); }
  std::optional<WalRecord> next(WalEnd& end);
  bool enter_segment(WalEnd& end);
  bool bad(const std::string& why, std::uint64_t scan_from, WalEnd& end);
  bool resume_below_applied(std::uint64_t scan_from);
  void finish(WalEnd& end);
  void finish_torn(Sequence bad_sequence, const std::string& why, std::uint64_t lost_records,
                   WalEnd& end);
};

namespace {

std::string place(const std::string& path, std::uint64_t offset) {
  return path + " at offset " + std::to_string(offset);
}

}  // namespace

// True when reading can go on at `offset`; false when the log has ended.
bool WalReader::Impl::enter_segment(WalEnd& end) {
  segment.emplace(files, path(index));
  offset = kWalSegmentHeaderBytes;
  const Sequence first = firsts[index];
  if (expected == 0) expected = first;
  if (!segment->header() || segment->header()->first != first) {
    offset = 0;
    return bad("the segment's header is damaged", kWalSegmentHeaderBytes, end);
  }
  // A hole that ends at or below the first record wanted has been applied already.
  if (first > expected && first <= after + 1) expected = first;
  if (first != expected) {
    offset = 0;
    return bad("expected the segment of record " + std::to_string(expected) +
                   ", got one that begins with " + std::to_string(first),
               kWalSegmentHeaderBytes, end);
  }
  return true;
}

std::optional<WalRecord> WalReader::Impl::next(WalEnd& end) {
  while (!done) {
    if (!segment) {
      if (index == firsts.size()) {
        finish(end);
        break;
      }
      if (!enter_segment(end)) break;
    }
    if (offset == segment->size()) {
      if (index + 1 == firsts.size()) {
        finish(end);
        break;
      }
      segment.reset();
      ++index;
      continue;
    }
    const auto header = segment->valid_record(offset);
    if (!header || header->sequence != expected) {
      const std::string why = header ? "expected sequence " + std::to_string(expected) + ", got " +
                                           std::to_string(header->sequence)
                                     : "the record is damaged or incomplete";
      if (!bad(why, offset + 1, end)) break;
      continue;
    }
    record_offset = offset;
    offset += header->length + kWalRecordOverheadBytes;
    ++expected;
    if (header->sequence > after) {
      return WalRecord{header->sequence, header->type, segment->payload(record_offset, *header)};
    }
  }
  return std::nullopt;
}

// The log is bad at `offset`. Throws, ends the log (false), or goes on behind a hole that has been
// applied (true).
bool WalReader::Impl::bad(const std::string& why, std::uint64_t scan_from, WalEnd& end) {
  if (expected <= after && resume_below_applied(scan_from)) return true;
  const Sequence bad_sequence = std::max(expected, after + 1);
  const std::string where = place(path(index), offset);
  std::uint64_t lost_records = 0;
  const auto check = [&](Sequence durable_upto, const std::string& witness) {
    if (durable_upto < bad_sequence) return;
    throw Error(ErrorCode::kCorruption, "log record " + std::to_string(bad_sequence) + " in " +
                                            where + " was once on disk and cannot be read: " + why +
                                            " (" + witness + " says records up to " +
                                            std::to_string(durable_upto) + " were synced)");
  };
  for (std::size_t i = index; i < firsts.size(); ++i) {
    WalSegment later(files, path(i));
    if (i > index && later.header()) check(later.header()->durable_upto, path(i));
    std::uint64_t from = i == index ? scan_from : kWalSegmentHeaderBytes;
    while (const auto found = later.find_record(from)) {
      check(found->header.durable_upto, place(path(i), found->offset));
      if (found->header.sequence > bad_sequence) ++lost_records;
      from = found->offset + found->header.length + kWalRecordOverheadBytes;
    }
  }
  finish_torn(bad_sequence, why, lost_records, end);
  return false;
}

// Looks for the next valid record that is not above after + 1.
bool WalReader::Impl::resume_below_applied(std::uint64_t scan_from) {
  for (std::size_t i = index; i < firsts.size(); ++i) {
    WalSegment later(files, path(i));
    std::uint64_t from = i == index ? scan_from : kWalSegmentHeaderBytes;
    const auto found = later.find_record(from);
    if (!found) continue;
    if (found->header.sequence < expected || found->header.sequence > after + 1) return false;
    index = i;
    segment.emplace(std::move(later));
    offset = found->offset;
    expected = found->header.sequence;
    return true;
  }
  return false;
}

void WalReader::Impl::finish(WalEnd& end) {
  done = true;
  end = {};
  end.last_sequence = expected == 0 ? after : std::max(after, expected - 1);
  // A segment without a record would be in the way of the next one of its name.
  if (segment && offset == kWalSegmentHeaderBytes && segment->size() == offset) {
    end.torn = true;
    end.drop.push_back(path(index));
    end.reason = path(index) + " has no record";
  }
}

void WalReader::Impl::finish_torn(Sequence bad_sequence, const std::string& why,
                                  std::uint64_t lost_records, WalEnd& end) {
  done = true;
  end = {};
  end.last_sequence = bad_sequence - 1;
  end.torn = true;
  end.reason = place(path(index), offset) + ": " + why;
  end.lost_records = lost_records;
  const bool keeps_records = offset > kWalSegmentHeaderBytes;
  if (keeps_records) {
    end.segment = path(index);
    end.offset = offset;
  }
  for (std::size_t i = index; i < firsts.size(); ++i) {
    const auto found = files.info(path(i));
    end.lost_bytes += found ? found->size : 0;
    if (i > index || !keeps_records) end.drop.push_back(path(i));
  }
  if (keeps_records) end.lost_bytes -= std::min(end.lost_bytes, offset);
}

WalReader::WalReader(FileSystem& files, std::string directory, Sequence after)
    : impl_(std::make_unique<Impl>(files, std::move(directory), after)) {
  for (const std::string& name : files.list_dir(impl_->directory)) {
    if (const auto first = wal_segment_first(name)) impl_->firsts.push_back(*first);
  }
  std::ranges::sort(impl_->firsts);
  // The last segment that begins at or below the first record wanted.
  const auto above = std::ranges::upper_bound(impl_->firsts, after + 1);
  const auto index = above - impl_->firsts.begin();
  impl_->index = static_cast<std::size_t>(std::max<std::ptrdiff_t>(index - 1, 0));
  // Without one the log begins too late.
  if (index == 0 && !impl_->firsts.empty()) impl_->expected = after + 1;
  end_.last_sequence = after;
}

WalReader::~WalReader() = default;

std::optional<WalRecord> WalReader::next() {
  return impl_->next(end_);
}

void WalReader::reject(const std::string& why) {
  const std::uint64_t behind = impl_->offset;
  impl_->offset = impl_->record_offset;
  --impl_->expected;
  impl_->bad(why, behind, end_);
}

void cut_wal(FileSystem& files, const std::string& directory, const WalEnd& end) {
  if (!end.torn) return;
  for (auto path = end.drop.rbegin(); path != end.drop.rend(); ++path) {
    if (!files.exists(*path)) continue;
    files.remove(*path);
    files.sync_dir(directory);  // one by one, so that a crash never leaves a later one without this
  }
  if (end.segment.empty()) return;
  const auto file = files.open(end.segment, OpenMode::kReadWrite);
  if (file->size() > end.offset) file->truncate(end.offset);
  file->sync_data();
}

}  // namespace srvdb
