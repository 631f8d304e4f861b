#include "soak/mutant.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>

#include "soak/soak.h"
#include "srvdb/base/error.h"
#include "srvdb/base/events.h"

namespace srvdb::soak {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSteps = 90;
constexpr std::size_t kStepsInLog = 7;
constexpr std::size_t kLeastRows = 40;
constexpr std::size_t kPage = 4096;
constexpr const char* kSnapshot = "kept";

OpenOptions options_of(bool read_only, Durability durability = Durability::kDisk) {
  OpenOptions options = small_options(durability, nullptr);
  options.read_only = read_only;
  return options;
}

// Runs a question; an answer is checked by it, an error must be one that damage may give.
bool refused(const std::function<void()>& question) {
  try {
    question();
    return false;
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kCorruption || error.code() == ErrorCode::kVersion) return true;
    throw Mismatch(std::string("the error ") + error_code_name(error.code()) + ": " + error.what());
  }
}

void check_rows(const Rows& expected, const Rows& got) {
  const std::string wrong = difference(expected, got);
  if (!wrong.empty()) throw Mismatch(wrong);
}

// A damaged log may end early, as after a crash: then at one of the states that once were.
const World& world_of(const Pristine& pristine, const Database& db, bool log_damaged) {
  const std::vector<World>& worlds = pristine.worlds();
  if (!log_damaged) return worlds.back();
  const Rows rows = read_rows(db);
  const std::vector<Logged> log = read_log(db);
  for (const World& world : worlds) {
    if (world.log == log && difference(world.rows, rows).empty()) return world;
  }
  throw Mismatch("a state that never was: " + difference(worlds.back().rows, rows));
}

bool ask_database(const Pristine& pristine, const std::string& path, const std::string& file,
                  bool read_only, std::uint64_t seed) {
  bool any = false;
  std::shared_ptr<Database> db;
  any |= refused([&] { db = Database::open(path, options_of(read_only)); });
  if (!db) return true;
  const World* world = nullptr;
  any |= refused([&] { world = &world_of(pristine, *db, file.starts_with("wal/")); });
  if (world == nullptr) return true;
  any |= refused([&] { check_searches(*db, world->rows, seed); });
  any |= refused([&] { check_filters(*db, world->rows, seed); });
  any |= refused([&] { check_rows(world->rows, read_rows(*db)); });
  any |= refused([&] {
    const std::string wrong = difference(world->log, read_log(*db));
    if (!wrong.empty()) throw Mismatch(wrong);
  });
  any |= refused([&] { db->list_snapshots(); });
  any |= refused([&] { db->close(); });
  return any;
}

bool ask_snapshot(const Pristine& pristine, const std::string& path, std::uint64_t seed) {
  bool any = false;
  std::shared_ptr<Database> db;
  any |= refused([&] { db = Database::open(path, options_of(true)); });
  if (!db) return true;
  any |= refused([&] { check_searches(*db, pristine.snapshot(), seed); });
  any |= refused([&] { check_filters(*db, pristine.snapshot(), seed); });
  any |= refused([&] { check_rows(pristine.snapshot(), read_rows(*db)); });
  return any;
}

// Over the place: a page of the file as it was at another time, or of another place; or any piece
// of it, over what is there or pushed in between.
void splice(std::string& out, const std::string& bytes, const std::string& from, std::size_t at,
            std::size_t some, std::uint64_t dice) {
  if (from.empty()) return;
  if (dice % 2 == 0 && bytes.size() > kPage) {
    const std::size_t page = at / kPage * kPage;
    const bool same_place = dice / 2 % 2 == 0;
    const std::size_t source = same_place ? page : dice / 4 % (from.size() / kPage + 1) * kPage;
    if (source >= from.size()) return;
    const std::string piece = from.substr(source, std::min(kPage, bytes.size() - page));
    out.replace(page, piece.size(), piece);
    return;
  }
  const std::string piece = from.substr(dice / 4 % from.size(), some);
  out.replace(at, dice / 2 % 4 == 0 ? 0 : piece.size(), piece);
}

}  // namespace

const char* damage_name(Damage damage) noexcept {
  static constexpr const char* kNames[] = {"flip", "truncate", "zero", "splice"};
  return kNames[static_cast<std::size_t>(damage)];
}

