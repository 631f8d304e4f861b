// A process that writes is killed, over and over, in the same directory.
//
// The child applies the steps that seed and World lead to, and says after each that it was
// acknowledged. The parent, which knows the same steps, kills it with SIGKILL at a random moment,
// opens the directory, and compares: at "os" and "disk" every acknowledged step is there and the
// one in flight wholly or not at all; at "memory" a state that once was, not older than the last
// one that was asked to be on disk.

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

#include "soak/scratch.h"
#include "soak/soak.h"
#include "soak/world.h"
#include "srvdb/base/error.h"
#include "srvdb/base/events.h"

namespace srvdb::soak {
namespace {

constexpr std::uint64_t kKillsOfADirectory = 100;
constexpr Durability kDurabilities[] = {Durability::kDisk, Durability::kOs, Durability::kMemory};

// What the child says of a step.
struct Acknowledged {
  std::uint64_t step = 0;
  Sequence sequence = 0;  // of the database after it
};

class Child {
 public:
  Child(const Arguments& arguments, const std::string& path, Durability durability,
        std::uint64_t seed, std::uint64_t first_step) {
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) throw std::runtime_error("no pipe");
    const std::string seed_text = std::to_string(seed);
    const std::string step_text = std::to_string(first_step);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      ::close(ends[0]);
      ::close(ends[1]);
      ::execl(arguments.program.c_str(), "srvdb_soak", "--be-killed", path.c_str(),
              durability_name(durability), seed_text.c_str(), step_text.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(ends[1]);
    from_ = ends[0];
  }
  ~Child() { ::close(from_); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Waits until it has said something, or has ended.
  void wait_for_word() const {
    pollfd wanted{from_, POLLIN, 0};
    ::poll(&wanted, 1, 20'000);
  }
  // Kills it; everything it has said. Throws when it ended by itself.
  std::vector<Acknowledged> kill() {
    ::kill(pid_, SIGKILL);
    std::vector<Acknowledged> out;
    Acknowledged word;
    while (::read(from_, &word, sizeof(word)) == ssize_t{sizeof(word)}) out.push_back(word);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
      throw Mismatch("the writing process ended by itself, status " + std::to_string(status));
    }
    return out;
  }

 private:
  pid_t pid_ = -1;
  int from_ = -1;
};

class KillRun {
 public:
  KillRun(const Arguments& arguments, std::uint64_t seed, Totals& totals)
      : arguments_(arguments), seed_(seed), totals_(totals), random_(seed) {}

  void run(const Deadline& deadline, std::uint64_t kills);

 private:
  void kill_once(std::uint64_t number);
  void follow(std::vector<World>& worlds, Acknowledged word) const;
  void check(const Database& db, const std::vector<World>& worlds, std::size_t first,
             const Step& in_flight);
  void check_a_snapshot(const World& now) const;
  bool may_hold(const World& world, const std::vector<Logged>& log, bool batch) const;

