// Core: keeping states by name, going back to one, and copies elsewhere.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <utility>

#include "srvdb/base/clock.h"
#include "srvdb/base/error.h"
#include "srvdb/base/events.h"
#include "srvdb/database/core.h"
#include "srvdb/database/field_catalogue.h"
#include "srvdb/database/generation_files.h"
#include "srvdb/database/snapshot.h"
#include "srvdb/storage/archive.h"

namespace srvdb {
namespace {

constexpr Sequence kOwnEntries = 1;  // in the log, of an automatic snapshot itself
constexpr auto kBusyPause = std::chrono::milliseconds(1000);
constexpr auto kSnapshotRetry = std::chrono::milliseconds(60'000);

std::string parent_of(const std::string& path) {
  const std::string parent = std::filesystem::absolute(path).parent_path().string();
  return parent.empty() ? "/" : parent;
}

// Removes a directory made in vain.
void remove_quietly(FileSystem& files, const std::string& path) noexcept {
  try {
    if (files.exists(path)) remove_tree(files, path);
  } catch (const std::exception& error) {
    post_event(Event::Level::kInfo, path + " was left behind: " + error.what());
  }
}

// The beginning of a change-log entry's details. Names need no escapes.
std::string named(const std::string& name) {
  std::string out = "{\"name\": \"";
  return out.append(name).append("\"");
}

// A free name beside the target, for what is not finished.
std::string partial_path(FileSystem& files, const std::string& target) {
  std::string out = target + ".partial";
  for (int n = 2; files.exists(out); ++n) out = target + ".partial" + std::to_string(n);
  return out;
}

}  // namespace

Manifest Core::current_manifest() const {
  const std::lock_guard lock(write_mutex_);
  return manifest_;
}

std::shared_ptr<MetaStore> Core::store() const {
  const std::shared_lock state(state_mutex_);
  return meta_;
}

// ---- a database in another directory -----------------------------------------------------------

// What the store publishes by now, with its files, as a directory `to` without a manifest. The
// given manifest is of the present generation; the one that comes back goes with the copy.
Core::Copied Core::copy_database(const std::string& to, const Manifest& manifest, bool link) {
  Copied out;
  const std::string name = generation_directory(manifest.generation);
  const std::string store = to + "/" + name + "/metadata.db";
  files_.make_dir(to);
  files_.make_dir(to + "/" + name);
  {
    const std::shared_ptr<MetaStore> meta = this->store();
    if (!options_.read_only) meta->reserve_map();  // it cannot grow while the copying lasts
    const MetaStore::ReadTxn now = meta->read();
    meta->copy_to(now, store);
    out.state = now.state();
  }
  GenerationFiles what;
  what.from = generation_path(manifest.generation);
  what.to = to + "/" + name;
  what.manifest = &manifest;
  what.state = out.state;
  what.generation = manifest.generation;
  what.link = link;
  TakenFiles taken = take_generation(files_, what);
  files_.sync_dir(what.to);
  out.manifest = manifest;
  out.manifest.derived = std::move(taken.derived);
  for (const ManifestFile& file : taken.lengths) {
    out.lengths.push_back({name + "/" + file.name, file.length});
  }
  out.lengths.push_back({name + "/metadata.db", files_.info(store).value_or(FileInfo{}).size});
  return out;
}

// ---- snapshots ---------------------------------------------------------------------------------

void Core::refuse_snapshot_writer() const {
  if (files_.exists(path_ + "/wal")) return;
  const std::optional<Manifest> manifest = read_manifest(files_, path_, true);
  if (!manifest || !is_snapshot(*manifest)) return;
  throw Error(ErrorCode::kReadOnly,
              path_ +
                  " is a snapshot and never changes: open it read-only; restore it in its "
                  "database, or back it up to a directory of its own, to go on from it");
}

SnapshotInfo Core::create_snapshot(const std::string& name) {
  if (!name.empty()) check_snapshot_name(name);
  const std::lock_guard one(maintenance_mutex_);
  check_writable();
  checkpoint();
  SnapshotInfo out = make_snapshot(name.empty() ? timed_name("snapshot_", now_us()) : name,
                                   name.empty(), false, current_manifest());
  try {
    log_event(LogOperation::kCreateSnapshot, named(out.name) + "}");
  } catch (const std::exception&) {
    if (!failed_) remove_quietly(files_, snapshot_path(path_, out.name));
    throw;
  }
  return out;
}

// All of the store's last commit. The database goes on meanwhile, and stays as it is when this
// fails. `manifest` is the present one. A name that need not be this very one is made free.
SnapshotInfo Core::make_snapshot(std::string name, bool any_name, bool automatic,
                                 const Manifest& manifest) {
  if (any_name) name = free_snapshot_name(files_, path_, name);
  const std::string path = snapshot_path(path_, name);
  if (files_.exists(path)) {
    throw Error(ErrorCode::kDuplicateId, path_ + " already has a snapshot '" + name + "'");
  }
  const std::string unfinished = unfinished_path(path_, name);
  try {
    if (files_.make_dir(snapshots_path(path_))) files_.sync_dir(path_);
    if (files_.exists(unfinished)) remove_tree(files_, unfinished);
    Copied copied = copy_database(unfinished, manifest, true);
    SnapshotLabel label;
    label.name = name;
    label.time_us = now_us();
    label.sequence = copied.state.applied_sequence;
    label.vectors = copied.state.live_count;
    label.deleted = copied.state.published_rows - copied.state.live_count;
    label.automatic = automatic;
    put_label(copied.manifest, label);
    copied.manifest.files = std::move(copied.lengths);
    write_manifest(files_, unfinished, copied.manifest);
    files_.rename(unfinished, path);
    files_.sync_dir(snapshots_path(path_));
    return to_info(label, tree_bytes(files_, path).own);
  } catch (...) {
    remove_quietly(files_, unfinished);
    remove_quietly(files_, path);
    throw;
  }
}

std::vector<SnapshotInfo> Core::snapshots() const {
  return list_snapshots(files_, path_);
}

std::string Core::path_of_snapshot(const std::string& name) const {
  static_cast<void>(read_snapshot(files_, path_, name));
  return snapshot_path(path_, name);
}

void Core::drop_snapshot(const std::string& name) {
  const std::lock_guard one(maintenance_mutex_);
  static_cast<void>(find_snapshot(files_, path_, name));
  log_event(LogOperation::kDropSnapshot, named(name) + "}");
  srvdb::drop_snapshot(files_, path_, name);
}

// ---- going back --------------------------------------------------------------------------------

// The snapshot as a generation directory of this database, durable but for its name in path_.
Core::NextGeneration Core::copy_snapshot(const Manifest& snapshot, const std::string& from,
                                         std::uint64_t generation) {
  const std::string source = from + "/" + generation_directory(snapshot.generation);
  const std::string directory = generation_path(generation);
  if (files_.exists(directory)) remove_tree(files_, directory);  // of an earlier try
  files_.make_dir(directory);
  NextGeneration next;
  next.generation = generation;
  next.dimension = snapshot.spaces[0].dimension;
  MetaStoreOptions options;
  options.files = &files_;
  options.read_only = options.immutable = true;
  {
    MetaStore kept(source + "/metadata.db", options);
    kept.copy_to(kept.read(), directory + "/metadata.db");
  }
  options.read_only = options.immutable = false;
  next.meta = std::make_shared<MetaStore>(directory + "/metadata.db", options);
  GenerationFiles what;
  what.from = source;
  what.to = directory;
  what.manifest = &snapshot;
  what.state = next.meta->state();
  what.generation = generation;
  next.derived = take_generation(files_, what).derived;
  if (next.dimension != 0) {
    next.rows = RowFiles::open(files_, directory, manifest_.uuid, generation, next.dimension,
                               {what.state.published_rows, what.state.id_bytes}, false);
  }
  files_.sync_dir(directory);
  return next;
}

void Core::restore_snapshot(const std::string& name, bool keep_current) {
  const std::lock_guard one(maintenance_mutex_);
  check_writable();
  const Manifest snapshot = read_snapshot(files_, path_, name);
  const Manifest present = current_manifest();
  if (snapshot.uuid != present.uuid || snapshot.spaces.size() != present.spaces.size() ||
      snapshot.spaces[0].metric != present.spaces[0].metric) {
    throw Error(ErrorCode::kInvalidInput,
                snapshot_path(path_, name) + " is a snapshot of another database");
  }
  const std::uint64_t generation = present.generation + 1;
  std::string kept;  // the state before
  try {
    NextGeneration next = copy_snapshot(snapshot, snapshot_path(path_, name), generation);
    files_.sync_dir(path_);
    // Most of the change log before writers have to wait. The snapshot holds what was there then.
    Sequence carried = next.meta->state().applied_sequence;
    carried = carry_log(store()->read(), *next.meta, carried, nullptr);
    const Standstill standstill(*this);
    carry_log(meta_->read(), *next.meta, carried, nullptr);
    if (keep_current) {
      kept = make_snapshot(timed_name("before_restore_", now_us()), true, false, manifest_).name;
    }
    note_restore(*next.meta, name, kept);
    switch_generation(standstill, std::move(next));
  } catch (...) {
    if (!failed_) {  // else either generation may be the one that counts
      remove_quietly(files_, generation_path(generation));
      if (!kept.empty()) remove_quietly(files_, snapshot_path(path_, kept));
    }
    throw;
  }
}

void Core::note_restore(MetaStore& restored, const std::string& name, const std::string& kept) {
  std::string details = named(name);
  if (!kept.empty()) details.append(", \"kept\": \"").append(kept).append("\"");
  details.append("}");
  const MetaState state = restored.state();
  const MetaStore::ReadTxn present = meta_->read();
  // Which fields are indexed is a setting of the database, which stays as it is. The background
  // makes the columns once the generation has changed.
  FieldCatalogue wanted = FieldCatalogue(present).fresh();
  const bool other_fields = FieldCatalogue(restored.read()).only() != wanted.only();
  wanted.set_missing(0, state.published_rows);
  restored.update([&](MetaStore::WriteTxn& txn) {
    if (other_fields) {
      txn.clear_columns();
      txn.set_column_state(as_byte_span(wanted.state_bytes()));
    }
    continue_history(txn, present, state, LogOperation::kRestoreSnapshot, details);
  });
}

// ---- backups -----------------------------------------------------------------------------------

void Core::backup(const std::string& path, bool compressed) {
  if (path.empty()) throw Error(ErrorCode::kInvalidInput, "path must not be empty");
  const std::optional<FileInfo> there = files_.info(path);
  if (there && (compressed || !there->is_directory || !files_.list_dir(path).empty())) {
    throw Error(ErrorCode::kInvalidInput, path + " exists: a backup goes to a new " +
                                              (compressed ? "file" : "or empty directory"));
  }
  const std::lock_guard one(maintenance_mutex_);
  if (!options_.read_only) {
    check_writable();
    checkpoint();
  } else if (view()->sequence != applied_) {
    throw Error(ErrorCode::kReadOnly,
                path_ +
                    " was not closed, and was opened read-only: what only its log holds cannot "
                    "be backed up. Open it for writing once");
  }
  const std::string partial = partial_path(files_, path);
  try {
    Copied copied = copy_database(partial, current_manifest(), compressed);
    erase_label(copied.manifest);
    copied.manifest.files.clear();
    files_.make_dir(partial + "/wal");
    write_manifest(files_, partial, copied.manifest);
    if (compressed) {
      std::vector<ArchiveMember> members = archive_members(files_, partial);
      for (ArchiveMember& member : members) {
        const auto published =
            std::find_if(copied.lengths.begin(), copied.lengths.end(),
                         [&](const ManifestFile& file) { return file.name == member.name; });
        if (published != copied.lengths.end()) member.bytes = published->length;
      }
      write_archive(files_, members, path);
      remove_tree(files_, partial);
      return;
    }
    if (there) files_.remove(path);
    files_.rename(partial, path);
    files_.sync_dir(parent_of(path));
  } catch (...) {
    remove_quietly(files_, partial);
    throw;
  }
}

// ---- automatic snapshots -----------------------------------------------------------------------

void Core::schedule_snapshot() {
  if (options_.read_only || options_.snapshot_every_ms == 0) return;
  snapshot_job_ = std::make_unique<BackgroundJob>([this] { return background_snapshot(); });
  std::int64_t due_ms = options_.snapshot_every_ms;
  for (const SnapshotInfo& made : snapshots()) {
    if (!made.automatic) continue;
    const std::int64_t age_ms = std::max<std::int64_t>(0, (now_us() - made.time_us) / 1000);
    due_ms = std::max<std::int64_t>(0, options_.snapshot_every_ms - age_ms);  // newest comes last
  }
  snapshot_job_->wake_after(std::chrono::milliseconds(due_ms));
}

bool Core::background_snapshot() {
  const std::unique_lock one(maintenance_mutex_, std::try_to_lock);
  if (!one.owns_lock()) {
    snapshot_job_->wake_after(kBusyPause);
    return false;
  }
  auto next = std::chrono::milliseconds(options_.snapshot_every_ms);
  std::string problem;
  try {
    if (failed_) return false;
    if (changed_since_snapshot()) {
      checkpoint();
      const SnapshotInfo made =
          make_snapshot(timed_name("auto_", now_us()), true, true, current_manifest());
      const std::string dropped = prune_snapshots();
      log_event(LogOperation::kCreateSnapshot,
                named(made.name) + ", \"automatic\": true" + dropped + "}");
    }
  } catch (const std::exception& error) {
    next = std::min<std::chrono::milliseconds>(next, kSnapshotRetry);
    problem = error.what();
    post_event(Event::Level::kWarning, path_ + ": no automatic snapshot: " + problem);
  }
  {
    const std::lock_guard lock(failure_mutex_);
    snapshot_error_ = problem;
  }
  snapshot_job_->wake_after(next);
  return false;
}

// False when the newest automatic snapshot shows the state there is, but for the entry about
// itself.
bool Core::changed_since_snapshot() const {
  std::string newest;
  for (const SnapshotInfo& made : snapshots()) {
    if (made.automatic) newest = made.name;
  }
  if (newest.empty()) return view()->rows != 0;
  const Manifest manifest = read_snapshot(files_, path_, newest);
  return view()->sequence >
         read_label(manifest, snapshot_path(path_, newest)).sequence + kOwnEntries;
}

// Drops the oldest automatic snapshots; what to tell of it.
std::string Core::prune_snapshots() {
  std::vector<std::string> automatic;
  for (const SnapshotInfo& made : snapshots()) {
    if (made.automatic) automatic.push_back(made.name);
  }
  std::string told;
  for (std::size_t i = 0; i + options_.snapshot_keep < automatic.size(); ++i) {
    srvdb::drop_snapshot(files_, path_, automatic[i]);
    told += (told.empty() ? ", \"dropped\": [\"" : ", \"") + automatic[i] + "\"";
  }
  return told.empty() ? told : told + "]";
}

}  // namespace srvdb
