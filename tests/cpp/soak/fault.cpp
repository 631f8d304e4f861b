// Every I/O operation fails, once or from then on, for want of room or with an I/O error.
//
// A run applies random steps to a database in a simulated file system and lets one operation fail;
// the runs of a seed go through all operations and kinds of failure. What was acknowledged stays:
// it is shown, it is there after reopening with a healthy disk, and at "disk" after loss of power
// at the end. A step that met "no room" is refused, nothing of it is there, and writing goes on
// when there is room again. After an I/O error, or a sync that failed for any reason, the outcome
// of the step is unknown: the database is read-only and shows what it had. (Only what is made
// aside, a snapshot or a new generation, may fail and leave the database writable.)

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "soak/soak.h"
#include "soak/world.h"
#include "srvdb/base/error.h"
#include "srvdb/base/events.h"
#include "support/simulated_files.h"

namespace srvdb::soak {
namespace {

using testing::SimulatedFiles;

constexpr std::uint64_t kSteps = 12;
constexpr std::uint64_t kKinds = 4;
constexpr const char* kPath = "/db";

class FaultRun {
 public:
  // `number`: which operation fails (number / kKinds) and how (number % kKinds).
  FaultRun(std::uint64_t seed, std::uint64_t number, Totals& totals)
      : seed_(seed), at_(number / kKinds), totals_(totals) {
    error_ = number % 2 == 0 ? EIO : ENOSPC;
    forever_ = number % kKinds >= 2;
    durability_ = std::array{Durability::kDisk, Durability::kOs, Durability::kMemory}[seed % 3];
    worlds_.emplace_back();
  }

  // False when the operation was never reached.
  bool run();

 private:
  using Fault = SimulatedFiles::Fault;
  bool met_fault() const { return files_.operations() > at_; }
  std::shared_ptr<Database> open(SimulatedFiles& files) const {
    OpenOptions options = small_options(durability_, &files);
    options.mode = mode_of(seed_);
    return Database::open(kPath, options);
  }
  bool do_steps(Database& db);
  bool do_step(Database& db, const Step& step);
  void check_refused(Database& db, const Step& step, const Error& error);
  void check_after(SimulatedFiles& files, const char* when) const;
  bool may_hold(const World& world, const Rows& rows, const std::vector<Logged>& log) const;
  bool open_at_first();

