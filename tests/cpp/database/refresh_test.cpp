// Reader processes: each shows one moment until it asks for a newer one, whatever the writer does.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <thread>
#include <utility>

#include "fixture.h"
#include "model.h"

namespace srvdb {
namespace {

constexpr std::size_t kDim = 6;

// A child process that does what it is told, step by step: run(n) calls step n there and waits.
class Process {
 public:
  using Steps = std::vector<std::function<void(std::shared_ptr<Database>&)>>;

  explicit Process(Steps steps) {
    if (::pipe(to_) != 0 || ::pipe(from_) != 0) std::abort();
    child_ = ::fork();
    if (child_ != 0) {
      ::close(std::exchange(from_[1], -1));  // so that the end of the child is the end of the pipe
      return;
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // whatever becomes of the test
    ::close(to_[1]);
    ::close(from_[0]);
    std::shared_ptr<Database> db;
    char step = 0;
    while (::read(to_[0], &step, 1) == 1) {
      char answer = 'y';
      try {
        steps.at(static_cast<std::size_t>(step))(db);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "in the other process: %s\n", error.what());
        answer = 'n';
      }
      if (::write(from_[1], &answer, 1) != 1) break;
    }
    ::_exit(0);
  }
  ~Process() { kill(); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void run(int step) {
    const char number = static_cast<char>(step);
    char answer = 0;
    ASSERT_EQ(::write(to_[1], &number, 1), 1);
    ASSERT_EQ(::read(from_[0], &answer, 1), 1);
    ASSERT_EQ(answer, 'y') << "step " << step;
  }
  void kill() {
    if (child_ == 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = 0;
    for (const int fd : {to_[0], to_[1], from_[0]}) ::close(fd);
  }

 private:
  int to_[2]{}, from_[2]{};
  pid_t child_ = 0;
};

class RefreshTest : public DatabaseTest {
 protected:
  using Handle = std::shared_ptr<Database>;
  static OpenOptions quiet() {
    OpenOptions options;
    options.flush_rows = 16;
    options.background = false;
    return options;
  }
  OpenOptions reading() const {
    OpenOptions options = quiet();
    options.read_only = true;
    return options;
  }
  // Every record there is can be read in every way, and there are so many.
  static void expect_sound(Database& db, std::size_t count) {
    EXPECT_EQ(db.count(), count);
    const std::vector<Record> all = db.scroll("", 100000, true, true);
    EXPECT_EQ(all.size(), count);
    for (std::size_t i = 0; i < all.size(); i += 7) {
      const SearchResult found = db.search(all[i].embedding.data(), kDim, {.k = 1});
      ASSERT_EQ(found.hits.size(), 1u);
      EXPECT_EQ(db.hit_embedding(*found.view, found.hits[0].row), all[i].embedding);
      EXPECT_TRUE(db.hit_metadata(*found.view, found.hits[0].row));
    }
  }
};

TEST_F(RefreshTest, AReaderStaysWhereItIsUntilItAsks) {
  Process writer({
      [&](Handle& db) { db = open(quiet()); },
      [&](Handle& db) { fill(*db, 40, kDim); },
      [&](Handle& db) { db->persist(); },
      [&](Handle& db) { fill(*db, 60, kDim, 40); },
      [&](Handle& db) {
        const Ids ids("r", 0, 10);
        db->remove(ids.views);
        db->optimize(1, nullptr, nullptr);
      },
      [&](Handle& db) { db->close(); },
  });
  for (const int step : {0, 1, 2}) writer.run(step);
  const auto reader = open(reading());
  expect_sound(*reader, 40);
  const Sequence first = reader->refresh();
  EXPECT_EQ(first, reader->stats().sequence);
  writer.run(3);
  expect_sound(*reader, 40);
  EXPECT_EQ(reader->refresh(), first);  // not in a checkpoint yet
  writer.run(2);
  expect_sound(*reader, 40);
  EXPECT_GT(reader->refresh(), first);
  expect_sound(*reader, 100);
  writer.run(4);
  expect_sound(*reader, 100);
  reader->refresh();
  expect_sound(*reader, 90);
  writer.run(5);
  reader->refresh();
  expect_sound(*reader, 90);
}

TEST_F(RefreshTest, AReaderFollowsAStoreThatOutgrowsItsMap) {
  const std::string text = "{\"t\":\"" + std::string(60000, 'x') + "\"}";
  const auto add = [&](Database& db, std::size_t first) {
    const std::size_t n = 400;  // 24 MB: the map starts at 16 MiB and doubles
    const Ids ids("m", first, n);
    const std::vector<float> rows = random_rows(n, kDim);
    const std::vector<std::string_view> texts(n, text);
    db.add({ids.views, rows.data(), kDim, texts});
    db.persist();
  };
  Process writer({
      [&](Handle& db) { db = open(quiet()); },
      [&](Handle& db) { fill(*db, 40, kDim); },
      [&](Handle& db) { db->persist(); },
      [&](Handle& db) { add(*db, 0); },
      [&](Handle& db) { add(*db, 400); },
  });
  for (const int step : {0, 1, 2}) writer.run(step);
  const auto reader = open(reading());
  const auto second = open(reading());  // shares the reader's core, and stays
  for (const int step : {3, 4}) {
    writer.run(step);
    reader->refresh();
    EXPECT_EQ(reader->metadata(numbered("m", step == 3 ? 0 : 400)), text);
    EXPECT_EQ(second->count(), 40u);
  }
  EXPECT_EQ(reader->count(), 840u);
  EXPECT_FALSE(second->contains("m0"));
  second->refresh();
  EXPECT_EQ(second->count(), 840u);
}

TEST_F(RefreshTest, AReaderIsNeverBrokenByRestoringAndMovesToTheNewGeneration) {
  Process writer({
      [&](Handle& db) { db = open(quiet()); },
      [&](Handle& db) { fill(*db, 40, kDim); },
      [&](Handle& db) { db->create_snapshot("s"); },
      [&](Handle& db) { fill(*db, 30, kDim, 40); },
      [&](Handle& db) { db->restore_snapshot("s"); },
      [&](Handle& db) { fill(*db, 5, kDim, 1000); },
      [&](Handle& db) { db->persist(); },
  });
  for (const int step : {0, 1, 2, 3, 6}) writer.run(step);
  const auto reader = open(reading());
  expect_sound(*reader, 70);
  const std::vector<float> query = random_rows(1, kDim);
  const SearchResult old = reader->search(query.data(), kDim, {.k = 3});
  for (const int step : {4, 5, 6}) writer.run(step);
  expect_sound(*reader, 70);  // files that nobody else can see any more
  const auto newcomer = open(reading());
  expect_sound(*newcomer, 45);
  reader->refresh();
  expect_sound(*reader, 45);
  EXPECT_EQ(reader->hit_embedding(*old.view, old.hits[0].row).size(), kDim);
  EXPECT_EQ(reader->hit_metadata(*old.view, old.hits[0].row), "{}");
  writer.run(4);
  expect_sound(*reader, 45);
  reader->refresh();
  expect_sound(*reader, 40);
  expect_sound(*newcomer, 45);
  newcomer->refresh();
  expect_sound(*newcomer, 40);
}

TEST_F(RefreshTest, AReaderOutlivesItsWriterAndReadsTheLogThatItLeft) {
  Process writer({
      [&](Handle& db) { db = open(quiet()); },
      [&](Handle& db) { fill(*db, 40, kDim); },
      [&](Handle& db) { db->persist(); },
      [&](Handle& db) { fill(*db, 25, kDim, 40); },
  });
  for (const int step : {0, 1, 2}) writer.run(step);
  const auto reader = open(reading());
  writer.run(3);
  writer.kill();
  expect_sound(*reader, 40);
  reader->refresh();
  expect_sound(*reader, 65);  // replayed in memory
  reader->refresh();
  expect_sound(*reader, 65);
  Process another({
      [&](Handle& db) { db = open(quiet()); },  // recovers
      [&](Handle& db) {
        fill(*db, 100, kDim, 200);
        db->persist();
      },
  });
  another.run(0);
  expect_sound(*reader, 65);
  another.run(1);
  expect_sound(*reader, 65);
  reader->refresh();
  expect_sound(*reader, 165);
}

TEST_F(RefreshTest, SearchesGoOnWhileAReaderIsRefreshed) {
  Process writer({
      [&](Handle& db) { db = open(); },
      [&](Handle& db) { fill(*db, 200, kDim); },
      [&](Handle& db) { db->create_snapshot("s"); },
      [&](Handle& db) {
        const Ids ids("n", db->stats().sequence, 20);
        const std::vector<float> rows = random_rows(20, kDim);
        db->upsert({ids.views, rows.data(), kDim, {}});
        db->persist();
      },
      [&](Handle& db) { db->restore_snapshot("s", false); },
  });
  for (const int step : {0, 1, 2}) writer.run(step);
  const auto reader = open(reading());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      const std::vector<float> query = random_rows(1, kDim, 9);
      while (!stop) {
        const SearchResult found = reader->search(query.data(), kDim, {.k = 5});
        EXPECT_EQ(found.hits.size(), 5u);
        EXPECT_TRUE(reader->contains("r3"));
        reader->hit_metadata(*found.view, found.hits[0].row);
      }
    });
  }
  for (int round = 0; round < 15; ++round) {
    writer.run(round % 5 == 4 ? 4 : 3);
    reader->refresh();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(reader->count(), 200u);
}

TEST_F(RefreshTest, AHandleThatSharesAWritersCoreIsAlwaysThere) {
  const auto db = open(quiet());
  fill(*db, 5, kDim);
  const auto reader = open(reading());
  fill(*db, 5, kDim, 5);
  EXPECT_EQ(reader->refresh(), db->stats().sequence);
  EXPECT_EQ(db->refresh(), db->stats().sequence);
  EXPECT_EQ(reader->count(), 10u);
}

// The writer comes into this process while an old handle still shows an older generation.
TEST_F(RefreshTest, AHandleOfAnOlderGenerationJoinsTheWriterOfItsProcess) {
  {
    const auto db = open(quiet());
    fill(*db, 10, kDim);
    db->create_snapshot("s");
  }
  const auto old = open(reading());
  Process elsewhere({[&](Handle&) {
    const auto db = open(quiet());
    db->restore_snapshot("s", false);
    fill(*db, 5, kDim, 10);
    db->close();
  }});
  elsewhere.run(0);
  const auto db = open(quiet());  // another generation: other files than the handle's
  fill(*db, 5, kDim, 15);
  EXPECT_EQ(old->count(), 10u);
  EXPECT_EQ(old->refresh(), db->stats().sequence);
  EXPECT_EQ(old->count(), 20u);
  fill(*db, 1, kDim, 20);
  EXPECT_EQ(old->count(), 21u);
  db->close();
  old->close();
  EXPECT_EQ(open(quiet())->count(), 21u);
}

TEST_F(RefreshTest, ADirectoryOfAnotherDatabaseIsNotMovedTo) {
  fill(*open(quiet()), 10, kDim);
  const auto reader = open(reading());
  std::filesystem::remove_all(path_);
  Process elsewhere({[&](Handle&) { fill(*open(quiet()), 5, kDim); }});
  elsewhere.run(0);
  EXPECT_EQ(code_of([&] { reader->refresh(); }), ErrorCode::kNotFound);
  EXPECT_EQ(reader->count(), 10u);
}

}  // namespace
}  // namespace srvdb
