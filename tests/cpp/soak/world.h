// What a database must hold, and random steps that change it.
//
// A World is a dictionary with everything a database remembers: rows by id, the change log, the
// snapshots. A Step is one operation with all it needs; it is applied to a database and, when that
// took it, to a World. Steps follow from a seed, a number and the World alone, so two processes
// that agree on these make the same one. Databases stay small: as rows come, others go.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "srvdb/database/database.h"

namespace srvdb::soak {

inline constexpr std::size_t kDim = 6;

struct Stored {
  std::vector<float> row;
  std::string metadata;
  std::int64_t expires_at = 0;  // milliseconds, 0: never
  bool deleted = false;         // softly
  bool operator==(const Stored&) const = default;
};
using Rows = std::map<std::string, Stored>;

struct Logged {
  Sequence sequence = 0;
  LogOperation operation = LogOperation::kAdd;
  std::vector<std::string> ids;  // sorted
  bool operator==(const Logged&) const = default;
};

struct World {
  Rows rows;
  std::vector<Logged> log;
  std::map<std::string, Rows> snapshots;
};

struct Step {
  enum class Kind {
    kAdd,
    kUpsert,
    kRemove,
    kSoftDelete,
    kRestore,
    kUpdateRows,
    kUpdateMetadata,
    kUpdateExpiry,
    kPersist,
    kOptimize,
    kCompact,
    kTrimLog,
    kSnapshot,
    kDropSnapshot,
    kRestoreSnapshot,
  };
  Kind kind = Kind::kPersist;
  std::vector<std::string> ids;
  std::vector<float> rows;
  std::vector<std::string> metadata;
  std::vector<std::int64_t> expires_at;
  std::string name;           // of a snapshot
  Sequence before = 0;        // kTrimLog
  bool keep_current = false;  // kRestoreSnapshot

  const char* kind_name() const noexcept;
  // Changes rows by one log record, so rows and log move together.
  bool is_batch() const noexcept { return kind <= Kind::kUpdateExpiry; }
  void apply(Database& db) const;
  // What it makes of the rows and snapshots. The log is foretold by foretell().
  void apply(World& world) const;
  // The ids that the change log will tell of a batch; empty when it changes nothing.
  std::vector<std::string> foretell(const Rows& rows) const;
  LogOperation log_operation() const noexcept;
};

// Maintenance: snapshots, compaction and what else is no batch may be left out.
Step make_step(std::uint64_t seed, std::uint64_t number, const World& world, bool maintenance);

// The time of day of the harnesses: stands still but for what they add. use_simulated_clock() makes
// it the library's.
extern std::int64_t simulated_now_us;
void use_simulated_clock();

// Rows whose moment has come are gone.
void expire(Rows& rows, std::int64_t now_ms);

// Reads all of it, by every way of reading; throws Error, or Mismatch when two ways disagree.
struct Mismatch : std::runtime_error {
  using std::runtime_error::runtime_error;
};
Rows read_rows(const Database& db);
std::vector<Logged> read_log(const Database& db);
// Searches: exactly what brute force over the rows finds, and as many hits as there can be.
void check_searches(const Database& db, const Rows& rows, std::uint64_t seed);
// Filters: counts, searches and facets say what the documents say, one by one.
void check_filters(const Database& db, const Rows& rows, std::uint64_t seed);
// How the two differ, in a few words.
std::string difference(const Rows& expected, const Rows& got);
std::string difference(const std::vector<Logged>& expected, const std::vector<Logged>& got);

}  // namespace srvdb::soak
