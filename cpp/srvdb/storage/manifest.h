// MANIFEST: what a database directory is and which files belong to it. Byte layout in
// cpp/FORMAT.md.
//
// Replaced as a whole (temporary file, fsync, rename, directory fsync), so a reader sees the old or
// the new one. A file with unknown incompatible features or of a newer version is Error(kVersion)
// and stays untouched; unknown read-only-compatible features refuse writers only. Sections this
// version does not know are kept and written back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "srvdb/storage/file.h"
#include "srvdb/storage/strided_file.h"

namespace srvdb {

inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr const char* kManifestName = "MANIFEST";
inline constexpr const char* kManifestTemporaryName = "MANIFEST.tmp";

// Feature bits this version knows; none so far.
inline constexpr std::uint64_t kKnownIncompatible = 0;
inline constexpr std::uint64_t kKnownReadOnlyCompatible = 0;

// The numbers of dtype, metric and mode are the database layer's; storage only keeps them.
struct ManifestSpace {
  std::string name;
  std::uint8_t dtype = 0;
  std::uint8_t metric = 0;
  std::uint32_t dimension = 0;
  bool operator==(const ManifestSpace&) const = default;
};

struct ManifestFile {  // an immutable file: its length never changes
  std::string name;    // relative to the database directory
  std::uint64_t length = 0;
  bool operator==(const ManifestFile&) const = default;
};

inline constexpr std::uint8_t kDerivedCodes = 1;  // kinds of derived files
inline constexpr std::uint8_t kDerivedGraph = 2;
inline constexpr std::uint8_t kDerivedShortCodes = 3;

struct ManifestDerived {
  std::uint8_t kind = 0;
  std::string file;
  std::uint32_t covers_rows = 0;
  std::uint64_t lineage = 0;
  bool operator==(const ManifestDerived&) const = default;
};

struct Manifest {
  std::uint64_t compatible = 0;  // feature bits
  std::uint64_t read_only_compatible = 0;
  std::uint64_t incompatible = 0;
  Uuid uuid{};
  std::uint64_t generation = 1;
  std::uint8_t mode = 0;
  std::uint32_t m = 0;
  std::uint32_t ef_construction = 0;
  std::vector<ManifestSpace> spaces;
  std::vector<ManifestFile> files;
  std::vector<ManifestDerived> derived;
  std::vector<std::pair<std::string, std::string>> settings;
  std::string calibration;                                    // bytes, the database layer's
  std::vector<std::pair<std::uint8_t, std::string>> unknown;  // sections of later versions
  bool operator==(const Manifest&) const = default;
};

std::string encode_manifest(const Manifest& manifest);
// Throws Error(kCorruption) or Error(kVersion); `path` is for messages.
Manifest decode_manifest(ByteSpan bytes, const std::string& path, bool read_only);

// Nothing when the directory has no MANIFEST. A directory of srvdb 0.1-0.3 is Error(kVersion) that
// names the version. Reads only.
std::optional<Manifest> read_manifest(FileSystem& files, const std::string& directory,
                                      bool read_only);
// Atomic and durable when it returns. A failure before the rename leaves the old one.
void write_manifest(FileSystem& files, const std::string& directory, const Manifest& manifest);

Uuid random_uuid();
std::uint64_t random_u64();                                  // never 0; for salts and lineages
std::string generation_directory(std::uint64_t generation);  // "gen-1"

// Version of srvdb 0.1-0.3 that wrote the directory, as far as its files tell ("0.1", "0.2", "0.3",
// "0.2 or 0.3"), or nothing when it is no such directory.
std::optional<std::string> detect_legacy(FileSystem& files, const std::string& directory);

}  // namespace srvdb
