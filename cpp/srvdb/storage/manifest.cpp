#include "srvdb/storage/manifest.h"

#include <sys/random.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <functional>
#include <limits>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/base/planted_bugs.h"

namespace srvdb {

namespace {

constexpr std::string_view kMagic = "srvdbMAN";
constexpr std::size_t kFixedBytes = 64;
constexpr std::size_t kMaxManifestBytes = std::size_t{1} << 20;

enum Tag : std::uint8_t {
  kSpaces = 1,
  kIndex = 2,
  kFiles = 3,
  kDerived = 4,
  kSettings = 5,
  kCalibration = 6
};

[[noreturn]] void corrupt(const std::string& path, const std::string& what) {
  throw Error(ErrorCode::kCorruption, path + " is damaged: " + what);
}

void put_text16(std::string& out, std::string_view text) {
  if (text.size() > std::numeric_limits<std::uint16_t>::max()) {
    throw Error(ErrorCode::kInvalidInput,
                "a name in the manifest: expected at most 65535 bytes, "
                "got " +
                    std::to_string(text.size()));
  }
  put<std::uint16_t>(out, static_cast<std::uint16_t>(text.size()));
  out.append(text);
}

std::string get_text16(ByteReader& reader) {
  return std::string(as_text(reader.bytes(reader.get<std::uint16_t>())));
}

void put_section(std::string& out, std::uint8_t tag, const std::string& bytes) {
  put(out, tag);
  put<std::uint64_t>(out, bytes.size());
  out += bytes;
}

template <typename Item>
std::string encode_list(const std::vector<Item>& items,
                        const std::function<void(std::string&, const Item&)>& encode) {
  std::string out;
  put<std::uint32_t>(out, static_cast<std::uint32_t>(items.size()));
  for (const Item& item : items) encode(out, item);
  return out;
}

// Reads `count` items; a reader that has run dry ends it early (the caller checks ok()).
template <typename Item>
std::vector<Item> decode_list(ByteReader& reader, const std::function<Item(ByteReader&)>& decode) {
  std::vector<Item> items;
  const auto count = reader.get<std::uint32_t>();
  for (std::uint32_t i = 0; i < count && reader.ok(); ++i) items.push_back(decode(reader));
  return items;
}

std::string encode_index(const Manifest& manifest) {
  std::string out;
  put(out, manifest.mode);
  put(out, manifest.m);
  put(out, manifest.ef_construction);
  return out;
}

void encode_sections(std::string& out, const Manifest& manifest) {
  put_section(out, kSpaces,
              encode_list<ManifestSpace>(manifest.spaces, [](std::string& to, const auto& space) {
                put_text16(to, space.name);
                put(to, space.dtype);
                put(to, space.metric);
                put(to, space.dimension);
              }));
  put_section(out, kIndex, encode_index(manifest));
  put_section(out, kFiles,
              encode_list<ManifestFile>(manifest.files, [](std::string& to, const auto& file) {
                put_text16(to, file.name);
                put(to, file.length);
              }));
  put_section(out, kDerived,
              encode_list<ManifestDerived>(manifest.derived, [](std::string& to, const auto& d) {
                put(to, d.kind);
                put_text16(to, d.file);
                put(to, d.covers_rows);
                put(to, d.lineage);
              }));
  using Setting = std::pair<std::string, std::string>;
  put_section(out, kSettings,
              encode_list<Setting>(manifest.settings, [](std::string& to, const auto& setting) {
                put_text16(to, setting.first);
                put_text(to, setting.second);
              }));
  if (!manifest.calibration.empty()) put_section(out, kCalibration, manifest.calibration);
  for (const auto& [tag, bytes] : manifest.unknown) put_section(out, tag, bytes);
}

void decode_section(std::uint8_t tag, ByteReader& reader, Manifest& manifest) {
  switch (tag) {
    case kSpaces:
      manifest.spaces = decode_list<ManifestSpace>(reader, [](ByteReader& from) {
        ManifestSpace space;
        space.name = get_text16(from);
        space.dtype = from.get<std::uint8_t>();
        space.metric = from.get<std::uint8_t>();
        space.dimension = from.get<std::uint32_t>();
        return space;
      });
      return;
    case kIndex:
      manifest.mode = reader.get<std::uint8_t>();
      manifest.m = reader.get<std::uint32_t>();
      manifest.ef_construction = reader.get<std::uint32_t>();
      return;
    case kFiles:
      manifest.files = decode_list<ManifestFile>(reader, [](ByteReader& from) {
        ManifestFile file;
        file.name = get_text16(from);
        file.length = from.get<std::uint64_t>();
        return file;
      });
      return;
    case kDerived:
      manifest.derived = decode_list<ManifestDerived>(reader, [](ByteReader& from) {
        ManifestDerived derived;
        derived.kind = from.get<std::uint8_t>();
        derived.file = get_text16(from);
        derived.covers_rows = from.get<std::uint32_t>();
        derived.lineage = from.get<std::uint64_t>();
        return derived;
      });
      return;
    case kSettings:
      using Setting = std::pair<std::string, std::string>;
      manifest.settings = decode_list<Setting>(reader, [](ByteReader& from) {
        Setting setting;
        setting.first = get_text16(from);
        setting.second = from.text();
        return setting;
      });
      return;
    case kCalibration:
      manifest.calibration = as_text(reader.bytes(reader.remaining()));
      return;
    default:
      manifest.unknown.emplace_back(tag, as_text(reader.bytes(reader.remaining())));
  }
}

void check_version(std::uint32_t version, const Manifest& manifest, const std::string& path,
                   bool read_only) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorCode::kVersion,
                path + ": " + what + "; it was written by a newer srvdb and stays untouched");
  };
  if (version != kFormatVersion) {
    refuse("expected format version " + std::to_string(kFormatVersion) + ", got " +
           std::to_string(version));
  }
  if ((manifest.incompatible & ~kKnownIncompatible) != 0) {
    refuse("unknown incompatible feature bits " +
           std::to_string(manifest.incompatible & ~kKnownIncompatible));
  }
  const std::uint64_t unknown = manifest.read_only_compatible & ~kKnownReadOnlyCompatible;
  if (!read_only && unknown != 0) {
    refuse("feature bits " + std::to_string(unknown) + " allow this version only to read it");
  }
}

}  // namespace

