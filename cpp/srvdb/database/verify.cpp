#include "srvdb/database/verify.h"

#include <algorithm>
#include <cerrno>

#include "srvdb/base/error.h"
#include "srvdb/database/core.h"
#include "srvdb/database/registry.h"
#include "srvdb/database/snapshot.h"
#include "srvdb/database/verify_parts.h"
#include "srvdb/storage/lock.h"
#include "srvdb/storage/record.h"
#include "srvdb/storage/wal.h"
#include "srvdb/storage/wal_format.h"
#include "srvdb/storage/wal_segment.h"

namespace srvdb {

bool VerifyReport::is_sound() const noexcept {
  return omitted == 0 && std::all_of(problems.begin(), problems.end(), [](const Problem& problem) {
           return problem.kind == Problem::Kind::kUnfinished;
         });
}

std::string ProblemList::shown(const std::string& path) const {
  if (!path.starts_with(root_ + "/")) return path;
  return path.substr(root_.size() + 1);
}

void ProblemList::add(const std::string& path, std::uint64_t offset, const std::string& what,
                      Problem::Kind kind) {
  if (report_.problems.size() >= VerifyReport::kMaxProblems) {
    ++report_.omitted;
    return;
  }
  const std::string file = shown(path);
  if (!told_.insert({file, std::to_string(offset) + what}).second) return;
  report_.problems.push_back({file, offset, what, kind});
}

// ---- the log ------------------------------------------------------------------------------------

namespace {

class LogCheck {
 public:
  LogCheck(FileSystem& files, const std::string& directory, Sequence applied, const RawRows* rows,
           bool live, ProblemList& problems)
      : files_(files),
        directory_(directory),
        applied_(applied),
        rows_(rows),
        live_(live),
        problems_(problems) {}

  void run() {
    std::vector<Sequence> firsts;
    for (const std::string& name : files_.list_dir(directory_)) {
      if (const auto first = wal_segment_first(name)) firsts.push_back(*first);
    }
    std::sort(firsts.begin(), firsts.end());
    for (std::size_t i = 0; i < firsts.size(); ++i) {
      is_last_ = i + 1 == firsts.size();
      check_segment(firsts[i]);
    }
  }

 private:
  void check_segment(Sequence first) {
    const std::string path = directory_ + "/" + wal_segment_name(first);
    if (live_ && !files_.exists(path)) {  // a checkpoint has made it unnecessary
      expected_ = 0;
      return;
    }
    WalSegment segment(files_, path);
    problems_.count_file();
    if (!segment.header()) {
      if (live_ && is_last_) return;  // being made
      const bool started = is_last_ && segment.size() <= kWalSegmentHeaderBytes;
      problems_.add(path, 0, "the header is not what was written",
                    started ? Problem::Kind::kUnfinished : Problem::Kind::kDamage);
    } else if (segment.header()->first != first) {
      problems_.add(path, 0, "the header is that of another segment");
    }
    std::uint64_t offset = kWalSegmentHeaderBytes;
    while (offset < segment.size()) {
      if (const auto record = segment.valid_record(offset)) {
        check_record(path, offset, *record, segment.payload(offset, *record));
        offset += record->length + kWalRecordOverheadBytes;
        continue;
      }
      const auto next = segment.find_record(offset + 1);
      if (!next) return tell_end(path, offset);
      problems_.add(path, offset, "a record of the log is not what was written");
      offset = next->offset;
      expected_ = 0;
    }
  }

  // Nothing can be read behind the offset.
  void tell_end(const std::string& path, std::uint64_t offset) {
    if (live_ && is_last_) return;
    const bool may_be_torn = is_last_ && std::max(expected_, Sequence{1}) > applied_;
    problems_.add(path, offset,
                  may_be_torn ? "the log ends in the middle of a record, as after a crash"
                              : "the rest of this segment of the log cannot be read",
                  may_be_torn ? Problem::Kind::kUnfinished : Problem::Kind::kDamage);
    expected_ = 0;
  }

