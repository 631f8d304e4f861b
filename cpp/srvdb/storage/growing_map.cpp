#include "srvdb/storage/growing_map.h"

#include <algorithm>
#include <cerrno>
#include <limits>

#include "srvdb/base/error.h"

namespace srvdb {
namespace {

constexpr std::uint64_t kLeastReserve = 4096;  // of an empty file

}  // namespace

std::shared_ptr<const Mapping> GrowingMap::covering(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (current_ && current_->reserved() >= bytes) return current_;
  if (bytes > std::numeric_limits<std::size_t>::max() / 8) {
    throw_storage("cannot map", file_.path(), EFBIG);
  }
  const std::uint64_t roomy = std::max(kMinReserve, 4 * bytes);
  try {
    current_ = file_.map(static_cast<std::size_t>(roomy));
  } catch (const Error& error) {
    // Address space may be limited; the exact size serves, at the price of mapping more often.
    if (error.os_error() != ENOMEM) throw;
    current_ = file_.map(static_cast<std::size_t>(std::max(bytes, kLeastReserve)));
  }
  if (huge_pages_) current_->want_huge_pages();
  return current_;
}

}  // namespace srvdb
