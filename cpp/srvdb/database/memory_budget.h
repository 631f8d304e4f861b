// memory_limit: the anonymous memory that an open database may take, and who takes how much of it.
//
// The shares (of the limit): append buffers 1/16 each, up to three of them; rows waiting for a
// checkpoint 1/16 a side; answers of filters 1/16; pages that a checkpoint changes 1/8; links under
// construction and working copies of compaction 1/4, beyond which they lie in a mapped, unnamed
// file of the directory: page cache, which the system takes back when it needs to; building a graph
// in bulk 1/4, or it is linked row by row. The rest is for what does not grow with the database.
// Not counted: what goes with the call (a batch given to add, the answer of a search, a walk's
// candidates), and a byte for every two rows of marks of what has been checked.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "srvdb/database/options.h"
#include "srvdb/index/segment_memory.h"
#include "srvdb/storage/file.h"

namespace srvdb {

class MemoryBudget final : public SegmentSource {
 public:
  static constexpr std::uint64_t kLeast = std::uint64_t{64} << 20;

  // Throws Error(kInvalidInput) that names the least; 0 is no limit.
  static void check(std::uint64_t limit);
  // The options with what the limit leaves for append buffers and answers of filters.
  static OpenOptions within(OpenOptions options);

  // `directory` takes the working files. limit 0: none.
  MemoryBudget(FileSystem& files, std::string directory, std::uint64_t limit);

  // Anonymous while the share lasts, then mapped from a working file. Throws std::bad_alloc, and
  // Error(kStorage) when there is no room on disk or the file system cannot.
  SegmentMemory make(std::size_t bytes) override;
  std::size_t scratch_bytes() const noexcept override;

  std::uint64_t limit() const noexcept { return limit_; }
  std::size_t anonymous() const noexcept { return anonymous_->load(); }
  std::size_t in_files() const noexcept { return in_files_->load(); }
  // Changes that may wait for a checkpoint.
  std::size_t pending_ids(std::size_t usual) const noexcept;
  std::size_t pending_bytes(std::size_t usual) const noexcept;

 private:
  FileSystem& files_;
  const std::string directory_;
  const std::uint64_t limit_;
  std::shared_ptr<std::atomic<std::size_t>> anonymous_;
  std::shared_ptr<std::atomic<std::size_t>> in_files_;
};

}  // namespace srvdb
