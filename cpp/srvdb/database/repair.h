// Saves what is sound of a damaged database into a new one.
//
// The damaged directory is only read. Everything that a checksum proves is taken over under the
// same row numbers: rows and ids, metadata, expiry, soft deletion, the change log, outside
// positions, and the log above the last checkpoint up to where it is damaged, which is then
// replayed. Codes and graph are not taken; they are made again. What could not be saved, and what
// was saved without proof that it is the present state, is listed.
//
// When the entry of an id is lost, its id still stands beside its row: of such rows the newest
// sound one of an id is taken, and listed, because it may be one that was deleted or replaced.
// Works without the manifest (the headers of the row files say what matters) and without the root
// of metadata.db (its leaves prove themselves).
//
// Errors: kNotFound (no database, or nothing left that says what its rows are), kInvalidInput (the
// target is there and not empty), kLocked (a writer is at work), kVersion, kStorage, kInterrupted.
// After any of them nothing is at the target.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "srvdb/base/interrupt.h"
#include "srvdb/base/types.h"
#include "srvdb/database/database.h"
#include "srvdb/database/verify.h"

namespace srvdb {

struct RepairItem {
  enum class Kind : std::uint8_t {
    kLost,      // could not be saved
    kDoubtful,  // was saved, but may be deleted, replaced or incomplete
  };
  Kind kind = Kind::kLost;
  std::string id;    // empty when it is not known, or several are meant
  Row row = kNoRow;  // kNoRow when it is not known, or several are meant
  std::string what;
};

struct RepairReport {
  static constexpr std::size_t kMaxItems = 1'000'000;

  std::uint64_t saved = 0;    // ids in the new database, soft-deleted ones included
  std::uint64_t deleted = 0;  // of them soft-deleted
  Sequence sequence = 0;      // of the last batch in it
  std::vector<RepairItem> items;
  std::uint64_t omitted = 0;      // items beyond kMaxItems
  std::vector<Problem> problems;  // found in the files while reading them

  bool is_complete() const noexcept { return items.empty() && omitted == 0; }
};

struct RepairOptions {
  std::optional<Metric> metric = {};  // used when neither manifest nor derived files tell it
  Progress progress = {};             // rows done, rows in all
  Interrupt* interrupt = nullptr;
  FileSystem* files = nullptr;  // nullptr: the operating system's
};

RepairReport repair(const std::string& path, const std::string& target,
                    const RepairOptions& options);

}  // namespace srvdb
