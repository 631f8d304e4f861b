// Looks at the files of a database and tells everything in them that is not what was written.
//
// A shallow look reads the manifest, all headers, all lengths, the log, and the store's state. A
// deep one reads everything: each row, id, code and link against its checksum, each page and each
// value of metadata.db, ids against rows and both against the counts; snapshots likewise.
//
// It goes on behind what it finds, never writes, and needs no opening of the database, so it works
// on one that cannot be opened, and beside a living writer (on the last checkpoint; the log's end
// is then still being written). Memory: a few bits a row and page, and at most kMaxProblems
// problems. Errors: kNotFound, kVersion, kStorage when the directory cannot be looked at,
// kInterrupted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "srvdb/base/interrupt.h"
#include "srvdb/database/database.h"

namespace srvdb {

struct Problem {
  enum class Kind : std::uint8_t {
    kDamage,      // what only a snapshot, a backup or repair() can bring back
    kDerived,     // codes or links: made again from the rows when the database is opened
    kUnfinished,  // what a crash leaves behind and the next writer clears away; nothing is wrong
  };
  std::string file;          // relative to the database
  std::uint64_t offset = 0;  // bytes
  std::string what;
  Kind kind = Kind::kDamage;
};

struct VerifyReport {
  static constexpr std::size_t kMaxProblems = 10'000;

  std::vector<Problem> problems;
  std::uint64_t omitted = 0;  // problems beyond kMaxProblems, of any kind
  std::uint64_t rows = 0;     // of the database, without snapshots
  std::uint64_t files = 0;    // looked at
  std::uint64_t snapshots = 0;
  bool deep = false;

  // No damage, not even of derived files.
  bool is_sound() const noexcept;
};

struct VerifyOptions {
  bool deep = false;
  Progress progress = {};  // rows done, rows in all (deep only)
  Interrupt* interrupt = nullptr;
  FileSystem* files = nullptr;  // nullptr: the operating system's
};

VerifyReport verify(const std::string& path, const VerifyOptions& options);

}  // namespace srvdb
