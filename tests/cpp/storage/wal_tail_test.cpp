#include "srvdb/storage/wal_tail.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "srvdb/storage/file.h"
#include "support/code_of.h"
#include "support/temporary_directory.h"
#include "wal_cases.h"

namespace srvdb {
namespace {

using Keep = SimulatedFiles::Keep;

const std::string kTail = "wal/tail";
constexpr WalOptions kShared = {WalBuffering::kShared};

// The file system that a killed process leaves.
std::unique_ptr<SimulatedFiles> killed(const SimulatedFiles& files) {
  return files.crash(Keep::kEverything);
}

TEST(WalTail, HoldsRecordsThatTheSegmentDoesNotHaveYet) {
  const auto files = fresh_files();
  WalWriter writer(*files, kDirectory, 1, kShared);
  for (int i = 0; i < 3; ++i) append_next(writer);
  EXPECT_EQ(files->contents(kFirstSegment).size(), kWalSegmentHeaderBytes);
  EXPECT_EQ(read_log(*files, 0).sequences.size(), 3u) << "a reader beside the writer";
  EXPECT_EQ(read_log(*killed(*files), 0).sequences.size(), 3u);
  const std::uint64_t before = files->operations();
  append_next(writer);
  EXPECT_EQ(files->operations(), before + 1) << "one copy a record";
}

TEST(WalTail, SettlingMovesItsRecordsToTheSegment) {
  const auto live = fresh_files();
  WalWriter writer(*live, kDirectory, 1, kShared);
  for (int i = 0; i < 5; ++i) {
    append_next(writer);
    if (i == 2) writer.flush();
  }
  const auto files = killed(*live);
  settle_wal_tail(*files, kDirectory);
  EXPECT_FALSE(files->exists(kTail));
  EXPECT_EQ(read_log(*files, 0).sequences.size(), 5u);
  const auto powerless = files->crash(Keep::kNothing);
  EXPECT_EQ(read_log(*powerless, 0).sequences.size(), 5u) << "synced";
  const std::uint64_t before = files->operations();
  settle_wal_tail(*files, kDirectory);
  EXPECT_EQ(files->operations(), before) << "nothing is left to do";
  WalWriter next(*files, kDirectory, 6, kShared);
  append_next(next);
  EXPECT_EQ(read_log(*files, 0).sequences.size(), 6u);
}

TEST(WalTail, GoesToTheSegmentWholeWhenFull) {
  const auto files = fresh_files();
  WalWriter writer(*files, kDirectory, 1, kShared);
  const std::string text(1000, 'x');
  const std::size_t fit = kWalTailRoom / (text.size() + kWalRecordOverheadBytes);
  for (std::size_t i = 0; i < fit; ++i) append(writer, text);
  EXPECT_EQ(files->contents(kFirstSegment).size(), kWalSegmentHeaderBytes);
  append(writer, text);
  EXPECT_EQ(files->contents(kFirstSegment).size(),
            kWalSegmentHeaderBytes + fit * (text.size() + kWalRecordOverheadBytes));
  EXPECT_EQ(killed(*files)->crash(Keep::kEverything)->contents(kTail).size(), kWalTailBytes);
  WalReader reader(*files, kDirectory, 0);
  std::size_t found = 0;
  while (const auto record = reader.next()) found += as_text(record->payload) == text ? 1 : 0;
  EXPECT_EQ(found, fit + 1);
  EXPECT_EQ(writer.segment_bytes(),
            kWalSegmentHeaderBytes + (fit + 1) * (text.size() + kWalRecordOverheadBytes));
}

TEST(WalTail, RecordsTooLargeForItGoStraightToTheSegment) {
  const auto files = fresh_files();
  WalWriter writer(*files, kDirectory, 1, kShared);
  const std::vector<std::string> texts = {"small", std::string(kWalTailRoom, 'l'), "again",
                                          std::string(2 * kWalTailRoom, 'm'), "last"};
  for (const std::string& text : texts) append(writer, text);
  for (const bool settled : {false, true}) {
    const auto left = killed(*files);
    if (settled) settle_wal_tail(*left, kDirectory);
    WalReader reader(*left, kDirectory, 0);
    for (const std::string& text : texts) {
      const auto record = reader.next();
      ASSERT_TRUE(record);
      EXPECT_EQ(as_text(record->payload), text);
    }
    EXPECT_FALSE(reader.next());
    EXPECT_FALSE(reader.end().torn);
  }
}

TEST(WalTail, IsRemovedWhenTheWriterCloses) {
  const auto files = fresh_files();
  {
    WalWriter writer(*files, kDirectory, 1, kShared);
    append_next(writer);
    EXPECT_TRUE(files->exists(kTail));
  }
  EXPECT_FALSE(files->exists(kTail));
  EXPECT_EQ(read_log(*files, 0).sequences.size(), 1u);
}

// Appends, flushes, syncs, rotates; a record of each size class.
void write_some(WalWriter& writer, std::uint32_t seed) {
  for (std::uint32_t i = 0; i < 40; ++i) {
    append_next(writer);
    const std::uint32_t what = (i * 7 + seed * 13) % 11;
    if (what == 0) writer.flush();
    if (what == 1) writer.sync(writer.last_sequence());
    if (what == 2) writer.rotate();
  }
}

TEST(WalTail, AKillAfterAnyOperationLosesNothingAcknowledged) {
  for (std::uint32_t seed = 0; seed < 4; ++seed) {
    const auto files = fresh_files();
    std::optional<WalWriter> writer(std::in_place, *files, kDirectory, Sequence{1}, kShared);
    std::size_t checked = 0;
    files->before_each([&] {
      const Sequence acknowledged = writer->last_sequence();
      const auto left = killed(*files);
      EXPECT_GE(read_log(*left, 0).end.last_sequence, acknowledged);
      settle_wal_tail(*left, kDirectory);
      EXPECT_GE(read_log(*left, 0).end.last_sequence, acknowledged);
      ++checked;
    });
    write_some(*writer, seed);
    files->before_each({});
    EXPECT_GT(checked, 60u);
  }
}

TEST(WalTail, AKillWhileSettlingLosesNothing) {
  const auto live = fresh_files();
  WalWriter writer(*live, kDirectory, 1, kShared);
  for (int i = 0; i < 20; ++i) append_next(writer);
  const auto files = killed(*live);
  files->before_each([&] {
    const auto left = killed(*files);
    settle_wal_tail(*left, kDirectory);
    EXPECT_EQ(read_log(*left, 0).end.last_sequence, 20u);
  });
  settle_wal_tail(*files, kDirectory);
  files->before_each({});
}

TEST(WalTail, ALossOfPowerWhileSettlingLosesNothing) {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    const auto live = fresh_files();
    WalWriter writer(*live, kDirectory, 1, kShared);
    for (std::uint32_t i = 0; i < 40; ++i) {
      append_next(writer);
      if (i == seed % 30) writer.flush();
    }
    const auto files = killed(*live);
    files->before_each([&] {
      const auto left = files->crash(Keep::kSome, seed);
      EXPECT_EQ(read_log(*left, 0).end.last_sequence, 40u) << "a reader, seed " << seed;
      settle_wal_tail(*left, kDirectory);
      EXPECT_EQ(read_log(*left, 0).end.last_sequence, 40u) << "seed " << seed;
    });
    settle_wal_tail(*files, kDirectory);
    files->before_each({});
  }
}

TEST(WalTail, ALossOfPowerLeavesWhatWasSyncedAndNoHole) {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    const auto files = fresh_files();
    WalWriter writer(*files, kDirectory, 1, kShared);
    write_some(writer, seed);
    const Sequence synced = writer.durable_sequence();
    const auto left = files->crash(Keep::kSome, seed);
    settle_wal_tail(*left, kDirectory);
    const Log log = read_log(*left, 0);  // its payloads are looked at
    EXPECT_GE(log.end.last_sequence, synced) << seed;
    EXPECT_EQ(log.sequences.size(), log.end.last_sequence);
  }
}

