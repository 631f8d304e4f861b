// Loss of power, and the death of the process, after every I/O operation.
//
// A run applies random steps to a database in a simulated file system. Before each operation that
// changes a file, and once a step has been acknowledged, an image is taken of what a crash at that
// moment would leave: unsynced writes dropped, reordered, torn. Each image is opened, which
// recovers it, and must hold a state the database promised: at "disk" all that was acknowledged,
// the step in flight wholly or not at all; after the death of the process the same at "os";
// otherwise a state that once was, not older than the last checkpoint that was asked for. Recovery
// is itself cut off at a random operation, or meets a failing disk there, and must then lead to the
// same; so must opening again.

#include <algorithm>
#include <cstdio>
#include <deque>
#include <memory>
#include <set>
#include <utility>

#include "soak/soak.h"
#include "soak/world.h"
#include "srvdb/base/clock.h"
#include "srvdb/base/error.h"
#include "srvdb/base/events.h"
#include "srvdb/database/verify.h"
#include "support/simulated_files.h"

namespace srvdb::soak {
namespace {

using testing::SimulatedFiles;
using Keep = SimulatedFiles::Keep;

constexpr std::uint64_t kSteps = 40;  // of a run
constexpr const char* kPath = "/db";

// A moment's remains, and which of the worlds it may hold.
struct Image {
  std::unique_ptr<SimulatedFiles> files;
  std::size_t lowest = 0;
  std::size_t highest = 0;
  bool in_flight = false;  // between highest - 1 and highest
  std::uint64_t dice = 0;
  std::string what;
};

class CrashRun {
 public:
  CrashRun(std::uint64_t seed, Totals& totals) : seed_(seed), totals_(totals), random_(seed) {
    durability_ = std::array{Durability::kDisk, Durability::kOs, Durability::kDisk,
                             Durability::kMemory, Durability::kDisk}[seed % 5];
    worlds_.emplace_back();
    files_.set_can_link(random_() % 4 != 0);
  }

  void run(std::uint64_t last_step, const Deadline& deadline);

 private:
  void take_image(bool in_flight);
  void take_image(bool in_flight, Keep keep, std::uint64_t dice);
  void do_step(const Step& step);
  void check_images(const Deadline& deadline);
  void check(Image& image);
  static void check_files(SimulatedFiles& files);
  void check_reader(const Image& image);
  void check_failing_recovery(const Image& image);
  std::size_t check_state(const Database& db, const Image& image);
  void check_snapshots(const Database& db, const Image& image);
  void check_log_of_step(const Step& step, const World& before, const World& after) const;
  std::shared_ptr<Database> open(SimulatedFiles& files, bool read_only = false) const {
    OpenOptions options = small_options(durability_, &files);
    options.mode = mode_of(seed_);
    options.read_only = read_only;
    return Database::open(kPath, options);
  }
  void go_on(SimulatedFiles& files, std::shared_ptr<Database> db, World world);

