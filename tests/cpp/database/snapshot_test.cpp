// Snapshots: a named state stays what it was, costs what changed, and can be gone back to.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <regex>
#include <set>
#include <thread>

#include "fault_files.h"
#include "fixture.h"
#include "model.h"
#include "power_files.h"
#include "srvdb/base/events.h"

namespace srvdb {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDim = 6;

class SnapshotTest : public DatabaseTest {
 protected:
  std::string snapshot_path(const std::string& name) const { return path_ + "/snapshots/" + name; }
  static std::shared_ptr<Database> open_read_only(const std::string& path) {
    OpenOptions options;
    options.read_only = true;
    return Database::open(path, options);
  }
  // How the snapshot differs from the model.
  std::string snapshot_difference(const std::string& name, const Model& model) {
    return difference(*open_read_only(snapshot_path(name)), model);
  }
  // Bytes on disk below a directory, a file with many names once; graph files apart.
  static std::uint64_t unique_bytes(const std::string& directory) {
    std::set<std::uint64_t> seen;
    std::uint64_t bytes = 0;
    for (const auto& entry : fs::recursive_directory_iterator(directory)) {
      if (!entry.is_regular_file() || entry.path().filename() == "graph.hnsw") continue;
      const auto info = posix_file_system().info(entry.path());
      if (seen.insert(info->inode).second) bytes += info->size;
    }
    return bytes;
  }
};

TEST_F(SnapshotTest, ASnapshotShowsItsStateWhateverComesLater) {
  const auto db = open(small_buffer());
  Operations operations(3, kDim, 8, 40);
  Model model;
  std::map<std::string, Model> kept;
  for (int round = 0; round < 6; ++round) {
    run(operations, *db, model, 12);
    const std::string name = numbered("s", static_cast<std::size_t>(round));
    const SnapshotInfo made = db->create_snapshot(name);
    EXPECT_EQ(made.name, name);
    EXPECT_EQ(made.vectors, db->count());
    kept[name] = model;
    for (const auto& [old, state] : kept) ASSERT_EQ(snapshot_difference(old, state), "") << old;
    if (round == 3) db->optimize(1, nullptr, nullptr);
  }
  db->close();
  for (const auto& [old, state] : kept) EXPECT_EQ(snapshot_difference(old, state), "") << old;
  EXPECT_EQ(difference(*open(small_buffer()), model), "");
}

// Rows behind those of a snapshot are cut off and written again in the files that it shares.
TEST_F(SnapshotTest, ARecoveryThatCutsRowsLeavesTheSnapshotAsItWas) {
  Model model;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto db = open(small_buffer());
    fill(*db, 50, kDim);
    db->create_snapshot("s");
    fill(*db, 3, kDim, 50);
    fill(*db, 100, kDim, 53);  // straight to the files
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  const std::string log = settled_log(path_);
  fs::resize_file(log, fs::file_size(log) - 1);  // the last batch was never logged whole
  ASSERT_EQ(fs::hard_link_count(snapshot_path("s") + "/gen-1/vectors.bin"), 2u);
  const auto before = random_rows(50, kDim);
  const auto db = open(small_buffer());
  EXPECT_EQ(db->count(), 53u);
  fill(*db, 100, kDim, 1000, "other");
  db->close();
  const auto snapshot = open_read_only(snapshot_path("s"));
  EXPECT_EQ(snapshot->count(), 50u);
  for (std::size_t i = 0; i < 50; ++i) {
    const std::string id = numbered("r", i);
    const std::string_view view = id;
    const auto found = snapshot->records({&view, 1}, true);
    ASSERT_TRUE(found[0]);
    const auto* const row = before.data() + i * kDim;
    EXPECT_EQ(found[0]->embedding, std::vector<float>(row, row + kDim));
  }
}

TEST_F(SnapshotTest, ASnapshotIsADatabaseOfItsOwnThatIsNeverWritten) {
  const auto db = open(small_buffer());
  const std::vector<float> rows = fill(*db, 30, kDim);
  db->create_snapshot("past");
  const std::vector<std::string_view> gone = {"r1"};
  db->remove(gone);
  const auto past = open_read_only(snapshot_path("past"));
  EXPECT_TRUE(past->stats().read_only);
  EXPECT_EQ(past->search(rows.data() + kDim, kDim, {.k = 1}).hits[0].id, "r1");
  EXPECT_EQ(code_of([&] { fill(*past, 1, kDim, 99); }), ErrorCode::kReadOnly);
  EXPECT_EQ(past->refresh(), past->stats().sequence);
  past->close();
  EXPECT_EQ(code_of([&] { Database::open(snapshot_path("past"), {}); }), ErrorCode::kReadOnly);
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(snapshot_path("past"))) {
    names.insert(entry.path().filename());
  }
  EXPECT_EQ(names, (std::set<std::string>{"MANIFEST", "gen-1"}));
}