TEST(WalTail, ADamagedRecordEndsTheLogAndSaysSo) {
  const auto live = fresh_files();
  WalWriter writer(*live, kDirectory, 1, kShared);
  for (int i = 0; i < 10; ++i) append_next(writer);
  const auto files = killed(*live);
  const std::string tail = files->contents(kTail);
  const std::size_t used = 10 * (kWalRecordOverheadBytes + payload_of(1).size());
  for (std::size_t at = kWalTailHeaderBytes; at < kWalTailHeaderBytes + used; at += 5) {
    std::string damaged = tail;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    files->set_contents(kTail, damaged);
    const Log log = read_log(*files, 0);
    EXPECT_LT(log.end.last_sequence, 10u) << at;
    if (log.end.last_sequence < 9) {
      EXPECT_TRUE(log.end.torn) << at;
      EXPECT_EQ(log.end.lost_records, 9 - log.end.last_sequence) << at;
    }
  }
}

TEST(WalTail, OneDamagedCopyOfTheHeaderIsMadeUpForAndTwoAreRefused) {
  const auto live = fresh_files();
  WalWriter writer(*live, kDirectory, 1, kShared);
  append_next(writer);
  const auto files = killed(*live);
  const std::string tail = files->contents(kTail);
  for (std::size_t at = 0; at < 64; ++at) {
    std::string damaged = tail;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    files->set_contents(kTail, damaged);
    EXPECT_EQ(read_log(*files, 0).sequences.size(), 1u);
    damaged[at + 64] = static_cast<char>(damaged[at + 64] ^ 4);
    files->set_contents(kTail, damaged);
    EXPECT_EQ(code_of([&] { read_log(*files, 0); }), ErrorCode::kCorruption);
    EXPECT_EQ(code_of([&] { settle_wal_tail(*files, kDirectory); }), ErrorCode::kCorruption);
    EXPECT_TRUE(files->exists(kTail));
  }
}

