// metadata.db below LMDB: checksums of its pages, copies, damaged files.

#include "srvdb/storage/lmdb_io.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <fstream>
#include <random>

#include "meta_store_content.h"
#include "srvdb/base/error.h"
#include "srvdb/storage/file.h"
#include "srvdb/storage/meta_store.h"
#include "srvdb/storage/page_checksums.h"
#include "support/code_of.h"
#include "support/simulated_files.h"
#include "support/temporary_directory.h"

namespace srvdb {
namespace {

using testing::content_of;
using testing::put_rows;
using testing::SimulatedFiles;
using testing::small_store;
using testing::StoreContent;
using testing::TemporaryDirectory;

constexpr const char* kStore = "d/metadata.db";
constexpr const char* kChecksums = "d/metadata.crc";

TEST(MetaStoreCopy, IsCompactHasChecksumsOfItsOwnAndOpensOnItsOwn) {
  const TemporaryDirectory directory;
  FileSystem& files = posix_file_system();
  MetaStore store(directory / "metadata.db", small_store(files, true));
  for (Row first = 0; first < 2000; first += 100) {
    store.update([&](MetaStore::WriteTxn& txn) { put_rows(txn, first, 100); });
  }
  const StoreContent content = content_of(store);
  auto pinned = std::make_unique<MetaStore::ReadTxn>(store.read());
  store.update([&](MetaStore::WriteTxn& txn) { put_rows(txn, 2000, 500); });
  store.copy_to(*pinned, directory / "copy.db");
  pinned = nullptr;
  EXPECT_LT(files.info(directory / "copy.db")->size, files.info(directory / "metadata.db")->size);
  MetaStore copy(directory / "copy.db", small_store(files, false));
  EXPECT_EQ(content_of(copy), content);
  copy.check_pages(copy.read());
  copy.update([&](MetaStore::WriteTxn& txn) { put_rows(txn, 2000, 500); });
  EXPECT_EQ(content_of(copy), content_of(store));
  copy.check_pages(copy.read());
}

TEST(MetaStoreCopy, OfADamagedStoreIsRefusedAndLeavesNothing) {
  const TemporaryDirectory directory;
  FileSystem& files = posix_file_system();
  {
    MetaStore store(directory / "metadata.db", small_store(files, true));
    store.update([&](MetaStore::WriteTxn& txn) { put_rows(txn, 0, 300); });
  }
  {
    const auto file = files.open(directory / "metadata.db", OpenMode::kReadWrite);
    const std::string zeros(4096, '\0');
    for (std::uint64_t page = 6; page < 20; ++page) file->pwrite(zeros.data(), 4096, page * 4096);
  }
  MetaStore store(directory / "metadata.db", small_store(files, false));
  std::string why;
  EXPECT_EQ(code_of([&] { store.copy_to(store.read(), directory / "copy.db"); }, &why),
            ErrorCode::kCorruption);
  EXPECT_NE(why.find("at offset "), std::string::npos) << why;
  EXPECT_FALSE(files.exists(directory / "copy.db"));
  EXPECT_FALSE(files.exists(directory / "copy.crc"));
  EXPECT_EQ(code_of([&] { store.check_pages(store.read()); }), ErrorCode::kCorruption);
}

// -- damage --------------------------------------------------------------------------------------

// A store of a few hundred pages, free ones among them, in files that can be damaged.
class StoreDamageTest : public ::testing::Test {
 protected:
  StoreDamageTest() {
    files_.make_dir("d");
    MetaStore store(kStore, small_store(files_, true));
    for (int version = 0; version < 6; ++version) {
      if (version == 4) older_ = files_.contents(kStore);
      const auto first = static_cast<Row>(version % 3 * 100);
      store.update([&](MetaStore::WriteTxn& txn) { put_rows(txn, first, 100, version); });
    }
    content_ = content_of(store);
    store.update([&](MetaStore::WriteTxn& txn) { txn.put_id("last", 7); });
    store.update([&](MetaStore::WriteTxn& txn) { txn.erase_id("last"); });
    EXPECT_EQ(content_of(store), content_);
    good_ = files_.contents(kStore);
    checksums_ = files_.contents(kChecksums);
  }