TEST_F(SnapshotTest, NamesAreCheckedMadeUpAndNeverTakenTwice) {
  const auto db = open(small_buffer());
  fill(*db, 3, kDim);
  const std::string longest(100, 'n');
  for (const std::string& name : {std::string("a"), std::string("A-b_c.9"), longest}) {
    EXPECT_EQ(db->create_snapshot(name).name, name);
    EXPECT_EQ(code_of([&] { db->create_snapshot(name); }), ErrorCode::kDuplicateId);
  }
  for (const std::string name : {".a", "..", "a/b", "a b", "ä", "a\n"}) {
    EXPECT_EQ(code_of([&] { db->create_snapshot(name); }), ErrorCode::kInvalidInput) << name;
    EXPECT_EQ(code_of([&] { db->drop_snapshot(name); }), ErrorCode::kInvalidInput) << name;
    EXPECT_EQ(code_of([&] { db->restore_snapshot(name); }), ErrorCode::kInvalidInput) << name;
  }
  EXPECT_EQ(code_of([&] { db->create_snapshot(longest + "n"); }), ErrorCode::kInvalidInput);
  EXPECT_EQ(code_of([&] { db->drop_snapshot("b"); }), ErrorCode::kNotFound);
  EXPECT_EQ(code_of([&] { db->restore_snapshot("b"); }), ErrorCode::kNotFound);
  EXPECT_EQ(code_of([&] { db->snapshot_path("b"); }), ErrorCode::kNotFound);
  EXPECT_EQ(db->snapshot_path("a"), snapshot_path("a"));
  std::set<std::string> made;
  for (int i = 0; i < 3; ++i) made.insert(db->create_snapshot().name);
  EXPECT_EQ(made.size(), 3u);
  for (const std::string& name : made) {
    EXPECT_TRUE(std::regex_match(name, std::regex("snapshot_[0-9]{8}_[0-9]{6}(_[23])?"))) << name;
  }
  EXPECT_EQ(db->list_snapshots().size(), 6u);
}

TEST_F(SnapshotTest, AnEmptyDatabaseHasSnapshotsToo) {
  const auto db = open(small_buffer());
  db->create_snapshot("empty");
  EXPECT_EQ(open_read_only(snapshot_path("empty"))->count(), 0u);
  fill(*db, 5, kDim);
  db->restore_snapshot("empty");
  EXPECT_EQ(db->count(), 0u);
  fill(*db, 5, kDim + 1);  // it has no dimension again
  db->close();
  EXPECT_EQ(open(small_buffer())->count(), 5u);
}

TEST_F(SnapshotTest, ASnapshotAfterOnePercentOfChangesCostsMetadataAndOnePercent) {
  constexpr std::size_t kRows = 20000;
  constexpr std::size_t kWide = 64;
  const auto db = open();
  fill(*db, kRows, kWide);
  db->optimize(1, nullptr, nullptr);
  db->create_snapshot("first");
  const std::uint64_t before = unique_bytes(path_);
  const Ids ids("r", 0, kRows / 100);
  const std::vector<float> rows = random_rows(kRows / 100, kWide, 7);
  db->upsert({ids.views, rows.data(), kWide, {}});
  const SnapshotInfo second = db->create_snapshot("second");
  const std::uint64_t data = kRows * (kWide * (sizeof(float) + 1) + 40);  // rows, codes, ids
  const std::uint64_t metadata = fs::file_size(snapshot_path("second") + "/gen-1/metadata.db");
  const std::uint64_t log = 4u << 20;  // of the batch itself, until the next checkpoint
  EXPECT_LT(unique_bytes(path_) - before, metadata + data / 50 + log);
  EXPECT_LT(second.own_bytes, metadata + (1u << 16));
}