  const std::uint64_t seed_;
  const std::uint64_t at_;
  Totals& totals_;
  int error_ = EIO;
  bool forever_ = false;
  Durability durability_ = Durability::kDisk;
  SimulatedFiles files_;
  std::vector<World> worlds_;  // acknowledged, and with an unknown outcome the one after
  std::size_t floor_ = 0;      // "memory": what was asked to be on disk
  bool unknown_ = false;       // the last of worlds_ may or may not be
};

// What a step that is no batch leaves in the log when it breaks off may be any part of its entries.
bool FaultRun::may_hold(const World& world, const Rows& rows,
                        const std::vector<Logged>& log) const {
  if (!difference(world.rows, rows).empty()) return false;
  return log.size() >= world.log.size() &&
         std::equal(world.log.begin(), world.log.end(), log.begin()) &&
         std::none_of(log.begin() + static_cast<std::ptrdiff_t>(world.log.size()), log.end(),
                      [](const Logged& entry) { return !entry.ids.empty(); });
}

void FaultRun::check_refused(Database& db, const Step& step, const Error& error) {
  const std::string place = std::string(" after a refused ") + step.kind_name();
  if (error.code() != ErrorCode::kStorage && error.code() != ErrorCode::kReadOnly) {
    throw Mismatch("unexpected error" + place + ": " + error.what());
  }
  const bool read_only = db.stats().read_only;
  const World& before = worlds_.back();
  const Rows rows = read_rows(db);
  const std::vector<Logged> log = read_log(db);
  if (!may_hold(before, rows, log)) {
    const std::string wrong = difference(before.rows, rows);
    throw Mismatch((wrong.empty() ? difference(before.log, log) : wrong) + place);
  }
  if (step.is_batch() && log != before.log) throw Mismatch("the change log grew" + place);
  check_searches(db, rows, seed_);
  check_filters(db, rows, seed_);
  if (!read_only) {
    // What is made aside (a snapshot, a generation) may fail without harm.
    const bool aside = !step.is_batch() && step.kind != Step::Kind::kPersist;
    if (error_ != ENOSPC && !aside) throw Mismatch("still writable" + place + ": " + error.what());
    World now = before;
    now.log = log;
    std::erase_if(now.snapshots, [&](const auto& entry) {  // dropping may have come half way
      return step.kind == Step::Kind::kDropSnapshot && entry.first == step.name;
    });
    worlds_.push_back(std::move(now));
    return;
  }
  if (error.os_error() == ENOSPC && !files_.failed_needing_no_room()) {
    throw Mismatch("read-only for want of room" + place + ": " + error.what());
  }
  World after = before;
  step.apply(after);
  for (const std::string& id : step.foretell(before.rows)) {
    if (after.log.size() == before.log.size()) after.log.push_back({});
    after.log.back().ids.push_back(id);
  }
  if (after.log.size() > before.log.size()) {
    after.log.back().operation = step.log_operation();
    after.log.back().sequence = before.log.empty() ? 1 : before.log.back().sequence + 1;
  }
  worlds_.push_back(std::move(after));
  unknown_ = true;
}

// False when the database takes no more writes.
bool FaultRun::do_step(Database& db, const Step& step) {
  World after = worlds_.back();
  try {
    step.apply(db);
  } catch (const Error& error) {
    if (!met_fault()) throw;
    check_refused(db, step, error);
    return !unknown_;
  }
  ++totals_.acknowledged;
  step.apply(after);
  const std::string wrong = difference(after.rows, read_rows(db));
  if (!wrong.empty()) throw Mismatch(wrong + " after an acknowledged " + step.kind_name());
  // The same filters each time, so that kept answers must follow what has changed.
  if (worlds_.size() % 4 == 0) check_filters(db, after.rows, seed_);
  after.log = read_log(db);
  worlds_.push_back(std::move(after));
  if (step.kind == Step::Kind::kPersist) floor_ = worlds_.size() - 1;
  return true;
}

// False when the database has turned read-only.
bool FaultRun::do_steps(Database& db) {
  std::uint64_t after_fault = 0;
  for (std::uint64_t number = 0; number < kSteps; ++number) {
    if (met_fault() && ++after_fault == 4) files_.set_fault({});  // room again
    const std::size_t worlds = worlds_.size();
    if (do_step(db, make_step(seed_, number, worlds_.back(), true))) continue;
    Step step = make_step(seed_, kSteps, World(), false);
    for (std::uint64_t i = 1; !step.is_batch(); ++i) step = make_step(seed_, kSteps + i, {}, false);
    try {
      step.apply(db);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kReadOnly) throw;
      const std::string wrong = difference(worlds_[worlds - 1].rows, read_rows(db));
      if (!wrong.empty()) throw Mismatch(wrong + " in a database that has turned read-only");
      return false;
    }
    throw Mismatch("a write after one of unknown outcome");
  }
  return true;
}

void FaultRun::check_after(SimulatedFiles& files, const char* when) const {
  const auto db = open(files);
  const Rows rows = read_rows(*db);
  const std::vector<Logged> log = read_log(*db);
  std::size_t first = worlds_.size() - (unknown_ ? 2 : 1);
  if (durability_ == Durability::kMemory) first = std::min(first, floor_);
  for (std::size_t i = first; i < worlds_.size(); ++i) {
    if (!may_hold(worlds_[i], rows, log)) continue;
    check_searches(*db, rows, seed_);
    check_filters(*db, rows, seed_);
    return;
  }
  const std::string wrong = difference(worlds_[first].rows, rows);
  throw Mismatch((wrong.empty() ? difference(worlds_[first].log, log) : wrong) + " " + when);
}

bool FaultRun::run() {
  use_simulated_clock();
  files_.set_fault({at_, error_, forever_, at_ % 3 == 0 ? 700u : 0u});
  std::shared_ptr<Database> db;
  try {
    db = open(files_);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kStorage || !met_fault()) throw;
    files_.set_fault({});
    db = open(files_);
  }
  do_steps(*db);
  ++totals_.faults;
  const bool at_disk = durability_ == Durability::kDisk;
  const auto image =
      files_.crash(at_disk ? SimulatedFiles::Keep::kNothing : SimulatedFiles::Keep::kEverything);
  try {
    db->close();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kStorage || !met_fault()) throw;
  }
  db.reset();
  files_.set_fault({});
  check_after(*image, "after a crash");
  check_after(files_, "after reopening");
  drain_events();
  return met_fault();
}

}  // namespace

void run_faults(const Arguments& arguments, Totals& totals) {
  const std::uint64_t first_seed = arguments.replay_seed.value_or(arguments.seed * 1'000'000);
  const Deadline deadline(arguments.replay_seed ? 1e6 : arguments.seconds);
  const double before = processor_seconds();
  std::uint64_t seed = first_seed;
  for (; !deadline.over(); ++seed) {
    std::uint64_t number = arguments.replay_seed ? arguments.replay_step : 0;
    std::array<bool, kKinds> reached{};
    reached.fill(true);
    for (; std::ranges::any_of(reached, std::identity{}) && !deadline.over(); ++number) {
      try {
        reached[number % kKinds] = FaultRun(seed, number, totals).run();
      } catch (const std::exception& error) {
        throw Failure(seed, number,
                      std::string(error.what()) + " (operation " + std::to_string(number / kKinds) +
                          ", " + (number % 2 == 0 ? "EIO" : "ENOSPC") +
                          (number % kKinds >= 2 ? " for ever)" : " once)"));
      }
      if (arguments.replay_seed) return;
    }
  }
  std::printf("fault: %llu failures injected over %llu scripts in %.1f s of processor time\n",
              static_cast<unsigned long long>(totals.faults),
              static_cast<unsigned long long>(seed - first_seed), processor_seconds() - before);
}

}  // namespace srvdb::soak
