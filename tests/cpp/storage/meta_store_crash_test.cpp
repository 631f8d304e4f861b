// metadata.db and loss of power or failing disks at every single operation.

#include <gtest/gtest.h>

#include <cerrno>

#include "meta_store_content.h"
#include "srvdb/base/error.h"
#include "srvdb/storage/meta_store.h"
#include "support/simulated_files.h"

namespace srvdb {
namespace {

using testing::content_of;
using testing::put_rows;
using testing::SimulatedFiles;
using testing::small_store;
using testing::StoreContent;
using Keep = SimulatedFiles::Keep;

constexpr const char* kStore = "d/metadata.db";
constexpr int kUpdates = 14;

// The n-th update: rows come, change and go, so that pages are freed and used again.
void change(MetaStore::WriteTxn& txn, int n) {
  put_rows(txn, static_cast<Row>(n % 4 * 30), 30 + static_cast<Row>(n % 3 * 20), n);
  if (n % 5 == 4) {
    for (Row row = 10; row < 60; ++row) txn.erase_metadata(row);
  }
}

std::unique_ptr<SimulatedFiles> directory_for_a_store() {
  auto files = std::make_unique<SimulatedFiles>();
  files->make_dir("d");
  files->sync_dir("");
  return files;
}

class StoreCrashTest : public ::testing::Test {
 protected:
  // What the store holds after n updates.
  static const std::vector<StoreContent>& states() {
    static const std::vector<StoreContent> all = [] {
      const auto files = directory_for_a_store();
      MetaStore store(kStore, small_store(*files, true));
      std::vector<StoreContent> out = {content_of(store)};
      for (int n = 0; n < kUpdates; ++n) {
        store.update([&](MetaStore::WriteTxn& txn) { change(txn, n); });
        out.push_back(content_of(store));
      }
      return out;
    }();
    return all;
  }

  // The store must open, sound in every page, in the state of `done` updates or of one more, and
  // take another update.
  static void expect_recovers(SimulatedFiles& files, int done, const std::string& what) {
    try {
      MetaStore store(kStore, small_store(files, false));
      const StoreContent found = content_of(store);
      const bool next = done < kUpdates && found == states()[static_cast<std::size_t>(done + 1)];
      EXPECT_TRUE(next || found == states()[static_cast<std::size_t>(done)]) << what;
      store.check_pages(store.read());
      const int reached = done + (next ? 1 : 0);
      if (reached == kUpdates) return;
      store.update([&](MetaStore::WriteTxn& txn) { change(txn, reached); });
      EXPECT_EQ(content_of(store), states()[static_cast<std::size_t>(reached + 1)]) << what;
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what() << ": " << what;
    }
  }
};

TEST_F(StoreCrashTest, LossOfPowerAtAnyOperationLeavesACommittedState) {
  states();
  const auto files = directory_for_a_store();
  int done = -1;  // updates that have returned; -1: not created yet
  std::size_t images = 0;
  std::uint32_t seed = 0;
  const auto look = [&] {
    if (done < 0 || HasFailure()) return;
    const auto check = [&](Keep keep, std::uint32_t with_seed) {
      ++images;
      expect_recovers(*files->crash(keep, with_seed), done,
                      "operation " + std::to_string(files->operations()) + ", seed " +
                          std::to_string(with_seed));
    };
    check(Keep::kNothing, 0);
    check(Keep::kEverything, 0);
    for (int i = 0; i < 8; ++i) check(Keep::kSome, ++seed);
  };
  {
    MetaStore store(kStore, small_store(*files, true));
    files->sync_dir("d");
    files->before_each(look);
    for (done = 0; done < kUpdates;) {
      store.update([&](MetaStore::WriteTxn& txn) { change(txn, done); });
      ++done;
    }
    look();
  }
  EXPECT_GT(images, 500u);
}

TEST_F(StoreCrashTest, AFailureAtAnyOperationLeavesACommittedStateAndReadersGoOn) {
  states();
  struct Case {
    int error;
    bool forever;
    std::size_t partial_bytes;
  };
  std::uint32_t seed = 0;
  for (const Case& c : {Case{EIO, false, 0}, Case{EIO, true, 700}, Case{ENOSPC, false, 5000},
                        Case{ENOSPC, true, 0}}) {
    bool met = true;
    for (std::uint64_t at = 0; met && !HasFailure(); ++at) {
      const std::string what = "errno " + std::to_string(c.error) + " at " + std::to_string(at) +
                               (c.forever ? " forever" : "");
      const auto files = directory_for_a_store();
      auto store = std::make_unique<MetaStore>(kStore, small_store(*files, true));
      files->sync_dir("d");
      files->set_fault({files->operations() + at, c.error, c.forever, c.partial_bytes});
      int done = 0;
      met = false;
      for (; done < kUpdates; ++done) {
        try {
          store->update([&](MetaStore::WriteTxn& txn) { change(txn, done); });
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::kStorage) << error.what() << what;
          EXPECT_TRUE(error.os_error() == c.error || c.forever) << error.what() << what;
          met = true;
          break;
        }
      }
      EXPECT_EQ(content_of(*store), states()[static_cast<std::size_t>(done)]) << what;
      if (!met) break;
      for (const Keep keep : {Keep::kNothing, Keep::kEverything, Keep::kSome, Keep::kSome}) {
        expect_recovers(*files->crash(keep, ++seed), done, what);
      }
      files->set_fault({});
      const auto next = [&] {
        store->update([&](MetaStore::WriteTxn& txn) { change(txn, done); });
      };
      // A full disk that has room again takes the update, unless what it holds is not known.
      bool refused = false;
      try {
        next();
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kStorage) << error.what() << what;
        refused = true;
      }
      const bool either = c.error == ENOSPC && c.forever;  // the meta page could not be put back
      EXPECT_TRUE(either || refused == (c.error == EIO)) << what;
      const int reached = done + (refused ? 0 : 1);
      EXPECT_EQ(content_of(*store), states()[static_cast<std::size_t>(reached)]) << what;
      store = nullptr;
      expect_recovers(*files, reached, what + ", closed");
    }
  }
}

TEST_F(StoreCrashTest, ACopyThatFailsLeavesNothingAndTheNextOneIsWhole) {
  const auto files = directory_for_a_store();
  MetaStore store(kStore, small_store(*files, true));
  for (int n = 0; n < 6; ++n) store.update([&](MetaStore::WriteTxn& txn) { change(txn, n); });
  bool failed = true;
  for (std::uint64_t at = 0; failed; ++at) {
    files->set_fault({files->operations() + at, at % 2 == 0 ? EIO : ENOSPC, false, 4096});
    try {
      store.copy_to(store.read(), "d/copy.db");
      failed = false;
      EXPECT_GT(at, 5u);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kStorage) << error.what();
      EXPECT_FALSE(files->exists("d/copy.db")) << at;
      EXPECT_FALSE(files->exists("d/copy.crc")) << at;
    }
  }
  files->set_fault({});
  files->sync_dir("d");
  for (std::uint32_t seed = 0; seed < 10; ++seed) {
    const auto image = files->crash(Keep::kSome, seed);
    MetaStore copy("d/copy.db", small_store(*image, false));
    EXPECT_EQ(content_of(copy), states()[6]);
    copy.check_pages(copy.read());
  }
}

}  // namespace
}  // namespace srvdb
