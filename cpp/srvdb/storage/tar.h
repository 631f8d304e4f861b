// Headers of tar archives (POSIX ustar), for plain files and directories and nothing else.
//
// Sizes from 8 GiB on are written in the base-256 form that every common tar reads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace srvdb {

inline constexpr std::size_t kTarBlockBytes = 512;
using TarBlock = std::array<std::uint8_t, kTarBlockBytes>;

struct TarEntry {
  std::string name;  // relative, '/' between parts, none at the end
  bool is_directory = false;
  std::uint64_t bytes = 0;  // of content, which follows padded with zeros to whole blocks
};

// Files are for the owner alone. A name that does not fit the format (255 bytes, parts of 100) is
// Error(kInvalidInput).
TarBlock tar_header(const TarEntry& entry, std::int64_t time_s);

// Empty for the zero block that ends an archive. Anything but a plain file or a directory with a
// right checksum and a name that stays inside the directory it is unpacked to (no leading '/', no
// empty, "." or ".." part) is Error(kCorruption).
std::optional<TarEntry> parse_tar_header(const TarBlock& block);

// Zeros behind a content of so many bytes.
constexpr std::size_t tar_padding(std::uint64_t bytes) noexcept {
  return static_cast<std::size_t>((kTarBlockBytes - bytes % kTarBlockBytes) % kTarBlockBytes);
}

}  // namespace srvdb
