// Core: codes and links in memory before they are asked for, and for as long as it is open.

#include <algorithm>
#include <cstring>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/base/events.h"
#include "srvdb/database/core.h"
#include "srvdb/storage/residency.h"

namespace srvdb {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{16} << 20;

using Bytes = std::span<const std::uint8_t>;

// What walks and scans read all over: codes, what says that they are sound, links.
std::vector<Bytes> walked_bytes(const IndexView& index) {
  std::vector<Bytes> out;
  if (!index.codes) return out;
  for (const auto& part : {index.short_codes, index.codes}) {
    if (!part || part->view().rows == 0) continue;
    const CodesView codes = part->view();
    out.emplace_back(codes.base, std::size_t{codes.rows} * codes.stride);
  }
  const Row linked = index.graph ? index.graph->linked() : 0;
  for (Row first = 0; first < linked;) {
    const Row rows = std::min<Row>(linked - first, Graph::kSegmentRows);
    out.emplace_back(reinterpret_cast<const std::uint8_t*>(index.graph->node(first)),
                     std::size_t{rows} * index.graph->params().node_bytes());
    first += rows;
  }
  return out;
}

}  // namespace

void Core::start_prefault() {
  brought_in_ = view()->index;
  to_bring_in_ = walked_bytes(*brought_in_);
  std::reverse(to_bring_in_.begin(), to_bring_in_.end());  // taken from the back: codes first
  prefault_job_ = std::make_unique<BackgroundJob>([this] { return background_prefault(); });
  prefault_job_->wake();
}

bool Core::background_prefault() {
  if (to_bring_in_.empty()) {
    brought_in_ = nullptr;
    return false;
  }
  Bytes& next = to_bring_in_.back();
  const std::size_t bytes = std::min(next.size(), kPieceBytes);
  bring_in(next.data(), bytes);
  next = next.subspan(bytes);
  if (next.empty()) to_bring_in_.pop_back();
  return true;
}

// Locks what is there now; `must`: else throws. Afterwards a failure is told once.
void Core::lock_memory(bool must) {
  const std::shared_ptr<const IndexView> index = view()->index;
  const CodesView shorter = index->shorter().codes;
  const LockedRows rows{index->coded(), index->linked(), shorter.rows, shorter.base};
  if (std::exchange(locked_rows_, rows) == rows) return;
  std::size_t bytes = 0;
  int error = 0;
  for (const Bytes part : walked_bytes(*index)) {
    bytes += part.size();
    if (error == 0) error = lock_in(part.data(), part.size());
  }
  if (error == 0) return;
  const std::uint64_t limit = lockable_bytes();
  const std::string why =
      path_ + ": lock_memory: cannot lock " + std::to_string(bytes) +
      " bytes of codes and links in memory: " + std::strerror(error) +
      (limit == UINT64_MAX ? std::string()
                           : "; this process may lock " + std::to_string(limit) +
                                 " bytes (RLIMIT_MEMLOCK, ulimit -l)");
  if (must) throw Error(ErrorCode::kStorage, why, error);
  if (!std::exchange(lock_told_, true)) post_event(Event::Level::kWarning, why);
}

}  // namespace srvdb