std::string encode_manifest(const Manifest& manifest) {
  std::string out(kMagic);
  put<std::uint32_t>(out, kFormatVersion);
  put<std::uint32_t>(out, 0);  // the length, below
  put(out, manifest.compatible);
  put(out, manifest.read_only_compatible);
  put(out, manifest.incompatible);
  out.append(reinterpret_cast<const char*>(manifest.uuid.data()), manifest.uuid.size());
  put(out, manifest.generation);
  assert(out.size() == kFixedBytes);
  encode_sections(out, manifest);
  if (out.size() + 4 > kMaxManifestBytes) {
    throw Error(ErrorCode::kInvalidInput, "the manifest: expected at most " +
                                              std::to_string(kMaxManifestBytes) + " bytes, got " +
                                              std::to_string(out.size() + 4));
  }
  store(out.data() + 12, static_cast<std::uint32_t>(out.size() + 4));
  put(out, crc32c(out));
  return out;
}

Manifest decode_manifest(ByteSpan bytes, const std::string& path, bool read_only) {
  if (bytes.size() < kFixedBytes + 4) {
    corrupt(path, "expected at least " + std::to_string(kFixedBytes + 4) + " bytes, got " +
                      std::to_string(bytes.size()));
  }
  if (as_text(bytes.first(kMagic.size())) != kMagic)
    corrupt(path, "expected its magic at offset 0");
  const ByteSpan body = bytes.first(bytes.size() - 4);
  if (crc32c(body.data(), body.size()) != load<std::uint32_t>(bytes.data() + body.size())) {
    corrupt(path, "its checksum does not hold");
  }
  ByteReader reader(body.subspan(kMagic.size()));
  const auto version = reader.get<std::uint32_t>();
  const auto length = reader.get<std::uint32_t>();
  if (length != bytes.size()) {
    corrupt(path,
            "expected " + std::to_string(length) + " bytes, got " + std::to_string(bytes.size()));
  }
  Manifest manifest;
  manifest.compatible = reader.get<std::uint64_t>();
  manifest.read_only_compatible = reader.get<std::uint64_t>();
  manifest.incompatible = reader.get<std::uint64_t>();
  check_version(version, manifest, path, read_only);
  std::ranges::copy(reader.bytes(manifest.uuid.size()), manifest.uuid.begin());
  manifest.generation = reader.get<std::uint64_t>();
  std::vector<bool> seen(256);
  while (reader.remaining() != 0) {
    const auto tag = reader.get<std::uint8_t>();
    const auto size = reader.get<std::uint64_t>();
    if (!reader.ok() || size > reader.remaining() || seen[tag]) {
      corrupt(path, "section " + std::to_string(tag) + " is cut short or comes twice");
    }
    seen[tag] = true;
    ByteReader section(reader.bytes(static_cast<std::size_t>(size)));
    decode_section(tag, section, manifest);
    if (!section.ok() || section.remaining() != 0) {
      corrupt(path, "section " + std::to_string(tag) + " does not have the length it needs");
    }
  }
  return manifest;
}

