// A read-only view of a growing file: mapped once with room beyond its end, mapped again only
// when outgrown.
//
// The address space reserved is max(kMinReserve, 4 x the bytes asked for), so a file is mapped
// again at most once for each fourfold growth. Old mappings live as long as somebody holds them.
// The caller must not touch bytes beyond what has been written. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "srvdb/storage/file.h"

namespace srvdb {

class GrowingMap {
 public:
  static constexpr std::uint64_t kMinReserve = std::uint64_t{1} << 30;  // bytes

  // The file must outlive the map (but not the mappings it gave). huge_pages: the file is read in
  // no order, see Mapping::want_huge_pages.
  explicit GrowingMap(const File& file, bool huge_pages = false)
      : file_(file), huge_pages_(huge_pages) {}

  // A mapping that reaches at least `bytes` from the start of the file.
  std::shared_ptr<const Mapping> covering(std::uint64_t bytes);

 private:
  const File& file_;
  const bool huge_pages_;
  std::mutex mutex_;
  std::shared_ptr<const Mapping> current_;  // guarded by mutex_
};

}  // namespace srvdb