TEST_F(SnapshotTest, ADroppedSnapshotIsGoneAndOthersStay) {
  const auto db = open(small_buffer());
  fill(*db, 40, kDim);
  db->create_snapshot("a");
  fill(*db, 40, kDim, 40);
  db->create_snapshot("b");
  const auto reader = open_read_only(snapshot_path("a"));
  db->drop_snapshot("a");
  EXPECT_EQ(reader->count(), 40u);  // who has it open keeps it
  const std::vector<float> query = random_rows(1, kDim);
  EXPECT_EQ(reader->search(query.data(), kDim, {.k = 40}).hits.size(), 40u);
  const std::vector<SnapshotInfo> left = db->list_snapshots();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].name, "b");
  EXPECT_EQ(left[0].vectors, 80u);
  EXPECT_FALSE(fs::exists(snapshot_path("a")));
  EXPECT_FALSE(fs::exists(path_ + "/snapshots/.a.tmp"));
}

TEST_F(SnapshotTest, RestoringBringsBackTheStateAndKeepsTheOneBefore) {
  const auto db = open(small_buffer());
  Operations operations(9, kDim, 8, 40);
  Model model;
  run(operations, *db, model, 15);
  db->optimize(1, nullptr, nullptr);
  db->create_snapshot("then");
  const Model then = model;
  run(operations, *db, model, 15);
  const Sequence before = db->stats().sequence;
  db->restore_snapshot("then");
  EXPECT_EQ(difference(*db, then), "");
  EXPECT_GT(db->stats().sequence, before);  // sequences are never used twice
  EXPECT_EQ(db->stats().generation, 2u);
  EXPECT_FALSE(fs::exists(path_ + "/gen-1"));
  const std::vector<SnapshotInfo> kept = db->list_snapshots();
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[1].name.substr(0, 15), "before_restore_");
  EXPECT_EQ(snapshot_difference(kept[1].name, model), "");

  Model later = then;  // and everything goes on from there
  run(operations, *db, later, 15);
  EXPECT_EQ(difference(*db, later), "");
  const std::string copy = crash_copy("copy");
  EXPECT_EQ(difference(*Database::open(copy, small_buffer()), later), "");
  db->close();
  const auto reopened = open(small_buffer());
  EXPECT_EQ(difference(*reopened, later), "");
  reopened->restore_snapshot(kept[1].name, false);  // back again
  EXPECT_EQ(difference(*reopened, model), "");
  EXPECT_EQ(reopened->list_snapshots().size(), 2u);
  reopened->close();
  EXPECT_EQ(difference(*open(small_buffer()), model), "");
  EXPECT_EQ(snapshot_difference("then", then), "");
}

TEST_F(SnapshotTest, TheChangeLogGoesOnThroughRestoringAndTrimmedEntriesStayAway) {
  const auto db = open(small_buffer());
  fill(*db, 3, kDim);
  fill(*db, 3, kDim, 3);
  const SnapshotInfo made = db->create_snapshot("s");
  fill(*db, 3, kDim, 6);
  db->trim_change_log(2);  // what the snapshot still holds
  const std::vector<LogEntry> before = db->change_log({.limit = 100});
  ASSERT_EQ(before.size(), 4u);  // add, snapshot, add, trim
  db->restore_snapshot("s");
  fill(*db, 1, kDim, 100);
  for (int round = 0; round < 2; ++round) {
    const auto again = round == 0 ? db : open(small_buffer());
    const std::vector<LogEntry> after = again->change_log({.limit = 100});
    ASSERT_EQ(after.size(), before.size() + 2);
    for (std::size_t i = 0; i < before.size(); ++i) {
      EXPECT_EQ(after[i].sequence, before[i].sequence);
      EXPECT_EQ(after[i].time_us, before[i].time_us);
      EXPECT_EQ(after[i].ids, before[i].ids);
    }
    const LogEntry& restored = after[before.size()];
    EXPECT_EQ(restored.operation, LogOperation::kRestoreSnapshot);
    EXPECT_GT(restored.sequence, before.back().sequence);
    EXPECT_NE(restored.details.find("{\"name\": \"s\", \"kept\": \"before_restore_"),
              std::string::npos);
    EXPECT_EQ(after.back().ids, std::vector<std::string>{"r100"});
    EXPECT_GT(after.back().sequence, restored.sequence);
    db->close();
  }
}