TEST(WalTail, AFailureAtAnyOperationLosesNothingAcknowledged) {
  for (const int error : {ENOSPC, EIO}) {
    for (std::uint64_t at = 0; at < 160; ++at) {
      const auto files = fresh_files();
      files->set_fault({files->operations() + at, error, false, 700});
      Sequence acknowledged = 0;
      {
        WalWriter writer(*files, kDirectory, 1, kShared);
        for (int tries = 0; tries < 3; ++tries) {
          try {
            write_some(writer, static_cast<std::uint32_t>(at));
          } catch (const Error&) {
            EXPECT_EQ(writer.poisoned(), error == EIO || files->failed_needing_no_room());
          }
        }
        acknowledged = writer.last_sequence();
      }
      const auto left = killed(*files);
      settle_wal_tail(*left, kDirectory);
      const Sequence last = read_log(*left, 0).end.last_sequence;
      EXPECT_GE(last, acknowledged) << error << " at " << at;
      EXPECT_LE(last, acknowledged) << "refused, at " << at;
    }
  }
}

TEST(WalTail, WithoutSafeSharedMemoryEachRecordIsWrittenAtOnce) {
  struct NoSharedMemory final : FileSystem {
    std::unique_ptr<SimulatedFiles> real = fresh_files();
    std::unique_ptr<File> open(const std::string& path, OpenMode mode) override {
      return real->open(path, mode);
    }
    void rename(const std::string& from, const std::string& to) override { real->rename(from, to); }
    void remove(const std::string& path) override { real->remove(path); }
    bool make_dir(const std::string& path) override { return real->make_dir(path); }
    void sync_dir(const std::string& path) override { real->sync_dir(path); }
    bool link(const std::string& from, const std::string& to) override {
      return real->link(from, to);
    }
    void copy(const std::string& from, const std::string& to, std::uint64_t bytes) override {
      real->copy(from, to, bytes);
    }
    std::vector<std::string> list_dir(const std::string& path) override {
      return real->list_dir(path);
    }
    std::optional<FileInfo> info(const std::string& path) override { return real->info(path); }
  } files;
  WalWriter writer(files, kDirectory, 1, kShared);
  for (int i = 0; i < 3; ++i) append_next(writer);
  EXPECT_EQ(read_log(files, 0).sequences.size(), 3u);
  EXPECT_FALSE(files.exists(kTail));
}

TEST(SharedFile, WritesAreSeenThroughTheFileAtOnceAndEndWhereItEnds) {
  const testing::TemporaryDirectory directory;
  FileSystem& files = posix_file_system();
  const std::string path = directory.path() + "/shared";
  const auto shared = files.open_shared(path, 4096);
  if (shared == nullptr) GTEST_SKIP() << "no file system with safe shared memory";
  shared->pwrite("abc", 3, 1000);
  char found[3] = {};
  files.open(path, OpenMode::kRead)->pread_exactly(found, 3, 1000);
  EXPECT_EQ(std::string(found, 3), "abc");
  EXPECT_EQ(shared->size(), 4096u);
  EXPECT_EQ(os_error_of([&] { shared->pwrite("abc", 3, 4094); }), EFBIG);
}

}  // namespace
}  // namespace srvdb
