// Everything at once: nobody sees a half-applied batch, nothing is lost, nothing waits for ever.

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "fixture.h"

namespace srvdb {
namespace {

constexpr std::size_t kDim = 8;
constexpr std::size_t kGroup = 5;  // records that are always changed together

class ConcurrencyTest : public DatabaseTest {
 protected:
  static OpenOptions quickly_linked() {
    OpenOptions options;
    options.mode = Mode::kHnsw;
    options.ef_construction = 20;
    options.flush_rows = 64;
    return options;
  }
  // Replaces group g of "g<g>-<i>": all its rows point the same way, and its metadata say the
  // round.
  static void put_group(Database& db, std::size_t g, std::size_t round) {
    const Ids ids(numbered("g", g).append("-"), 0, kGroup);
    std::vector<float> rows(kGroup * kDim);
    for (std::size_t i = 0; i < kGroup; ++i) {
      for (std::size_t d = 0; d < kDim; ++d) {
        rows[i * kDim + d] = d == round % kDim ? 1.0f : 0.01f * static_cast<float>(g + i);
      }
    }
    const std::string text = numbered("{\"round\":", round).append("}");
    const std::vector<std::string_view> metadata(kGroup, text);
    db.upsert({ids.views, rows.data(), kDim, metadata});
  }
  static void run_all(std::vector<std::function<void()>> bodies) {
    std::vector<std::thread> threads;
    threads.reserve(bodies.size());
    for (auto& body : bodies) threads.emplace_back(std::move(body));
    for (std::thread& thread : threads) thread.join();
  }
};

TEST_F(ConcurrencyTest, SearchesWritesCheckpointsAndLinkingGoTogether) {
  for (const Durability durability : {Durability::kOs, Durability::kDisk, Durability::kMemory}) {
    path_ = root_ + "/" + durability_name(durability);
    OpenOptions options = quickly_linked();
    if (durability == Durability::kDisk) options.mode = Mode::kSq8;
    options.durability = durability;
    const auto db = open(options);
    fill(*db, 4200, kDim);
    constexpr std::size_t kGroups = 8;
    for (std::size_t g = 0; g < kGroups; ++g) put_group(*db, g, 0);
    const std::size_t always = db->count();
    std::atomic<bool> stop{false};
    const auto writer = [&](std::size_t first) {
      for (std::size_t round = 1; round <= 40; ++round) {
        for (std::size_t g = first; g < kGroups; g += 2) put_group(*db, g, round);
        fill(*db, 20, kDim, 10000 * (first + 1) + 20 * round, "x");
        const Ids gone("x", 10000 * (first + 1) + 20 * round, 20);
        EXPECT_EQ(db->remove(gone.views), 20u);
      }
    };
    const auto searcher = [&](std::uint32_t seed) {
      const std::vector<float> queries = random_rows(16, kDim, seed);
      for (std::size_t i = 0; !stop; ++i) {
        const float* const query = queries.data() + i % 16 * kDim;
        const SearchResult all = db->search(query, kDim, {.k = 10000, .exact = true});
        std::size_t extra = 0;
        std::size_t grouped = 0;
        for (const Hit& hit : all.hits) {
          extra += hit.id[0] == 'x' ? 1u : 0u;
          grouped += hit.id[0] == 'g' ? 1u : 0u;
        }
        EXPECT_EQ(grouped, kGroups * kGroup);
        EXPECT_EQ(extra % 20, 0u);
        EXPECT_EQ(db->search(query, kDim, {.k = 10}).hits.size(), 10u);
        const Ids ids(numbered("g", i % kGroups).append("-"), 0, kGroup);
        const auto records = db->records(ids.views, true);
        for (const auto& record : records) {
          ASSERT_TRUE(record);
          EXPECT_EQ(record->metadata, records[0]->metadata);
        }
        static_cast<void>(db->stats());
      }
    };
    std::thread keeper([&] {
      while (!stop) {
        db->persist();
        db->optimize(1, nullptr, nullptr);
        EXPECT_GE(db->scroll("g", 100, true, true).size(), kGroups * kGroup);
      }
    });
    std::thread first([&] { searcher(1); });
    std::thread second([&] { searcher(2); });
    run_all({[&] { writer(0); }, [&] { writer(1); }});
    stop = true;
    keeper.join();
    first.join();
    second.join();
    EXPECT_EQ(db->count(), always);
    EXPECT_EQ(db->stats().background_error, "");
    db->close();
    EXPECT_EQ(open()->count(), always);
  }
}

// One group is changed by every verb; the others never are, whatever goes on around them.
TEST_F(ConcurrencyTest, CompactionSnapshotsReadersAndEveryVerbGoTogether) {
  const auto db = open(quickly_linked());
  constexpr std::size_t kStill = 200;
  fill(*db, kStill, kDim, 0, "s");
  const std::vector<float> rows = random_rows(200, kDim, 3);
  std::atomic<bool> stop{false};
  const auto write = [&](std::string_view prefix, int rounds) {
    const Ids ids(prefix, 0, 100);
    const std::vector<std::string_view> half(ids.views.begin(), ids.views.begin() + 50);
    for (int round = 0; round < rounds; ++round) {
      db->upsert({ids.views, rows.data(), kDim, {}});
      db->soft_delete(half);
      EXPECT_EQ(db->restore(half), 50u);
      std::vector<Update> updates;
      for (std::size_t i = 0; i < half.size(); ++i) {
        updates.push_back({half[i], rows.data() + (i + 50) * kDim, "{\"round\": 1}"});
      }
      db->update(updates, kDim);
      EXPECT_EQ(db->remove(ids.views), 100u);
    }
  };
  const auto search = [&](std::uint32_t seed) {
    const std::vector<float> query = random_rows(1, kDim, seed);
    while (!stop) {
      std::size_t still = 0;
      const SearchResult all = db->search(query.data(), kDim, {.k = 10'000, .exact = true});
      for (const Hit& hit : all.hits) still += hit.id[0] == 's' ? 1u : 0u;
      EXPECT_EQ(still, kStill);
      EXPECT_EQ(db->search(query.data(), kDim, {.k = 10, .include_deleted = true}).hits.size(),
                10u);
      EXPECT_TRUE(db->contains("s7"));
      static_cast<void>(db->deleted_ids());
      EXPECT_FALSE(db->change_log({.limit = 5}).empty());
    }
  };
  const auto keep = [&] {
    for (int i = 0; !stop || i < 3; ++i) {
      db->compact(nullptr, nullptr);
      const std::string name =
          db->create_snapshot(numbered("kept-", static_cast<std::size_t>(i))).name;
      OpenOptions past;
      past.read_only = true;
      EXPECT_GE(Database::open(db->snapshot_path(name), past)->count(), kStill);
      const std::string copy = root_ + numbered("/copy-", static_cast<std::size_t>(i));
      db->backup(copy);
      EXPECT_GE(Database::open(copy, past)->count(), kStill);
      EXPECT_EQ(db->list_snapshots().size(), 1u);
      db->drop_snapshot(name);
      db->persist();
      static_cast<void>(db->stats());
    }
  };
  std::thread first([&] { search(1); });
  std::thread second([&] { search(2); });
  std::thread keeper(keep);
  run_all({[&] { write("a", 40); }, [&] { write("b", 40); }});
  stop = true;
  first.join();
  second.join();
  keeper.join();
  EXPECT_EQ(db->count(), kStill);
  db->compact(nullptr, nullptr);
  EXPECT_EQ(db->stats().gone, 0u);
  EXPECT_EQ(db->stats().background_error, "");
  db->close();
  EXPECT_EQ(open()->count(), kStill);
}

TEST_F(ConcurrencyTest, RestoringASnapshotGoesTogetherWithSearchesAndWrites) {
  const auto db = open(quickly_linked());
  constexpr std::size_t kStill = 200;
  fill(*db, kStill, kDim, 0, "s");
  db->create_snapshot("start");
  std::atomic<bool> stop{false};
  const std::vector<float> rows = random_rows(50, kDim, 4);
  const auto write = [&](std::string_view prefix) {
    const Ids ids(prefix, 0, 50);
    while (!stop) {
      db->upsert({ids.views, rows.data(), kDim, {}});
      db->remove(ids.views);
    }
  };
  const auto search = [&] {
    while (!stop) {
      const SearchResult all = db->search(rows.data(), kDim, {.k = 10'000});
      std::size_t still = 0;
      for (const Hit& hit : all.hits) still += hit.id[0] == 's' ? 1u : 0u;
      EXPECT_EQ(still, kStill);
      EXPECT_EQ((all.hits.size() - still) % 50, 0u);
    }
  };
  const auto restore = [&] {
    for (int i = 0; i < 8; ++i) {
      db->restore_snapshot("start", i % 2 == 0);
      if (i % 3 == 0) db->compact(nullptr, nullptr);
    }
    stop = true;
  };
  run_all({[&] { write("a"); }, [&] { write("b"); }, search, restore});
  EXPECT_EQ(db->list_snapshots().size(), 5u);
  db->restore_snapshot("start", false);
  EXPECT_EQ(db->count(), kStill);
  EXPECT_EQ(db->stats().background_error, "");
}

TEST_F(ConcurrencyTest, AnUpsertShowsNeitherBothRowsNorNone) {
  const auto db = open();
  fill(*db, 100, kDim);
  std::atomic<bool> stop{false};
  const auto watch = [&] {
    while (!stop) ASSERT_EQ(db->count(), 100u);
  };
  std::thread first(watch);
  std::thread second(watch);
  const std::vector<float> rows = random_rows(50, kDim);
  const Ids ids("r", 0, 50);
  for (int i = 0; i < 2000; ++i) db->upsert({ids.views, rows.data(), kDim, {}});
  stop = true;
  first.join();
  second.join();
}

TEST_F(ConcurrencyTest, ClosingWaitsForRunningCallsAndRefusesLaterOnes) {
  for (int round = 0; round < 5; ++round) {
    const auto db = open();
    fill(*db, 500, kDim, 10000 * static_cast<std::size_t>(round), "c");
    std::atomic<std::size_t> ready{0};
    const auto until_closed = [&](const std::function<void(std::size_t)>& call) {
      ++ready;
      try {
        for (std::size_t i = 0;; ++i) call(i);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kClosed) << error.what();
      }
    };
    const std::vector<float> query = random_rows(1, kDim);
    std::thread closer([&] {
      while (ready < 4) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      db->close();
    });
    run_all({[&] { until_closed([&](std::size_t) { db->search(query.data(), kDim, {}); }); },
             [&] {
               until_closed([&](std::size_t i) {
                 const Ids ids(numbered("w", static_cast<std::size_t>(round)).append("-"), i, 1);
                 db->add({ids.views, query.data(), kDim, {}});
               });
             },
             [&] { until_closed([&](std::size_t) { db->persist(); }); },
             [&] { until_closed([&](std::size_t) { static_cast<void>(db->stats()); }); }});
    closer.join();
  }
  EXPECT_GE(open()->count(), 2500u);
}

TEST_F(ConcurrencyTest, ManyThreadsMayOpenAndCloseOneDirectory) {
  fill(*open(), 10, kDim);
  std::vector<std::function<void()>> bodies;
  for (std::size_t t = 0; t < 4; ++t) {
    bodies.emplace_back([&, t] {
      for (std::size_t i = 0; i < 20; ++i) {
        const auto db = open();
        fill(*db, 1, kDim, 1000 * (t + 1) + i, "t");
        EXPECT_GE(db->count(), 10u + i);
      }
    });
  }
  run_all(std::move(bodies));
  EXPECT_EQ(open()->count(), 90u);
}

}  // namespace
}  // namespace srvdb
