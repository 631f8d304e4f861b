// Recognises directories of srvdb 0.1-0.3 by their headers (cpp/FORMAT.md). Reads only.
#include <string>

#include "srvdb/base/bytes.h"
#include "srvdb/storage/manifest.h"

namespace srvdb {

namespace {

constexpr std::uint32_t kLegacyMagic = 0x53764442;
constexpr std::string_view kRedbMagic = "redb\x1A\x0A\xA9\x0D\x0A";
constexpr std::size_t kRedbVersionOffset = 64;

// Up to `bytes` from the start of a file, or an empty string when it is absent.
std::string start_of(FileSystem& files, const std::string& path, std::size_t bytes) {
  const auto found = files.info(path);
  if (!found || found->is_directory) return {};
  std::string start(bytes, '\0');
  start.resize(files.open(path, OpenMode::kRead)->pread(start.data(), bytes, 0));
  return start;
}

}  // namespace

std::optional<std::string> detect_legacy(FileSystem& files, const std::string& directory) {
  for (const char* name : {"/vectors.bin", "/sq8_vectors.bin"}) {
    const std::string header = start_of(files, directory + name, 8);
    if (header.size() < 8 || load<std::uint32_t>(header.data()) != kLegacyMagic) continue;
    if (load<std::uint16_t>(header.data() + 4) == 0) return "0.1";
    const std::string redb = start_of(files, directory + "/metadata.db", kRedbVersionOffset + 1);
    if (redb.size() == kRedbVersionOffset + 1 && redb.starts_with(kRedbMagic)) {
      if (redb[kRedbVersionOffset] == 2) return "0.2";
      if (redb[kRedbVersionOffset] == 3) return "0.3";
    }
    return "0.2 or 0.3";
  }
  return std::nullopt;
}

}  // namespace srvdb