  void check_record(const std::string& path, std::uint64_t offset, const WalRecordHeader& header,
                    ByteSpan payload) {
    const auto tell = [&](const std::string& what) {
      problems_.add(path, offset, "record " + std::to_string(header.sequence) + " " + what);
    };
    if (expected_ != 0 && header.sequence != expected_) {
      // Sequences may jump where another generation took over: then everything before is applied.
      // (What a living writer has applied meanwhile is more than what was read of it.)
      const bool taken_over = live_ && offset == kWalSegmentHeaderBytes;
      const bool jumped =
          header.sequence > expected_ &&
          (taken_over || (expected_ <= applied_ && header.sequence <= applied_ + 1));
      if (!jumped) tell("was found where " + std::to_string(expected_) + " must be");
    } else if (expected_ == 0 && header.sequence > applied_ + 1 && !told_gap_ && !live_) {
      // (A living writer makes checkpoints meanwhile, and drops what they have applied.)
      told_gap_ = true;
      tell("is the first one that can be read, and only those up to " + std::to_string(applied_) +
           " are applied");
    }
    expected_ = header.sequence + 1;
    try {
      const DecodedRecord record = decode_record(payload);
      if (header.sequence <= applied_) return;
      for (const DirectRows& direct : record.direct_rows) {
        if (!direct_rows_good(direct)) tell("refers to rows that are not those that were logged");
      }
    } catch (const Error& error) {
      tell(error.what());
    }
  }

  bool direct_rows_good(const DirectRows& direct) const {
    const std::uint64_t end = std::uint64_t{direct.first_row} + direct.count;
    if (rows_ == nullptr || end > rows_->rows()) return live_;
    std::vector<RowFix> fixes;
    for (std::uint64_t row = direct.first_row; row < end; ++row) {
      if (!rows_->is_good(static_cast<Row>(row))) return live_;
      fixes.push_back(rows_->fix(static_cast<Row>(row)));
    }
    return direct_rows_crc(fixes) == direct.crc;
  }

  FileSystem& files_;
  const std::string directory_;
  const Sequence applied_;
  const RawRows* const rows_;
  const bool live_;
  ProblemList& problems_;
  Sequence expected_ = 0;  // 0: any
  bool is_last_ = false;
  bool told_gap_ = false;
};

// ---- the whole ----------------------------------------------------------------------------------

class Verifier {
 public:
  Verifier(const std::string& path, const VerifyOptions& options, VerifyReport& report)
      : path_(path),
        options_(options),
        files_(options.files != nullptr ? *options.files : posix_file_system()),
        report_(report),
        problems_(path, report) {}

  void run() {
    const bool live = DirectoryLock::holder(path_).has_value();
    std::unique_ptr<Pin> pin;
    std::optional<Manifest> manifest;
    // The writer may switch to another generation between the two.
    for (int tries = 0; tries < 10; ++tries) {
      pin = live ? std::make_unique<Pin>(path_, files_) : nullptr;
      manifest = manifest_of(path_);
      if (!manifest) return;
      if (!pin || pin->generation() == 0 || pin->generation() == manifest->generation) break;
    }
    generation_ = manifest->generation;
    const std::string directory = path_ + "/" + generation_directory(manifest->generation);
    if (!files_.exists(directory)) {
      problems_.add(directory, 0, "is missing");
      return;
    }
    GenerationCheck generation(files_, directory, *manifest, options_, problems_);
    generation.run();
    report_.rows = generation.state().published_rows;
    check_log_files(*manifest, generation, live);
    check_snapshots();
  }
  std::uint64_t generation() const noexcept { return generation_; }

 private:
  // An open reader beside a writer, which keeps the pages of the last checkpoint from being used
  // again while they are looked at.
  class Pin {
   public:
    Pin(const std::string& path, FileSystem& files) {
      OpenOptions options;
      options.read_only = true;
      options.files = &files;
      try {
        entry_ = registry_open(path, options, core_);
        const std::uint64_t before = core_->view()->generation;
        pages_ = core_->pin_store();
        const std::uint64_t after = core_->view()->generation;
        generation_ = before == after ? after : ~std::uint64_t{0};
      } catch (const Error&) {
        // The walk over the pages says what is wrong.
      }
    }
    ~Pin() {
      pages_ = nullptr;
      core_ = nullptr;
      try {
        if (entry_) registry_close(*entry_, true);
      } catch (const std::exception&) {
        // It was only read.
      }
    }
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
    // Whose pages are kept; 0 when that was not possible.
    std::uint64_t generation() const noexcept { return generation_; }

   private:
    std::shared_ptr<RegistryEntry> entry_;
    std::shared_ptr<Core> core_;
    std::shared_ptr<const void> pages_;
    std::uint64_t generation_ = 0;
  };