  const Arguments& arguments_;
  const std::uint64_t seed_;
  Totals& totals_;
  std::mt19937_64 random_;
  Scratch scratch_;
  World world_;
  std::uint64_t next_step_ = 0;
};

// The world after one more acknowledged step.
void KillRun::follow(std::vector<World>& worlds, Acknowledged word) const {
  const World& before = worlds.back();
  const Step step = make_step(seed_, word.step, before, true);
  World after = before;
  step.apply(after);
  std::vector<std::string> ids = step.foretell(before.rows);
  if (step.kind == Step::Kind::kTrimLog) {
    std::erase_if(after.log, [&](const Logged& entry) { return entry.sequence < step.before; });
  }
  const Sequence last = before.log.empty() ? 0 : before.log.back().sequence;
  if (word.sequence > last) {
    const bool batch = step.is_batch();
    Logged entry{word.sequence, step.log_operation(), std::move(ids)};
    if (step.kind == Step::Kind::kTrimLog) entry.operation = LogOperation::kTrimChangeLog;
    if (step.kind == Step::Kind::kCompact) entry.operation = LogOperation::kCompact;
    if (step.kind == Step::Kind::kSnapshot) entry.operation = LogOperation::kCreateSnapshot;
    if (step.kind == Step::Kind::kDropSnapshot) entry.operation = LogOperation::kDropSnapshot;
    if (step.kind == Step::Kind::kRestoreSnapshot) entry.operation = LogOperation::kRestoreSnapshot;
    if (word.sequence != last + 1 || (batch && entry.ids.empty())) {
      throw Mismatch("the sequence went from " + std::to_string(last) + " to " +
                     std::to_string(word.sequence) + " with a step of " + step.kind_name());
    }
    after.log.push_back(std::move(entry));
  }
  worlds.push_back(std::move(after));
}

// Of a step in flight that is no batch the log holds any part.
bool KillRun::may_hold(const World& world, const std::vector<Logged>& log, bool batch) const {
  if (batch) return log == world.log;
  std::vector<Logged> rest;
  const Sequence last = world.log.empty() ? 0 : world.log.back().sequence;
  for (const Logged& entry : log) {
    if (entry.sequence <= last) rest.push_back(entry);
    if (entry.sequence > last + 1 || (entry.sequence > last && !entry.ids.empty())) return false;
  }
  return rest.size() <= world.log.size() &&
         std::equal(rest.rbegin(), rest.rend(), world.log.rbegin());
}

void KillRun::check_a_snapshot(const World& now) const {
  if (now.snapshots.empty()) return;
  const auto& [name, rows] = *std::next(
      now.snapshots.begin(), static_cast<std::ptrdiff_t>(next_step_ % now.snapshots.size()));
  OpenOptions options = small_options(Durability::kOs, nullptr);
  options.read_only = true;
  const auto db = Database::open(scratch_.path("db") + "/snapshots/" + name, options);
  const std::string wrong = difference(rows, read_rows(*db));
  if (!wrong.empty()) throw Mismatch("in snapshot " + name + ": " + wrong);
}

// `worlds`: those acknowledged since the start, then the one in flight; the first one allowed.
void KillRun::check(const Database& db, const std::vector<World>& worlds, std::size_t first,
                    const Step& in_flight) {
  World now;
  now.rows = read_rows(db);
  now.log = read_log(db);
  std::string wrong;
  for (std::size_t i = worlds.size(); i-- > first;) {
    const bool last_two = i + 2 >= worlds.size();
    std::string here = difference(worlds[i].rows, now.rows);
    const World& logged = last_two ? worlds[worlds.size() - 2] : worlds[i];
    const bool batch = !last_two || in_flight.is_batch();
    if (here.empty() && !may_hold(batch ? worlds[i] : logged, now.log, batch)) {
      here = difference(worlds[i].log, now.log);
    }
    if (here.empty()) {
      wrong.clear();
      break;
    }
    if (wrong.empty() || i + 2 == worlds.size()) wrong = here;
  }
  if (!wrong.empty()) throw Mismatch(wrong);
  check_searches(db, now.rows, next_step_);
  check_filters(db, now.rows, next_step_);
  for (const SnapshotInfo& info : db.list_snapshots()) {
    for (std::size_t i = first; i < worlds.size(); ++i) {
      const auto at = worlds[i].snapshots.find(info.name);
      if (at != worlds[i].snapshots.end()) now.snapshots[info.name] = at->second;
    }
    if (!now.snapshots.contains(info.name)) throw Mismatch("an unknown snapshot: " + info.name);
  }
  for (const auto& [name, rows] : worlds[first].snapshots) {
    if (worlds.back().snapshots.contains(name) && !now.snapshots.contains(name)) {
      throw Mismatch("snapshot " + name + " is missing");
    }
  }
  world_ = std::move(now);
}

void KillRun::kill_once(std::uint64_t number) {
  const Durability durability = kDurabilities[number % 3];
  std::vector<Acknowledged> words;
  {
    Child child(arguments_, scratch_.path("db"), durability, seed_, next_step_);
    if (random_() % 4 != 0) child.wait_for_word();
    std::this_thread::sleep_for(std::chrono::microseconds(random_() % 15'000));
    words = child.kill();
  }
  ++totals_.kills;
  totals_.acknowledged += words.size();
  std::vector<World> worlds = {world_};
  std::size_t floor = 0;
  for (const Acknowledged& word : words) {
    follow(worlds, word);
    if (make_step(seed_, word.step, worlds[worlds.size() - 2], true).kind == Step::Kind::kPersist) {
      floor = worlds.size() - 1;
    }
  }
  next_step_ += words.size();
  const Step in_flight = make_step(seed_, next_step_, worlds.back(), true);
  const std::size_t first = durability == Durability::kMemory ? floor : worlds.size() - 1;
  Acknowledged next{next_step_, worlds.back().log.empty() ? 0 : worlds.back().log.back().sequence};
  if (!in_flight.foretell(worlds.back().rows).empty()) ++next.sequence;
  follow(worlds, next);
  std::filesystem::remove_all(scratch_.path("evidence"));
  if (std::filesystem::exists(scratch_.path("db"))) {
    copy_tree(scratch_.path("db"), scratch_.path("evidence"));
  }
  OpenOptions options = small_options(Durability::kOs, nullptr);
  options.mode = mode_of(seed_);
  const auto db = Database::open(scratch_.path("db"), options);
  try {
    check(*db, worlds, first, in_flight);
    check_a_snapshot(world_);
  } catch (const std::exception& error) {
    throw Mismatch(std::string(error.what()) + " (" + durability_name(durability) + ", " +
                   std::to_string(words.size()) + " steps acknowledged, then inside of " +
                   in_flight.kind_name() + ")");
  }
  db->close();
  drain_events();
  ++next_step_;  // the one in flight is not tried again
}

void KillRun::run(const Deadline& deadline, std::uint64_t kills) {
  use_simulated_clock();
  std::uint64_t number = 0;
  try {
    for (; number < kKillsOfADirectory && !deadline.over(); ++number) {
      if (kills != 0 && totals_.kills >= kills) return;
      kill_once(number);
    }
  } catch (const std::exception& error) {
    scratch_.keep();
    throw Failure(
        seed_, number,
        std::string(error.what()) + "; the directory as it was: " + scratch_.path("evidence"));
  }
}

}  // namespace

void run_kills(const Arguments& arguments, Totals& totals) {
  const Deadline deadline(arguments.count != 0 ? 1e6 : arguments.seconds);
  std::uint64_t seed = arguments.replay_seed.value_or(arguments.seed * 1'000'000);
  const std::uint64_t before = totals.acknowledged;
  while (!deadline.over() && (arguments.count == 0 || totals.kills < arguments.count)) {
    KillRun(arguments, seed++, totals).run(deadline, arguments.count);
  }
  std::printf("kill: %llu kills, %llu steps acknowledged before them\n",
              static_cast<unsigned long long>(totals.kills),
              static_cast<unsigned long long>(totals.acknowledged - before));
}

int be_killed(const std::string& path, const std::string& durability, std::uint64_t seed,
              std::uint64_t first_step) {
  use_simulated_clock();
  OpenOptions options = small_options(parse_durability(durability), nullptr);
  options.mode = mode_of(seed);
  const auto db = Database::open(path, options);
  World world;
  for (std::uint64_t number = first_step;; ++number) {
    world.rows = read_rows(*db);
    world.log = read_log(*db);
    world.snapshots.clear();
    for (const SnapshotInfo& info : db->list_snapshots()) world.snapshots[info.name];
    make_step(seed, number, world, true).apply(*db);
    const Acknowledged word{number, db->stats().sequence};
    if (::write(STDOUT_FILENO, &word, sizeof(word)) != ssize_t{sizeof(word)}) return 1;
  }
}

}  // namespace srvdb::soak
