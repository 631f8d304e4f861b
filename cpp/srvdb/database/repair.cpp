#include "srvdb/database/repair.h"

#include <algorithm>

#include "srvdb/base/error.h"
#include "srvdb/database/repair_parts.h"
#include "srvdb/storage/lock.h"
#include "srvdb/storage/record.h"

namespace srvdb {

void Repairer::run() {
  read_manifest_or_guess();
  directory_ = path_ + "/" + generation_directory(manifest_.generation);
  StoreSalvage store(files_, directory_ + "/metadata.db",
                     [&](const std::string& file, std::uint64_t offset, const std::string& what) {
                       problems_.add(file, offset, what);
                     });
  rows_ = std::make_unique<RawRows>(files_, directory_ + "/vectors.bin", directory_ + "/rows.fix",
                                    stride());
  ids_ = std::make_unique<RawIds>(files_, directory_);
  find_state(store);
  find_ids(store);
  make_directories();
  copy_rows();
  fill_store(store);
  write_manifest(files_, target_, new_manifest());
  copy_log();
  report_.problems = std::move(problem_report_.problems);
}

void Repairer::read_manifest_or_guess() {
  const std::string path = path_ + "/" + kManifestName;
  try {
    auto manifest = read_manifest(files_, path_, true);
    if (manifest && manifest->spaces.size() == 1 && manifest->spaces[0].metric >= 1 &&
        manifest->spaces[0].metric <= 3) {
      manifest_ = std::move(*manifest);
      return;
    }
    problems_.add(path, 0, manifest ? "describes vectors that cannot be" : "is missing");
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruption) throw;
    problems_.add(path, 0, error.what());
  }
  const auto guess = guess_manifest(files_, path_);
  if (!guess) {
    throw Error(ErrorCode::kNotFound,
                path_ + ": neither a manifest nor a row file says what the database is");
  }
  manifest_ = guess->manifest;
  if (guess->metric_known) return;
  if (options_.metric) {
    manifest_.spaces[0].metric = static_cast<std::uint8_t>(*options_.metric) + 1;
  } else {
    doubtful("the metric was lost with the manifest; cosine was taken");
  }
}

void Repairer::make_directories() {
  files_.make_dir(target_ + "/" + generation_directory(kRepairedGeneration));
  files_.make_dir(target_ + "/wal");
}

Manifest Repairer::new_manifest() const {
  Manifest manifest = manifest_;
  manifest.generation = kRepairedGeneration;
  manifest.files.clear();
  manifest.derived.clear();
  std::erase_if(manifest.settings,
                [](const auto& setting) { return setting.first.starts_with("snapshot."); });
  return manifest;
}

// ---- the log ------------------------------------------------------------------------------------

void Repairer::copy_log() {
  const std::string from = path_ + "/wal";
  if (!files_.exists(from)) return;
  if (!log_is_placed_) {
    return lost("the log: it is not known which of its records were applied");
  }
  Sequence last = state_.applied_sequence;
  WalWriter out(files_, target_ + "/wal", last + 1);
  try {
    WalReader in(files_, from, last);
    while (const auto record = in.next()) {
      check(options_.interrupt);
      if (!has_its_rows(*record)) {
        in.reject("its rows are not those that were logged");
        break;
      }
      const ByteSpan parts[] = {record->payload};
      last = out.append(record->type, parts);
    }
    if (in.end().torn && in.end().lost_bytes > 0) {
      const std::string bytes = std::to_string(in.end().lost_bytes) + " bytes of the log behind ";
      doubtful(bytes + "batch " + std::to_string(last) +
               ", as a crash leaves them: " + in.end().reason);
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruption) throw;
    lost("batches from " + std::to_string(last + 1) + " on: " + error.what());
  }
  if (last > state_.applied_sequence) out.sync(last);
  report_.sequence = last;
}

bool Repairer::has_its_rows(const WalRecord& record) const {
  for (const DirectRows& direct : decode_record(record.payload).direct_rows) {
    const std::uint64_t end = std::uint64_t{direct.first_row} + direct.count;
    if (end > rows_->rows()) return false;
    std::vector<RowFix> fixes;
    for (std::uint64_t row = direct.first_row; row < end; ++row) {
      if (!rows_->is_good(static_cast<Row>(row))) return false;
      fixes.push_back(rows_->fix(static_cast<Row>(row)));
    }
    if (direct_rows_crc(fixes) != direct.crc) return false;
  }
  return true;
}

// ---- all of it ----------------------------------------------------------------------------------

namespace {

std::string plain(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

void check_paths(FileSystem& files, const std::string& path, const std::string& target) {
  const auto source = files.info(path);
  if (!source || !source->is_directory) {
    throw Error(ErrorCode::kNotFound, "no database at " + path);
  }
  if (const auto pid = DirectoryLock::holder(path)) {
    throw Error(ErrorCode::kLocked, path + " is being written by process " + std::to_string(*pid) +
                                        ": close it there before repairing");
  }
  if ((target + "/").starts_with(path + "/")) {
    throw Error(ErrorCode::kInvalidInput, "the target " + target + " lies in the damaged database");
  }
  const auto found = files.info(target);
  if (found && (!found->is_directory || !files.list_dir(target).empty())) {
    throw Error(ErrorCode::kInvalidInput, target + " must be absent or an empty directory");
  }
}

// Opens what was saved, which replays the log, and counts.
void finish(const std::string& path, FileSystem& files, RepairReport& report) {
  OpenOptions options;
  options.create = false;
  options.background = false;
  options.files = &files;
  const Sequence expected = report.sequence;
  const auto database = Database::open(path, options);
  report.sequence = database->stats().sequence;
  report.deleted = database->deleted_ids().size();
  report.saved = database->count() + report.deleted;
  database->close();
  if (report.sequence >= expected) return;
  report.items.push_back({RepairItem::Kind::kLost, "", kNoRow,
                          "batches " + std::to_string(report.sequence + 1) + " to " +
                              std::to_string(expected) + " of the log could not be replayed"});
}

}  // namespace

RepairReport repair(const std::string& path, const std::string& target,
                    const RepairOptions& options) {
  FileSystem& files = options.files != nullptr ? *options.files : posix_file_system();
  const std::string from = plain(path);
  const std::string to = plain(target);
  check_paths(files, from, to);
  std::string temporary = to + ".partial";
  for (int i = 1; !files.make_dir(temporary); ++i) temporary = to + ".partial" + std::to_string(i);
  try {
    RepairReport report;
    Repairer(from, temporary, options, report).run();
    finish(temporary, files, report);
    sync_tree(files, temporary);
    files.rename(temporary, to);
    const std::size_t slash = to.find_last_of('/');
    files.sync_dir(slash == std::string::npos ? "." : slash == 0 ? "/" : to.substr(0, slash));
    return report;
  } catch (...) {
    try {
      remove_tree(files, temporary);
    } catch (...) {  // the error that led here is the one to report
    }
    throw;
  }
}

}  // namespace srvdb