TEST_F(SnapshotTest, HitsFoundBeforeARestoreKeepTheirRowsAndFindMetadataById) {
  const auto db = open(small_buffer());
  const std::vector<std::string_view> ids = {"a", "b"};
  const std::vector<std::string_view> old_texts = {R"({"v":1})", R"({"v":2})"};
  const std::vector<float> rows = random_rows(2, kDim);
  db->add({ids, rows.data(), kDim, old_texts});
  db->create_snapshot("s");
  const std::vector<std::string_view> c = {"c"};
  db->add({c, rows.data(), kDim, {}});
  const SearchResult found = db->search(rows.data(), kDim, {.k = 3});
  db->restore_snapshot("s", false);
  ASSERT_EQ(found.hits.size(), 3u);
  for (const Hit& hit : found.hits) {
    const std::optional<std::string> text = db->hit_metadata(*found.view, hit.row);
    if (hit.id == "a") {
      EXPECT_EQ(text, R"({"v":1})");
    } else if (hit.id == "b") {
      EXPECT_EQ(text, R"({"v":2})");
    } else {
      EXPECT_EQ(text, std::nullopt);
    }
    EXPECT_EQ(db->hit_embedding(*found.view, hit.row).size(), kDim);
  }
}

TEST_F(SnapshotTest, SearchesAndWritesGoOnWhileSnapshotsAreMadeAndRestored) {
  const auto db = open();
  fill(*db, 6000, kDim);
  db->create_snapshot("s");
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> searches{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      const std::vector<float> query = random_rows(1, kDim, static_cast<std::uint32_t>(t + 50));
      while (!stop) {
        const SearchResult found = db->search(query.data(), kDim, {.k = 5});
        EXPECT_EQ(found.hits.size(), 5u);
        db->hit_metadata(*found.view, found.hits[0].row);
        EXPECT_TRUE(db->contains("r7"));
        searches.fetch_add(1);
      }
    });
  }
  threads.emplace_back([&] {
    for (std::size_t n = 0; !stop; ++n) {
      const Ids ids("w", n % 64, 4);
      const std::vector<float> rows = random_rows(4, kDim, static_cast<std::uint32_t>(n));
      db->upsert({ids.views, rows.data(), kDim, {}});
      if (n % 8 == 0) db->persist();
    }
  });
  for (int round = 0; round < 8; ++round) {
    db->create_snapshot();
    db->restore_snapshot("s", round % 2 == 0);
    if (round == 4) db->optimize(1, nullptr, nullptr);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(searches.load(), 0u);
  db->restore_snapshot("s");
  EXPECT_EQ(db->count(), 6000u);
}

// ---- failures
// ------------------------------------------------------------------------------------

enum class Verb { kCreate, kDrop, kRestore };