  // Opens what these bytes make and reads everything: true when it is all there, false when damage
  // was found. Anything else fails the test. A writer then changes every row.
  bool answers(const std::string& store, const std::string& checksums, bool read_only,
               const std::string& what) {
    files_.set_contents(kStore, store);
    files_.set_contents(kChecksums, checksums);
    try {
      MetaStore opened(kStore, small_store(files_, false, read_only));
      EXPECT_EQ(content_of(opened), content_) << what;
      if (!read_only) {
        for (Row first = 0; first < 300; first += 100) {
          opened.update([&](MetaStore::WriteTxn& txn) { put_rows(txn, first, 100, 9); });
        }
        EXPECT_EQ(opened.read().metadata(42), "{\"row\":42,\"v\":9}") << what;
        opened.check_pages(opened.read());
      }
      return true;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption) << error.what() << " " << what;
      EXPECT_NE(std::string(error.what()).find("d/metadata."), std::string::npos) << error.what();
      return false;
    }
  }

  SimulatedFiles files_;
  std::string good_, checksums_, older_;
  StoreContent content_;
};

TEST_F(StoreDamageTest, EveryFlippedByteIsHarmlessOrCorruption) {
  std::mt19937 random(1);
  ASSERT_TRUE(answers(good_, checksums_, false, "untouched"));
  std::size_t found = 0;
  constexpr std::size_t kFlips = 2000;
  const std::size_t both = good_.size() + checksums_.size();
  for (std::size_t i = 0; i < kFlips; ++i) {
    // Every eighth in what is read first: meta pages and header.
    std::size_t at = random() % (i % 2 == 0 ? good_.size() : both);
    if (i % 8 == 1) at = random() % 3 * 4096 + random() % 200;
    if (i % 8 == 3) at = good_.size() + random() % checksums_.size();
    std::string store = good_;
    std::string checksums = checksums_;
    char& byte = at < good_.size() ? store[at] : checksums[at - good_.size()];
    byte = static_cast<char>(byte ^ (1 << random() % 8));
    if (!answers(store, checksums, i % 3 != 0, "at " + std::to_string(at))) ++found;
  }
  EXPECT_GT(found, kFlips / 2);
}

TEST_F(StoreDamageTest, TruncatedFilesAreCorruption) {
  for (std::size_t size = 0; size < good_.size(); size += size < 9000 ? 97 : 1024 + 512) {
    EXPECT_FALSE(answers(good_.substr(0, size), checksums_, size % 2 == 0, std::to_string(size)));
  }
  const std::size_t used = 512 + good_.size() / 1024;
  for (std::size_t size = 0; size < used - 8; size += 61) {
    EXPECT_FALSE(answers(good_, checksums_.substr(0, size), size % 2 == 0, std::to_string(size)));
  }
}

TEST_F(StoreDamageTest, ZeroedBlocksAreHarmlessOrCorruption) {
  std::size_t found = 0;
  for (const std::size_t block : {512u, 4096u}) {
    for (std::size_t at = 0; at + block <= good_.size(); at += block) {
      std::string store = good_;
      store.replace(at, block, block, '\0');
      found += answers(store, checksums_, at / block % 2 == 0, std::to_string(at)) ? 0 : 1;
    }
    for (std::size_t at = 0; at < checksums_.size(); at += block) {
      std::string checksums = checksums_;
      const std::size_t n = std::min(block, checksums.size() - at);
      checksums.replace(at, n, n, '\0');
      EXPECT_FALSE(answers(good_, checksums, true, std::to_string(at)));
    }
  }
  EXPECT_GT(found, 100u);
}

TEST_F(StoreDamageTest, PagesOfAnOlderFileOrOfAnotherPlaceAreHarmlessOrCorruption) {
  std::mt19937 random(2);
  std::size_t stale = 0;
  std::size_t misplaced = 0;
  for (std::size_t page = 2; (page + 1) * 4096 <= older_.size(); ++page) {
    std::string store = good_;
    store.replace(page * 4096, 4096, older_, page * 4096, 4096);
    if (store != good_) stale += answers(store, checksums_, true, std::to_string(page)) ? 0 : 1;
    const std::size_t other = 2 + random() % (good_.size() / 4096 - 2);
    store = good_;
    store.replace(page * 4096, 4096, good_, other * 4096, 4096);
    if (store != good_) misplaced += answers(store, checksums_, true, "") ? 0 : 1;
  }
  EXPECT_GT(stale, 10u);
  EXPECT_GT(misplaced, 10u);
}

// Checksums hold, the pages do not fit together: made by a program, not by a disk.
TEST_F(StoreDamageTest, WhatLmdbAssertsWhileWritingIsCorruptionAndEndsWriting) {
  // One such state: a page says it has the number of the free page that its copy goes to.
  std::mt19937 random(3);
  std::size_t asserted = 0;
  const std::size_t pages = (checksums_.size() - PageChecksums::kHeaderBytes) / 4;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t page = 2 + random() % (pages - 2);
    std::string store = good_;
    srvdb::store<std::uint64_t>(&store[page * 4096], 2 + random() % (pages - 2));
    std::string checksums = checksums_;
    srvdb::store(&checksums[512 + 4 * page], page_checksum(page, &store[page * 4096], 4096));
    files_.set_contents(kStore, store);
    files_.set_contents(kChecksums, checksums);
    MetaStore opened(kStore, small_store(files_, false));
    const auto write = [&] {
      opened.update([](MetaStore::WriteTxn& txn) { put_rows(txn, 0, 300, 9); });
    };
    try {
      write();
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kCorruption) << error.what();
      if (std::string(error.what()).find("Assertion") == std::string::npos) continue;
      ++asserted;
      EXPECT_EQ(code_of(write), ErrorCode::kStorage);
      EXPECT_EQ(content_of(opened), content_);
    }
  }
  EXPECT_GT(asserted, 0u);
}