  // Of the database or a snapshot, guessed when it is damaged.
  std::optional<Manifest> manifest_of(const std::string& directory) {
    const std::string path = directory + "/" + kManifestName;
    problems_.count_file();
    try {
      auto manifest = read_manifest(files_, directory, true);
      if (manifest && manifest->spaces.size() == 1 && manifest->spaces[0].metric >= 1 &&
          manifest->spaces[0].metric <= 3) {
        check_lengths(directory, *manifest);
        return manifest;
      }
      problems_.add(path, 0, manifest ? "describes vectors that cannot be" : "is missing");
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorruption) throw;
      problems_.add(path, 0, error.what());
    }
    const auto guess = guess_manifest(files_, directory);
    if (!guess) {
      problems_.add(path, 0, "nothing else says what the database is; its rows were not looked at");
      return std::nullopt;
    }
    return guess->manifest;
  }

  void check_lengths(const std::string& directory, const Manifest& manifest) {
    for (const ManifestFile& file : manifest.files) {
      const std::string path = directory + "/" + file.name;
      const auto found = files_.info(path);
      if (!found) {
        problems_.add(path, 0, "is missing");
      } else if (found->size < file.length) {
        problems_.add(path, found->size,
                      "is too short: expected at least " + std::to_string(file.length) +
                          " bytes, got " + std::to_string(found->size));
      }
    }
  }

  void check_log_files(const Manifest& manifest, const GenerationCheck& generation, bool live) {
    const std::string directory = path_ + "/wal";
    if (files_.exists(directory)) {
      check_log(files_, directory, generation.state().applied_sequence, generation.rows(), live,
                problems_);
    } else if (!is_snapshot(manifest)) {
      problems_.add(directory, 0, "is missing");
    }
  }

  void check_snapshots() {
    const std::string directory = path_ + "/snapshots";
    if (!files_.exists(directory)) return;
    for (const std::string& name : files_.list_dir(directory)) {
      if (name.starts_with('.')) continue;  // being made or removed
      const std::string snapshot = directory + "/" + name;
      ++report_.snapshots;
      const std::optional<Manifest> manifest = manifest_of(snapshot);
      if (!manifest) continue;
      VerifyOptions quiet = options_;
      quiet.progress = {};
      GenerationCheck(files_, snapshot + "/" + generation_directory(manifest->generation),
                      *manifest, quiet, problems_)
          .run();
    }
  }

  const std::string path_;
  const VerifyOptions& options_;
  FileSystem& files_;
  VerifyReport& report_;
  ProblemList problems_;
  std::uint64_t generation_ = 0;
};

}  // namespace

void check_log(FileSystem& files, const std::string& directory, Sequence applied,
               const RawRows* rows, bool live, ProblemList& problems) {
  LogCheck(files, directory, applied, rows, live, problems).run();
}

VerifyReport verify(const std::string& path, const VerifyOptions& options) {
  FileSystem& files = options.files != nullptr ? *options.files : posix_file_system();
  std::string root = path;
  while (root.size() > 1 && root.ends_with('/')) root.pop_back();
  const auto found = files.info(root);
  if (!found || !found->is_directory) {
    throw Error(ErrorCode::kNotFound, "no database at " + path);
  }
  if (!files.exists(root + "/" + kManifestName)) {
    if (const auto version = detect_legacy(files, root)) {
      throw Error(ErrorCode::kVersion, path + " was written by srvdb " + *version);
    }
    if (!guess_manifest(files, root)) {
      throw Error(ErrorCode::kNotFound, "no database at " + path);
    }
  }
  // A writer may switch to another generation meanwhile: then the files looked at have gone.
  constexpr int kTries = 3;
  for (int tries = 1;; ++tries) {
    VerifyReport report;
    report.deep = options.deep;
    Verifier verifier(root, options, report);
    try {
      verifier.run();
    } catch (const Error& error) {
      const bool may_pass = error.os_error() == ENOENT && DirectoryLock::holder(root).has_value();
      if (!may_pass || tries == kTries) throw;
      continue;
    }
    if (report.is_sound() || tries == kTries || !DirectoryLock::holder(root)) return report;
    const std::optional<Manifest> now = read_manifest(files, root, true);
    if (!now || now->generation == verifier.generation()) return report;
  }
}

}  // namespace srvdb