class SnapshotFaultTest : public SnapshotTest, public ::testing::WithParamInterface<Verb> {
 protected:
  static void apply(Database& db) {
    if (GetParam() == Verb::kCreate) db.create_snapshot("new");
    if (GetParam() == Verb::kDrop) db.drop_snapshot("then");
    if (GetParam() == Verb::kRestore) db.restore_snapshot("then");
  }
  // A database with a snapshot and changes since, closed.
  void prepare(const std::string& path, const OpenOptions& options = small_buffer()) {
    path_ = path;
    const auto db = Database::open(path, options);
    Operations operations(21, kDim, 8, 40);
    run(operations, *db, now_, 10);
    db->optimize(1, nullptr, nullptr);
    db->create_snapshot("then");
    then_ = now_;
    run(operations, *db, now_, 10);
  }
  // Where everything is as before the verb, or as after it, and nothing lies about.
  void expect_old_or_new(const std::string& path) {
    path_ = path;
    const auto db = open(small_buffer());
    const bool is_now = difference(*db, now_).empty();
    EXPECT_TRUE(is_now || (GetParam() == Verb::kRestore && difference(*db, then_).empty()));
    for (const SnapshotInfo& made : db->list_snapshots()) {
      const Model& model = made.name == "then" ? then_ : now_;
      EXPECT_EQ(snapshot_difference(made.name, model), "") << made.name;
    }
    for (const auto& entry : fs::directory_iterator(path + "/snapshots")) {
      EXPECT_NE(entry.path().filename().string()[0], '.') << entry.path();
    }
    std::size_t generations = 0;
    for (const auto& entry : fs::directory_iterator(path)) {
      generations += entry.path().filename().string().starts_with("gen-") ? 1 : 0;
    }
    EXPECT_EQ(generations, 1u);
    fill(*db, 3, kDim, 5000);
    db->close();
  }
  Model then_, now_;
};

TEST_P(SnapshotFaultTest, ACrashAtAnyOperationLeavesTheOldStateOrTheNew) {
  prepare(root_ + "/origin");
  bool failed = true;
  std::uint64_t at = 0;
  for (; failed; ++at) {
    const std::string copy = root_ + "/copy";
    fs::copy(root_ + "/origin", copy, fs::copy_options::recursive);
    testing::FaultFiles files;
    OpenOptions options = small_buffer();
    options.files = &files;
    const auto db = Database::open(copy, options);
    files.fail({.at = at, .error = EIO, .forever = true, .partial = at % 2 == 0});
    try {
      apply(*db);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kStorage) << error.what();
    }
    failed = files.failures() > 0;
    const std::string crashed = root_ + "/crashed";
    fs::copy(copy, crashed, fs::copy_options::recursive);
    expect_old_or_new(crashed);
    ASSERT_FALSE(HasFailure()) << "after a failure of operation " << at;
    files.fail({});
    db->close();
    fs::remove_all(crashed);
    fs::remove_all(copy);
  }
  EXPECT_GT(at, GetParam() == Verb::kDrop ? 3u : 15u);
}

TEST_P(SnapshotFaultTest, WithoutRoomNothingHasChangedAndLaterItWorks) {
  prepare(root_ + "/origin");
  bool failed = true;
  for (std::uint64_t at = 0; failed; ++at) {
    const std::string copy = root_ + "/copy";
    fs::copy(root_ + "/origin", copy, fs::copy_options::recursive);
    path_ = copy;
    testing::FaultFiles files;
    OpenOptions options = small_buffer();
    options.files = &files;
    const auto db = Database::open(copy, options);
    files.fail({.at = at, .error = ENOSPC, .partial = at % 2 == 0, .syncs = false});
    bool refused = false;
    try {
      apply(*db);
    } catch (const Error& error) {
      EXPECT_EQ(error.os_error(), ENOSPC) << error.what();
      refused = true;
    }
    failed = files.failures() > 0;
    files.fail({});
    ASSERT_FALSE(db->stats().read_only) << "operation " << at;
    if (refused) {
      ASSERT_EQ(difference(*db, now_), "") << "operation " << at;
      ASSERT_EQ(db->list_snapshots().size(), 1u) << "operation " << at;
      apply(*db);
    }
    ASSERT_EQ(difference(*db, GetParam() == Verb::kRestore ? then_ : now_), "")
        << "operation " << at;
    db->close();
    fs::remove_all(copy);
  }
}

