// Snapshots on disk: directories snapshots/<name>/ of a database, laid out like a database without
// a log. The rows' files are hard links to those of the database at the time (which only ever grow,
// or are unlinked), metadata.db is a copy; the manifest's settings say what it is. A directory
// whose name begins with a dot is one being made or removed, and nobody's once no writer is at
// work.
//
// Free functions over files; who calls them keeps makers and droppers apart. Errors: kInvalidInput
// for a name that cannot be, kNotFound, kStorage, kCorruption.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/database/options.h"
#include "srvdb/storage/manifest.h"

namespace srvdb {

inline constexpr std::size_t kMaxSnapshotNameBytes = 100;

// What a snapshot's manifest says beyond a database's.
struct SnapshotLabel {
  std::string name;
  std::int64_t time_us = 0;  // UTC, since the epoch
  Sequence sequence = 0;     // of the last batch in it
  std::uint64_t vectors = 0;
  std::uint64_t deleted = 0;
  bool automatic = false;
  bool operator==(const SnapshotLabel&) const = default;
};

SnapshotInfo to_info(const SnapshotLabel& label, std::uint64_t own_bytes);
// Puts the label into the settings; takes it out again.
void put_label(Manifest& manifest, const SnapshotLabel& label);
void erase_label(Manifest& manifest);
bool is_snapshot(const Manifest& manifest) noexcept;
// Of a snapshot's manifest; `path` is for messages. Throws Error(kCorruption).
SnapshotLabel read_label(const Manifest& manifest, const std::string& path);

// 1..kMaxSnapshotNameBytes of [A-Za-z0-9._-], not beginning with a dot.
void check_snapshot_name(std::string_view name);
// "<prefix>YYYYMMDD_HHMMSS" in UTC.
std::string timed_name(std::string_view prefix, std::int64_t time_us);

std::string snapshots_path(const std::string& database);  // the directory of them all
std::string snapshot_path(const std::string& database, std::string_view name);
// Where it lies while it is being made or removed.
std::string unfinished_path(const std::string& database, std::string_view name);
bool is_unfinished(std::string_view name) noexcept;  // of an entry of snapshots_path()

// The name, or the name with "_2", "_3", ... when that is taken.
std::string free_snapshot_name(FileSystem& files, const std::string& database,
                               const std::string& name);
// Its directory. kNotFound when there is none of that name.
std::string find_snapshot(FileSystem& files, const std::string& database, std::string_view name);
Manifest read_snapshot(FileSystem& files, const std::string& database, std::string_view name);

// Oldest first. One that cannot be read is left out, and told as a warning event.
std::vector<SnapshotInfo> list_snapshots(FileSystem& files, const std::string& database);

// Takes the snapshot out of sight at once and then removes its files, as far as that goes: the rest
// goes when a writer opens the database.
void drop_snapshot(FileSystem& files, const std::string& database, std::string_view name);
// Removes what makers and droppers that died left behind.
void remove_unfinished(FileSystem& files, const std::string& database);

// Unpacks a compressed backup; see Database::restore_backup.
void restore_backup(FileSystem& files, const std::string& archive, const std::string& path);

}  // namespace srvdb