std::optional<Manifest> read_manifest(FileSystem& files, const std::string& directory,
                                      bool read_only) {
  const std::string path = directory + "/" + kManifestName;
  if (!files.exists(path)) {
    if (const auto version = detect_legacy(files, directory)) {
      throw Error(ErrorCode::kVersion,
                  directory + " was written by srvdb " + *version +
                      ", a format this version does not read; it stays untouched");
    }
    return std::nullopt;
  }
  const std::string bytes = read_file(files, path, kMaxManifestBytes);
  return decode_manifest(as_byte_span(bytes), path, read_only);
}

void write_manifest(FileSystem& files, const std::string& directory, const Manifest& manifest) {
  const std::string bytes = encode_manifest(manifest);
  const std::string path = directory + "/" + kManifestName;
  const std::string temporary = directory + "/" + kManifestTemporaryName;
  if (files.exists(temporary)) files.remove(temporary);
  try {
    const auto file = files.open(temporary, OpenMode::kCreateNew);
    file->pwrite(bytes.data(), bytes.size(), 0);
    file->sync_data();
  } catch (const Error&) {
    try {
      files.remove(temporary);
    } catch (const Error&) {
      // A leftover is harmless: the next write removes it first.
    }
    throw;
  }
  files.rename(temporary, path);
  if (!planted(Bug::kSkipManifestDirectorySync)) files.sync_dir(directory);
}

std::uint64_t random_u64() {
  std::uint64_t value = 0;
  while (value == 0) {
    const ssize_t got = ::getrandom(&value, sizeof(value), 0);
    if (got == static_cast<ssize_t>(sizeof(value))) continue;
    if (got < 0 && errno != EINTR) throw_storage("cannot read", "random numbers", errno);
    value = 0;
  }
  return value;
}

Uuid random_uuid() {
  Uuid uuid;
  store(uuid.data(), random_u64());
  store(uuid.data() + 8, random_u64());
  uuid[6] = static_cast<std::uint8_t>((uuid[6] & 0x0F) | 0x40);  // RFC 4122: version 4
  uuid[8] = static_cast<std::uint8_t>((uuid[8] & 0x3F) | 0x80);
  return uuid;
}

std::string generation_directory(std::uint64_t generation) {
  return "gen-" + std::to_string(generation);
}

}  // namespace srvdb