Pristine::Pristine(std::uint64_t seed) {
  use_simulated_clock();
  World world;
  Sequence sequence = 0;
  const auto put = [&](const Step& step) {
    std::vector<std::string> ids = step.foretell(world.rows);
    step.apply(world);
    if (!ids.empty()) world.log.push_back({++sequence, step.log_operation(), std::move(ids)});
    if (step.kind == Step::Kind::kSnapshot) {
      world.log.push_back({++sequence, LogOperation::kCreateSnapshot, {}});
      snapshot_ = world.rows;
    }
    steps_.push_back(step);
  };
  const auto put_kind = [&](Step::Kind kind) {
    Step step;
    step.kind = kind;
    step.name = kSnapshot;
    put(step);
  };
  std::uint64_t number = 0;
  for (; number < kSteps || world.rows.size() < kLeastRows; ++number) {
    put(make_step(seed, number, world, false));
    if (number < kSteps / 2 || world.rows.size() < kLeastRows || !snapshot_.empty()) continue;
    put_kind(Step::Kind::kOptimize);
    put_kind(Step::Kind::kSnapshot);
  }
  put_kind(Step::Kind::kOptimize);
  put_kind(Step::Kind::kPersist);
  worlds_.push_back(world);
  for (; worlds_.size() <= kStepsInLog; ++number) {
    const Step step = make_step(seed, number, world, false);
    if (step.foretell(world.rows).empty()) continue;
    put(step);
    worlds_.push_back(world);
  }
}

void Pristine::make(const std::string& directory) const {
  use_simulated_clock();
  const auto grow = [&](const std::string& path, Durability durability) {
    OpenOptions options = options_of(false, durability);
    options.mode = Mode::kHnsw;
    auto db = Database::open(path, options);
    for (const Step& step : steps_) step.apply(*db);
    return db;
  };
  const std::string path = directory + "/open";
  const auto db = grow(path, Durability::kDisk);
  copy_tree(path, directory + "/crashed");
  db->backup(directory + "/backup", true);
  db->close();
  copy_tree(path, directory + "/closed");
  const auto other = grow(directory + "/other", Durability::kOs);
  copy_tree(directory + "/other", directory + "/crashed at os");
  for (const char* name : {"/crashed", "/closed", "/crashed at os"}) {
    check_rows(worlds_.back().rows, read_rows(*Database::open(directory + name, options_of(true))));
  }
}

std::vector<std::string> files_to_damage(const std::string& closed) {
  std::vector<std::string> out = {"backup"};
  for (const auto& entry : fs::recursive_directory_iterator(closed)) {
    const std::string name = fs::relative(entry.path(), closed).string();
    const bool scratch = name.ends_with("LOCK") || name.ends_with("-lock");
    if (entry.is_regular_file() && !scratch && entry.file_size() > 0) out.push_back(name);
  }
  out.push_back(kLogTail);  // of another database, which is not synced
  std::sort(out.begin(), out.end());
  return out;
}

std::string damaged(const std::string& bytes, const std::string& other, Damage damage,
                    std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto pick = [&](std::size_t below) { return random() % std::max<std::size_t>(below, 1); };
  std::string out = bytes;
  for (int tries = 0; out == bytes && tries < 100; ++tries) {
    const std::size_t at = pick(bytes.size());
    const std::size_t some = std::min(1 + pick(std::size_t{1} << pick(13)), bytes.size() - at);
    switch (damage) {
      case Damage::kFlip:
        out[at] = static_cast<char>(out[at] ^ (1 << pick(8)));
        break;
      case Damage::kTruncate:
        out.resize(at);
        break;
      case Damage::kZero:
        out.replace(at, some, some, '\0');
        break;
      case Damage::kSplice:
        splice(out, bytes, pick(2) == 0 ? other : bytes, at, some, random());
        break;
    }
  }
  return out;
}

bool ask_everything(const Pristine& pristine, const std::string& work, const std::string& file,
                    std::uint64_t seed) {
  use_simulated_clock();
  drain_events();
  if (file == "backup") {
    const std::string to = work + "-restored";
    fs::remove_all(to);
    if (refused([&] { Database::restore_backup(work + "/backup", to); })) return true;
    return ask_database(pristine, to, file, true, seed);
  }
  const std::string in_snapshots = std::string("snapshots/") + kSnapshot;
  if (file.starts_with(in_snapshots))
    return ask_snapshot(pristine, work + "/" + in_snapshots, seed);
  const bool read_only = seed % 2 == 0;
  const bool any = ask_database(pristine, work, file, read_only, seed);
  // A writer that found nothing wrong has not made damage look sound.
  if (!any && !read_only) return ask_database(pristine, work, file, true, seed + 1);
  return any;
}

}  // namespace srvdb::soak
