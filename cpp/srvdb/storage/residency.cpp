#include "srvdb/storage/residency.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

namespace srvdb {
namespace {

struct Pages {
  std::uintptr_t first = 0;
  std::size_t bytes = 0;
};

std::size_t page_bytes() noexcept {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

Pages whole_pages(const void* at, std::size_t bytes) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(at);
  const std::uintptr_t first = address / page_bytes() * page_bytes();
  return {first, bytes + (address - first)};
}

}  // namespace

void bring_in(const void* at, std::size_t bytes) noexcept {
  if (bytes == 0) return;
  const Pages pages = whole_pages(at, bytes);
#ifdef MADV_POPULATE_READ
  if (::madvise(reinterpret_cast<void*>(pages.first), pages.bytes, MADV_POPULATE_READ) == 0) return;
#endif
  for (std::size_t i = 0; i < bytes; i += page_bytes()) {
    static_cast<void>(*(static_cast<const volatile std::uint8_t*>(at) + i));
  }
}

int lock_in(const void* at, std::size_t bytes) noexcept {
  if (bytes == 0) return 0;
  const Pages pages = whole_pages(at, bytes);
  return ::mlock(reinterpret_cast<const void*>(pages.first), pages.bytes) == 0 ? 0 : errno;
}

std::uint64_t lockable_bytes() noexcept {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return UINT64_MAX;
  }
  return limit.rlim_cur;
}

}  // namespace srvdb
