#include "srvdb/database/snapshot.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/base/events.h"
#include "srvdb/storage/archive.h"

namespace srvdb {
namespace {

constexpr std::string_view kPrefix = "snapshot.";
constexpr const char* kName = "snapshot.name";
constexpr const char* kTime = "snapshot.time_us";
constexpr const char* kSequence = "snapshot.sequence";
constexpr const char* kVectors = "snapshot.vectors";
constexpr const char* kDeleted = "snapshot.deleted";
constexpr const char* kAutomatic = "snapshot.automatic";

constexpr std::string_view kUnfinishedEnd = ".tmp";

const std::string* find_setting(const Manifest& manifest, std::string_view key) noexcept {
  for (const auto& [name, value] : manifest.settings) {
    if (name == key) return &value;
  }
  return nullptr;
}

template <typename Number>
Number number_setting(const Manifest& manifest, const char* key, const std::string& path) {
  Number out{};
  if (const std::string* const text = find_setting(manifest, key)) {
    const auto read = std::from_chars(text->data(), text->data() + text->size(), out);
    if (read.ec == std::errc() && read.ptr == text->data() + text->size()) return out;
  }
  throw Error(ErrorCode::kCorruption,
              path + "/MANIFEST: expected a number as setting " + std::string(key));
}

bool is_name_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

}  // namespace

SnapshotInfo to_info(const SnapshotLabel& label, std::uint64_t own_bytes) {
  return {label.name, label.time_us, label.vectors, label.deleted, own_bytes, label.automatic};
}

void erase_label(Manifest& manifest) {
  std::erase_if(manifest.settings,
                [](const auto& entry) { return entry.first.starts_with(kPrefix); });
}

void put_label(Manifest& manifest, const SnapshotLabel& label) {
  erase_label(manifest);
  auto& settings = manifest.settings;
  settings.emplace_back(kName, label.name);
  settings.emplace_back(kTime, std::to_string(label.time_us));
  settings.emplace_back(kSequence, std::to_string(label.sequence));
  settings.emplace_back(kVectors, std::to_string(label.vectors));
  settings.emplace_back(kDeleted, std::to_string(label.deleted));
  settings.emplace_back(kAutomatic, label.automatic ? "1" : "0");
}

bool is_snapshot(const Manifest& manifest) noexcept {
  return find_setting(manifest, kName) != nullptr;
}

SnapshotLabel read_label(const Manifest& manifest, const std::string& path) {
  const std::string* const name = find_setting(manifest, kName);
  if (name == nullptr) {
    throw Error(ErrorCode::kCorruption,
                path + "/MANIFEST: expected that of a snapshot, got that of a database");
  }
  SnapshotLabel label;
  label.name = *name;
  label.time_us = number_setting<std::int64_t>(manifest, kTime, path);
  label.sequence = number_setting<Sequence>(manifest, kSequence, path);
  label.vectors = number_setting<std::uint64_t>(manifest, kVectors, path);
  label.deleted = number_setting<std::uint64_t>(manifest, kDeleted, path);
  label.automatic = number_setting<unsigned>(manifest, kAutomatic, path) != 0;
  return label;
}

void check_snapshot_name(std::string_view name) {
  const bool sound = !name.empty() && name.size() <= kMaxSnapshotNameBytes && name[0] != '.' &&
                     std::all_of(name.begin(), name.end(), is_name_letter);
  if (sound) return;
  throw Error(ErrorCode::kInvalidInput,
              "a snapshot's name must be 1.." + std::to_string(kMaxSnapshotNameBytes) +
                  " letters, digits, '.', '_' or '-', not beginning with '.', got '" +
                  std::string(name.substr(0, 2 * kMaxSnapshotNameBytes)) + "'");
}

std::string timed_name(std::string_view prefix, std::int64_t time_us) {
  const auto seconds = static_cast<std::time_t>(time_us / 1'000'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  const std::size_t length = std::strftime(text, sizeof(text), "%Y%m%d_%H%M%S", &parts);
  return std::string(prefix).append(text, length);
}

std::string snapshots_path(const std::string& database) {
  return database + "/snapshots";
}
std::string snapshot_path(const std::string& database, std::string_view name) {
  return snapshots_path(database).append("/").append(name);
}
std::string unfinished_path(const std::string& database, std::string_view name) {
  return snapshots_path(database).append("/.").append(name).append(kUnfinishedEnd);
}
bool is_unfinished(std::string_view name) noexcept {
  return name.starts_with('.') && name.ends_with(kUnfinishedEnd);
}

std::string free_snapshot_name(FileSystem& files, const std::string& database,
                               const std::string& name) {
  std::string out = name;
  for (int n = 2; files.exists(snapshot_path(database, out)); ++n) {
    out = name + "_" + std::to_string(n);
  }
  return out;
}

std::string find_snapshot(FileSystem& files, const std::string& database, std::string_view name) {
  check_snapshot_name(name);
  std::string path = snapshot_path(database, name);
  if (files.exists(path)) return path;
  throw Error(ErrorCode::kNotFound, database + " has no snapshot '" + std::string(name) + "'");
}

Manifest read_snapshot(FileSystem& files, const std::string& database, std::string_view name) {
  const std::string path = find_snapshot(files, database, name);
  std::optional<Manifest> manifest = read_manifest(files, path, true);
  if (!manifest) {
    throw Error(ErrorCode::kCorruption, path + "/" + kManifestName + " is missing");
  }
  static_cast<void>(read_label(*manifest, path));
  return std::move(*manifest);
}

std::vector<SnapshotInfo> list_snapshots(FileSystem& files, const std::string& database) {
  std::vector<SnapshotInfo> out;
  const std::string root = snapshots_path(database);
  if (!files.exists(root)) return out;
  for (const std::string& name : files.list_dir(root)) {
    if (name.starts_with('.')) continue;
    const std::string path = snapshot_path(database, name);
    try {
      SnapshotLabel label = read_label(read_snapshot(files, database, name), path);
      label.name = name;  // the directory's name is the one that counts
      out.push_back(to_info(label, tree_bytes(files, path).own));
    } catch (const Error& error) {
      if (!files.exists(path)) continue;  // dropped meanwhile
      post_event(Event::Level::kWarning,
                 "the snapshot " + path + " cannot be read: " + error.what());
    }
  }
  std::stable_sort(out.begin(), out.end(), [](const SnapshotInfo& a, const SnapshotInfo& b) {
    return a.time_us < b.time_us;
  });
  return out;
}

void drop_snapshot(FileSystem& files, const std::string& database, std::string_view name) {
  const std::string path = find_snapshot(files, database, name);
  const std::string away = unfinished_path(database, name);
  if (files.exists(away)) remove_tree(files, away);
  files.rename(path, away);
  files.sync_dir(snapshots_path(database));
  try {
    remove_tree(files, away);
  } catch (const Error& error) {
    post_event(Event::Level::kInfo, away + " will be removed later: " + error.what());
  }
}

void remove_unfinished(FileSystem& files, const std::string& database) {
  const std::string root = snapshots_path(database);
  if (!files.exists(root)) return;
  for (const std::string& name : files.list_dir(root)) {
    if (is_unfinished(name)) remove_tree(files, root + "/" + name);
  }
}

void restore_backup(FileSystem& files, const std::string& archive, const std::string& path) {
  if (path.empty()) throw Error(ErrorCode::kInvalidInput, "path must not be empty");
  if (const auto found = files.info(archive); !found || found->is_directory) {
    throw Error(found ? ErrorCode::kInvalidInput : ErrorCode::kNotFound,
                found ? archive + " is a directory: expected the file of a compressed backup"
                      : "no backup at " + archive);
  }
  extract_archive(files, archive, path);
  if (files.exists(path + "/" + kManifestName)) return;
  remove_tree(files, path);
  throw Error(ErrorCode::kInvalidInput, archive + " is an archive, but none of a database");
}

}  // namespace srvdb
