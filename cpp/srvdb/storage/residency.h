// Bringing mapped bytes into memory before they are asked for, and keeping them there. Reads only;
// thread-safe; the bytes must stay mapped during the call (locks end with the mapping).
#pragma once

#include <cstddef>
#include <cstdint>

namespace srvdb {

// Brings in the pages of [at, at + bytes). A hint: what cannot be brought in is left.
void bring_in(const void* at, std::size_t bytes) noexcept;

// Keeps the pages in memory (mlock). 0, or errno: ENOMEM or EPERM where the limit is too low.
int lock_in(const void* at, std::size_t bytes) noexcept;

// Bytes that this process may lock; UINT64_MAX: no limit.
std::uint64_t lockable_bytes() noexcept;

}  // namespace srvdb