TEST_F(StoreDamageTest, AFileThatIsLargerThanItSaysReservesNoMore) {
  const TemporaryDirectory directory;
  const std::string path = directory / "metadata.db";
  FileSystem& files = posix_file_system();
  files.open(path, OpenMode::kCreate)->pwrite(good_.data(), good_.size(), 0);
  const std::string sums = page_checksum_path(path);
  files.open(sums, OpenMode::kCreate)->pwrite(checksums_.data(), checksums_.size(), 0);
  files.open(path, OpenMode::kReadWrite)->truncate(std::uint64_t{1} << 42);
  MetaStore store(path, small_store(files, false));
  EXPECT_LT(store.stats().map_bytes, std::uint64_t{1} << 24);
  EXPECT_EQ(content_of(store), content_);
}

// -- growing -------------------------------------------------------------------------------------

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SRVDB_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SRVDB_SANITIZER 1
#endif
#endif
#if !defined(SRVDB_SANITIZER)  // they need address space without a limit

TEST(MetaStoreGrowth, AMapThatCannotGrowRefusesTheUpdateAndTheStoreGoesOn) {
  const TemporaryDirectory directory;
  const std::string path = directory / "metadata.db";
  const pid_t child = ::fork();
  if (child == 0) {  // the limit ends with the process
    int code = 1;
    try {
      MetaStoreOptions options = small_store(posix_file_system(), true);
      options.initial_map_bytes = 32u << 20;
      MetaStore store(path, options);
      const auto put = [&](Row first, Row count) {
        store.update([&](MetaStore::WriteTxn& txn) { put_rows(txn, first, count); });
      };
      put(0, 100);
      struct rlimit before {};
      ::getrlimit(RLIMIT_AS, &before);
      struct rlimit limit = before;
      std::size_t pages = 0;
      std::ifstream("/proc/self/statm") >> pages;
      limit.rlim_cur = pages * 4096 + (24u << 20);  // for memory, not for a larger map
      ::setrlimit(RLIMIT_AS, &limit);
      bool refused = false;
      Row rows = 100;
      try {
        for (; rows < 1'000'000; rows += 500) put(rows, 500);
      } catch (const Error& error) {
        refused = error.code() == ErrorCode::kStorage;
      } catch (const std::bad_alloc&) {
        refused = true;
      }
      ::setrlimit(RLIMIT_AS, &before);
      const bool intact =
          store.find_id("id-1000042") == 42u && store.state().published_rows == rows;
      put(rows, 20'000);
      const bool grown = store.stats().map_bytes > (32u << 20);
      code = refused && intact && grown && store.state().published_rows == rows + 20'000 ? 0 : 2;
    } catch (const std::exception&) {
      code = 3;
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << (WIFSIGNALED(status) ? "signal " : "exit ")
                       << (WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

#endif

}  // namespace
}  // namespace srvdb