// The disk fails at an operation, and then the power goes: of what was not synced some is there.
TEST_P(SnapshotFaultTest, LossOfPowerAtAnyOperationLeavesTheOldStateOrTheNew) {
  using Keep = testing::SimulatedFiles::Keep;
  OpenOptions options = small_buffer();
  options.durability = Durability::kDisk;
  testing::PowerFiles origin;
  options.files = &origin;
  prepare(root_ + "/db", options);
  bool failed = true;
  std::uint64_t at = 0;
  for (; failed; ++at) {
    const auto files = origin.crash(Keep::kEverything);
    options.files = files.get();
    auto db = Database::open(path_, options);
    files->set_fault({.at = files->operations() + at, .error = EIO, .forever = true});
    bool done = true;
    try {
      apply(*db);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kStorage) << error.what();
      done = false;
    }
    const Keep keep = at % 3 == 0 ? Keep::kNothing : Keep::kSome;
    const auto image = files->crash(keep, static_cast<std::uint_fast32_t>(at));
    failed = !done;
    files->set_fault({});
    db->close();
    db = nullptr;
    options.files = image.get();
    db = Database::open(path_, options);
    const std::string now = difference(*db, now_);
    const bool restores = GetParam() == Verb::kRestore;
    ASSERT_TRUE(now.empty() || (restores && difference(*db, then_).empty())) << now << " at " << at;
    ASSERT_TRUE(!done || !restores || difference(*db, then_).empty()) << "at " << at;
    std::set<std::string> names;
    for (const SnapshotInfo& made : db->list_snapshots()) {
      names.insert(made.name);
      OpenOptions reading = options;
      reading.read_only = true;
      const auto snapshot = Database::open(snapshot_path(made.name), reading);
      ASSERT_EQ(difference(*snapshot, made.name == "then" ? then_ : now_), "") << "at " << at;
    }
    ASSERT_TRUE(!done || GetParam() != Verb::kCreate || names.contains("new"));
    ASSERT_TRUE(!done || GetParam() != Verb::kDrop || !names.contains("then"));
    fill(*db, 3, kDim, 5000);
    db->close();
  }
  EXPECT_GT(at, GetParam() == Verb::kDrop ? 5u : 25u);
}

INSTANTIATE_TEST_SUITE_P(Verbs, SnapshotFaultTest,
                         ::testing::Values(Verb::kCreate, Verb::kDrop, Verb::kRestore));

TEST_F(SnapshotTest, WhereFilesCannotBeLinkedTheyAreCopied) {
  testing::FaultFiles files;
  files.can_link = false;
  OpenOptions options = small_buffer();
  options.files = &files;
  const auto db = open(options);
  fill(*db, 40, kDim);
  const SnapshotInfo made = db->create_snapshot("s");
  EXPECT_GT(made.own_bytes, 40 * kDim * sizeof(float));
  fill(*db, 40, kDim, 40);
  EXPECT_EQ(open_read_only(snapshot_path("s"))->count(), 40u);
}

// ---- automatic ---------------------------------------------------------------------------------

TEST_F(SnapshotTest, AutomaticSnapshotsComeWhenSomethingChangedAndOnlyTheyAreDropped) {
  OpenOptions options = small_buffer();
  options.snapshot_every_ms = 20;
  options.snapshot_keep = 2;
  const auto db = open(options);
  db->create_snapshot("mine");
  const auto newest = [&] {
    std::uint64_t vectors = 0;
    for (const SnapshotInfo& made : db->list_snapshots()) {
      if (made.automatic) vectors = made.vectors;
    }
    return vectors;
  };
  for (std::size_t round = 1; round <= 5; ++round) {
    fill(*db, 1, kDim, round);
    for (int i = 0; i < 1000 && newest() != round; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ASSERT_EQ(newest(), round);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // nothing changes: none is made
  std::set<std::string> names;
  std::size_t automatic = 0;
  for (const SnapshotInfo& made : db->list_snapshots()) {
    names.insert(made.name);
    automatic += made.automatic ? 1 : 0;
  }
  EXPECT_EQ(automatic, 2u);
  EXPECT_TRUE(names.contains("mine"));
  db->close();
  const std::size_t before = names.size();
  const auto again = open(options);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(again->list_snapshots().size(), before);
}

// ---- backups -----------------------------------------------------------------------------------

}  // namespace
}  // namespace srvdb
