#include "srvdb/storage/lmdb_io.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/storage/lmdb_file.h"

namespace srvdb {

namespace {

// The call's result, or -1 and errno.
template <typename Call>
auto guarded(Call&& call) noexcept -> decltype(call()) {
  try {
    return call();
  } catch (const Error& error) {
    errno = error.os_error() != 0 ? error.os_error() : EIO;
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
  } catch (const std::exception&) {
    errno = EIO;
  }
  return -1;
}

LmdbFile& file_of(void* store) noexcept {
  return *static_cast<LmdbFile*>(store);
}

std::uint32_t meta_checksum(const void* page) noexcept {
  return crc32c(page, SRVDB_META_BYTES - 4);
}

}  // namespace

}  // namespace srvdb

using srvdb::ByteSpan;
using srvdb::guarded;
using srvdb::LmdbDescriptor;

int srvdb_lmdb_open(const char* path, int flags, unsigned mode) {
  srvdb::LmdbFile* const file = srvdb::LmdbFile::Opening::current();
  if (file == nullptr) {
    errno = EINVAL;
    return -1;
  }
  if (!std::string_view(path).ends_with("-lock")) return file->number();
  return guarded([&] { return ::open(file->files().lock_path(path).c_str(), flags, mode); });
}

int srvdb_lmdb_close(int descriptor) {
  // The files close with their LmdbFile.
  return LmdbDescriptor::find(descriptor) != nullptr ? 0 : ::close(descriptor);
}

ssize_t srvdb_lmdb_pread(int descriptor, void* to, size_t bytes, off_t offset) {
  LmdbDescriptor* const file = LmdbDescriptor::find(descriptor);
  if (file == nullptr) return ::pread(descriptor, to, bytes, offset);
  return guarded([&] {
    return static_cast<ssize_t>(file->read(to, bytes, static_cast<std::uint64_t>(offset)));
  });
}

ssize_t srvdb_lmdb_pwrite(int descriptor, const void* from, size_t bytes, off_t offset) {
  const iovec part{const_cast<void*>(from), bytes};
  return srvdb_lmdb_pwritev(descriptor, &part, 1, offset);
}

ssize_t srvdb_lmdb_pwritev(int descriptor, const struct iovec* parts, int count, off_t offset) {
  LmdbDescriptor* const file = LmdbDescriptor::find(descriptor);
  if (file == nullptr) return ::pwritev(descriptor, parts, count, offset);
  return guarded([&] {
    std::vector<ByteSpan> spans;
    spans.reserve(static_cast<std::size_t>(count));
    std::size_t bytes = 0;
    for (int i = 0; i < count; ++i) {
      spans.emplace_back(static_cast<const std::uint8_t*>(parts[i].iov_base), parts[i].iov_len);
      bytes += parts[i].iov_len;
    }
    file->write(spans, static_cast<std::uint64_t>(offset));
    return static_cast<ssize_t>(bytes);
  });
}

ssize_t srvdb_lmdb_write(int descriptor, const void* from, size_t bytes) {
  LmdbDescriptor* const file = LmdbDescriptor::find(descriptor);
  if (file == nullptr) return ::write(descriptor, from, bytes);
  return guarded([&] {
    file->append({static_cast<const std::uint8_t*>(from), bytes});
    return static_cast<ssize_t>(bytes);
  });
}

int srvdb_lmdb_fdatasync(int descriptor) {
  LmdbDescriptor* const file = LmdbDescriptor::find(descriptor);
  if (file == nullptr) return ::fdatasync(descriptor);
  return guarded([&] { return file->sync(), 0; });
}

int srvdb_lmdb_fstat(int descriptor, struct stat* found) {
  LmdbDescriptor* const file = LmdbDescriptor::find(descriptor);
  if (file == nullptr) return ::fstat(descriptor, found);
  return guarded([&] {
    std::memset(found, 0, sizeof(*found));
    found->st_size = static_cast<off_t>(file->size());
    return 0;
  });
}

int srvdb_lmdb_ftruncate(int descriptor, off_t size) {
  LmdbDescriptor* const file = LmdbDescriptor::find(descriptor);
  if (file == nullptr) return ::ftruncate(descriptor, size);
  return guarded([&] { return file->truncate(static_cast<std::uint64_t>(size)), 0; });
}

void* srvdb_lmdb_mmap(void* at, size_t bytes, int protection, int flags, int descriptor,
                      off_t offset) {
  LmdbDescriptor* const file = LmdbDescriptor::find(descriptor);
  if (file == nullptr) return ::mmap(at, bytes, protection, flags, descriptor, offset);
  void* mapped = MAP_FAILED;
  guarded([&] { return mapped = file->map(bytes), 0; });
  return mapped;
}

void srvdb_lmdb_unmap(void* store, void* at) {
  srvdb::file_of(store).unmap(at);
}

int srvdb_lmdb_page_ok(void* store, uint64_t number, uint64_t end, const void* page) {
  return srvdb::file_of(store).page_ok(number, end, static_cast<const std::uint8_t*>(page)) ? 1 : 0;
}

int srvdb_lmdb_reach(void* store, uint64_t bytes) {
  return guarded([&] { return srvdb::file_of(store).reach(bytes), 0; }) == 0 ? 0 : errno;
}

void srvdb_lmdb_seal_meta(void* page) {
  srvdb::store(static_cast<std::uint8_t*>(page) + SRVDB_META_BYTES - 4, srvdb::meta_checksum(page));
}

int srvdb_lmdb_meta_ok(const void* page) {
  const auto* const at = static_cast<const std::uint8_t*>(page) + SRVDB_META_BYTES - 4;
  return srvdb::load<std::uint32_t>(at) == srvdb::meta_checksum(page) ? 1 : 0;
}

int srvdb_lmdb_write_meta(void* store, int number, const void* meta, size_t bytes) {
  int result = EIO;
  guarded([&] {
    result =
        srvdb::file_of(store).write_meta(number, {static_cast<const std::uint8_t*>(meta), bytes});
    return 0;
  });
  return result;
}