  const std::uint64_t seed_;
  Totals& totals_;
  std::mt19937_64 random_;
  Durability durability_ = Durability::kDisk;
  SimulatedFiles files_;
  std::shared_ptr<Database> db_;
  std::deque<World> worlds_;  // after so many steps
  std::size_t floor_ = 0;     // the oldest one that a crash may lead back to
  Step step_;
  std::uint64_t number_ = 0;  // of the step
  std::vector<Image> images_;
  std::uint64_t recovery_operations_ = 30;  // of the last recovery
};

void CrashRun::take_image(bool in_flight) {
  const std::uint64_t dice = random_();
  constexpr std::array kKeeps = {Keep::kEverything, Keep::kNothing, Keep::kSome, Keep::kSome,
                                 Keep::kSome};
  take_image(in_flight, kKeeps[dice % kKeeps.size()], dice >> 8);
}

void CrashRun::take_image(bool in_flight, Keep keep, std::uint64_t dice) {
  const bool all_there = durability_ == Durability::kDisk ||
                         (durability_ == Durability::kOs && keep == Keep::kEverything);
  const char* const kept = keep == Keep::kEverything ? "nothing lost"
                           : keep == Keep::kNothing  ? "nothing unsynced kept"
                                                     : "some kept";
  Image image;
  image.highest = worlds_.size() - (in_flight ? 0 : 1);
  image.lowest = all_there ? worlds_.size() - 1 : floor_;
  image.in_flight = in_flight;
  image.dice = dice;
  image.files = files_.crash(keep, static_cast<std::uint_fast32_t>(dice >> 8));
  image.what = std::string(durability_name(durability_)) + ", " + kept + ", at operation " +
               std::to_string(files_.operations()) + (in_flight ? " inside of " : " after ") +
               step_.kind_name();
  images_.push_back(std::move(image));
}

// A batch is told in the change log by one entry, when it changes anything.
void CrashRun::check_log_of_step(const Step& step, const World& before, const World& after) const {
  if (!step.is_batch()) return;
  std::vector<Logged> expected = before.log;
  std::vector<std::string> ids = step.foretell(before.rows);
  if (!ids.empty()) {
    const Sequence sequence = after.log.empty() ? 0 : after.log.back().sequence;
    expected.push_back({sequence, step.log_operation(), std::move(ids)});
  }
  const std::string wrong = difference(expected, after.log);
  if (!wrong.empty()) throw Mismatch("after an acknowledged step " + wrong);
}

void CrashRun::do_step(const Step& step) {
  step_ = step;
  files_.before_each([this] { take_image(true); });
  step.apply(*db_);
  files_.before_each({});
  ++totals_.acknowledged;
  World after = worlds_.back();
  step.apply(after);
  expire(after.rows, now_ms());
  const std::string wrong = difference(after.rows, read_rows(*db_));
  if (!wrong.empty()) {
    throw Mismatch(std::string("after an acknowledged ") + step.kind_name() + ", " + wrong);
  }
  after.log = read_log(*db_);
  check_log_of_step(step, worlds_.back(), after);
  for (const SnapshotInfo& info : db_->list_snapshots()) {
    // One that restoring made of the state before it.
    after.snapshots.try_emplace(info.name, worlds_.back().rows);
  }
  worlds_.push_back(std::move(after));
  if (step.kind == Step::Kind::kPersist) floor_ = worlds_.size() - 1;
  take_image(false);
  take_image(false, Keep::kNothing, random_());
}

// The world that the database holds.
std::size_t CrashRun::check_state(const Database& db, const Image& image) {
  const Rows rows = read_rows(db);
  const std::vector<Logged> log = read_log(db);
  std::string nearest;
  const std::size_t highest = std::min(image.highest, worlds_.size() - 1);
  for (std::size_t i = highest + 1; i-- > image.lowest;) {
    const World& world = worlds_[i];
    Rows expected = world.rows;
    expire(expected, now_ms());
    std::string wrong = difference(expected, rows);
    if (wrong.empty()) {
      wrong = difference(world.log, log);
      // What is no batch takes several steps; the log may be between what it was and will be.
      if (!wrong.empty() && image.in_flight && i + 1 >= highest && !step_.is_batch()) {
        const std::vector<Logged>& last = worlds_[highest].log;
        const std::size_t least = worlds_[highest - 1].log.size();
        const bool between = log.size() >= least && log.size() <= last.size() &&
                             std::equal(log.begin(), log.end(), last.begin());
        if (between) wrong.clear();
      }
    }
    if (wrong.empty()) {
      check_searches(db, expected, image.dice);
      check_filters(db, expected, image.dice);
      return i;
    }
    if (nearest.empty()) nearest = wrong;
  }
  throw Mismatch(nearest);
}

void CrashRun::check_snapshots(const Database& db, const Image& image) {
  std::set<std::string> found;
  for (const SnapshotInfo& info : db.list_snapshots()) found.insert(info.name);
  const World& before = worlds_[image.lowest];
  const World& after = worlds_[std::min(image.highest, worlds_.size() - 1)];
  for (const auto& [name, rows] : before.snapshots) {
    if (after.snapshots.contains(name) && !found.contains(name)) {
      throw Mismatch("snapshot " + name + " is missing");
    }
  }
  for (const std::string& name : found) {
    bool known = false;
    for (std::size_t i = image.lowest; i <= image.highest && i < worlds_.size(); ++i) {
      known = known || worlds_[i].snapshots.contains(name);
    }
    if (!known) throw Mismatch("snapshot " + name + " should not be there");
  }
  if (found.empty() || image.dice % 4 == 0) return;
  const std::string& one =
      *std::next(found.begin(), static_cast<std::ptrdiff_t>(image.dice % found.size()));
  OpenOptions options = small_options(durability_, image.files.get());
  options.read_only = true;
  const Rows rows = read_rows(*Database::open(db.snapshot_path(one), options));
  for (std::size_t i = image.lowest; i <= image.highest && i < worlds_.size(); ++i) {
    const auto at = worlds_[i].snapshots.find(one);
    if (at == worlds_[i].snapshots.end()) continue;
    Rows expected = at->second;
    expire(expected, now_ms());
    const std::string wrong = difference(expected, rows);
    if (!wrong.empty()) throw Mismatch("in snapshot " + one + ": " + wrong);
    return;
  }
}

// A recovered database is written to like any other.
void CrashRun::go_on(SimulatedFiles& files, std::shared_ptr<Database> db, World world) {
  for (std::uint64_t i = 0; i < 3; ++i) {
    const Step step = make_step(seed_ + 1000 + number_, kSteps + i, world, false);
    step.apply(*db);
    step.apply(world);
  }
  expire(world.rows, now_ms());
  std::string wrong = difference(world.rows, read_rows(*db));
  if (!wrong.empty()) throw Mismatch("written to after recovery, " + wrong);
  const std::vector<Logged> log = read_log(*db);
  const auto killed =
      files.crash(durability_ == Durability::kDisk ? Keep::kNothing : Keep::kEverything);
  db->close();
  for (SimulatedFiles* again : {&files, killed.get()}) {
    if (again == killed.get() && durability_ == Durability::kMemory) continue;
    const auto reopened = open(*again);
    wrong = difference(world.rows, read_rows(*reopened));
    if (wrong.empty()) wrong = difference(log, read_log(*reopened));
    if (!wrong.empty()) throw Mismatch("written to after recovery and reopened, " + wrong);
  }
}

// What was recovered is sound down to the columns, which say what the metadata say. (Records of the
// log that are applied may be lost in a crash.)
void CrashRun::check_files(SimulatedFiles& files) {
  for (const Problem& problem : verify(kPath, {.deep = true, .files = &files}).problems) {
    const bool harmless = problem.kind == Problem::Kind::kUnfinished;
    if (harmless || problem.file.starts_with("wal/")) continue;
    throw Mismatch("in " + problem.file + ": " + problem.what);
  }
}

// One that only reads finds the same, and writes nothing.
void CrashRun::check_reader(const Image& image) {
  SimulatedFiles& files = *image.files;
  try {
    check_state(*open(files, true), image);
  } catch (const Error& error) {
    const bool may_be_absent = worlds_[image.lowest].log.empty();  // nothing was acknowledged
    if (error.code() != ErrorCode::kNotFound || !may_be_absent) throw;
  }
  if (files.operations() != 0) throw Mismatch("a reader has written");
}

// A disk that fails during recovery leaves everything for the next one.
void CrashRun::check_failing_recovery(const Image& image) {
  const auto files = image.files->crash(Keep::kEverything);
  files->set_fault({image.dice % (recovery_operations_ + 1), image.dice % 7 < 4 ? EIO : ENOSPC,
                    image.dice % 11 < 4, image.dice % 3 == 0 ? 700u : 0u});
  try {
    open(*files)->close();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kStorage) throw;
  }
  files->set_fault({});
  check_state(*open(*files), image);
  ++totals_.faults;
  ++totals_.states;
}

void CrashRun::check(Image& image) {
  if (image.dice % 4 == 2) check_reader(image);
  if (image.dice % 8 == 3) check_failing_recovery(image);
  std::unique_ptr<SimulatedFiles> inside;
  const std::uint64_t cut_at = image.dice % (recovery_operations_ + 1);
  SimulatedFiles& files = *image.files;
  files.before_each([&] {
    if (files.operations() == cut_at) {
      inside = files.crash(image.dice % 3 == 0 ? Keep::kNothing : Keep::kSome,
                           static_cast<std::uint_fast32_t>(image.dice));
    }
  });
  auto db = open(files);
  recovery_operations_ = files.operations();
  files.before_each({});
  const std::size_t world = check_state(*db, image);
  check_snapshots(*db, image);
  if (image.dice % 16 == 5) check_files(files);
  ++totals_.states;
  // Recovery ends with a checkpoint: from here on even an unclean end loses nothing.
  auto again = files.crash(Keep::kNothing);
  if (image.dice % 8 == 0) {
    World now = worlds_[world];
    now.rows = read_rows(*db);
    go_on(files, std::move(db), std::move(now));
  }
  db.reset();
  Image second{std::move(again), world, world, image.in_flight, image.dice, "opened a second time"};
  if (inside) {
    Image cut{std::move(inside), image.lowest, image.highest, image.in_flight, image.dice, ""};
    const auto recovered = open(*cut.files);
    check_state(*recovered, cut);
    ++totals_.states;
    if (image.dice % 4 != 1) return;
  }
  check_state(*open(*second.files, image.dice % 2 == 0), second);
}

void CrashRun::check_images(const Deadline& deadline) {
  for (Image& image : images_) {
    if (deadline.over()) break;
    try {
      check(image);
    } catch (const std::exception& error) {
      throw Mismatch(std::string(error.what()) + " (" + image.what + ")");
    }
  }
  images_.clear();
  drain_events();
}

void CrashRun::run(std::uint64_t last_step, const Deadline& deadline) {
  use_simulated_clock();
  try {
    db_ = open(files_);
    if (random_() % 2 == 0) db_->persist();
    for (number_ = 0; number_ < kSteps && number_ <= last_step && !deadline.over(); ++number_) {
      if (random_() % 6 == 0) {
        simulated_now_us += 5'000'000'000;
        expire(worlds_.back().rows, now_ms());
      }
      Step step = make_step(seed_, number_, worlds_.back(), true);
      step.keep_current = number_ % 2 == 0;
      do_step(step);
      check_images(deadline);
    }
    db_->close();
  } catch (const std::exception& error) {
    throw Failure(seed_, number_, error.what());
  }
}

}  // namespace

void run_crashes(const Arguments& arguments, Totals& totals) {
  if (arguments.replay_seed) {
    CrashRun(*arguments.replay_seed, totals).run(arguments.replay_step, Deadline(1e6));
    return;
  }
  const Deadline deadline(arguments.seconds);
  const double before = processor_seconds();
  const std::uint64_t states = totals.states;
  std::uint64_t runs = 0;
  for (; !deadline.over(); ++runs) {
    CrashRun(arguments.seed * 1'000'000 + runs, totals).run(~std::uint64_t{0}, deadline);
  }
  const double spent = processor_seconds() - before;
  const auto checked = static_cast<double>(totals.states - states);
  std::printf("crash: %.0f states of %llu runs compared, %.0f a minute of processor time\n",
              checked, static_cast<unsigned long long>(runs), 60 * checked / std::max(spent, 1e-9));
}

}  // namespace srvdb::soak
