#include "srvdb/storage/file.h"

#include <cerrno>
#include <system_error>

#include "srvdb/base/error.h"

namespace srvdb {

void throw_storage(const char* what, const std::string& path, int os_error) {
  throw Error(ErrorCode::kStorage,
              std::string(what) + " " + path + ": " + std::generic_category().message(os_error),
              os_error);
}

bool is_no_space(int os_error) noexcept {
  return os_error == ENOSPC || os_error == EDQUOT;
}

void File::pread_exactly(void* to, std::size_t bytes, std::uint64_t offset) const {
  const std::size_t got = pread(to, bytes, offset);
  if (got == bytes) return;
  throw Error(ErrorCode::kCorruption, path() + " is too short: expected " + std::to_string(bytes) +
                                          " bytes at offset " + std::to_string(offset) + ", got " +
                                          std::to_string(got));
}

std::string read_file(FileSystem& files, const std::string& path, std::size_t limit) {
  const auto file = files.open(path, OpenMode::kRead);
  const std::uint64_t size = file->size();
  if (size > limit) {
    throw Error(ErrorCode::kCorruption, path + " is too long: expected at most " +
                                            std::to_string(limit) + " bytes, got " +
                                            std::to_string(size));
  }
  std::string bytes(static_cast<std::size_t>(size), '\0');
  file->pread_exactly(bytes.data(), bytes.size(), 0);
  return bytes;
}

}  // namespace srvdb
