#include "srvdb/storage/wal.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <random>
#include <thread>

#include "srvdb/base/error.h"
#include "support/code_of.h"
#include "wal_cases.h"

namespace srvdb {
namespace {

TEST(Wal, WritesNothingBeforeTheFirstRecord) {
  const auto files = fresh_files();
  const std::uint64_t before = files->operations();
  {
    WalWriter writer(*files, kDirectory, 1);
    writer.flush();
    writer.rotate();
    writer.remove_through(0);
  }
  EXPECT_EQ(files->operations(), before);
}

TEST(Wal, ReadsBackWhatWasAppendedAcrossSegments) {
  const auto files = fresh_files();
  WalWriter writer(*files, kDirectory, 1);
  for (int i = 0; i < 30; ++i) {
    append_next(writer);
    if (i % 7 == 6) writer.rotate();
    if (i % 10 == 9) writer.sync(writer.last_sequence());
  }
  for (Sequence after = 0; after <= 30; ++after) {
    const Log log = read_log(*files, after);
    EXPECT_EQ(log.sequences.size(), 30 - after);
    EXPECT_EQ(log.end.last_sequence, 30u);
    EXPECT_FALSE(log.end.torn);
  }
}

TEST(Wal, RecordsLargerThanTheReadWindowComeBackWhole) {
  const auto files = fresh_files();
  WalWriter writer(*files, kDirectory, 1);
  const std::string large(3u << 20, 'L');
  append(writer, large);
  append(writer, "small");
  WalReader reader(*files, kDirectory, 0);
  EXPECT_EQ(as_text(reader.next()->payload), large);
  EXPECT_EQ(as_text(reader.next()->payload), "small");
  EXPECT_FALSE(reader.next());
}

TEST(Wal, RecoversAfterTornTailAtEveryByte) {
  const auto whole = fresh_files();
  std::vector<std::uint64_t> ends{kWalSegmentHeaderBytes};
  {
    WalWriter writer(*whole, kDirectory, 1);
    for (int i = 0; i < 4; ++i) {
      append_next(writer);
      ends.push_back(writer.segment_bytes());
    }
  }
  const std::string bytes = whole->contents(kFirstSegment);
  ASSERT_EQ(bytes.size(), ends.back());
  for (std::size_t length = 0; length <= bytes.size(); ++length) {
    const auto files = fresh_files();
    files->set_contents(kFirstSegment, bytes.substr(0, length));
    std::size_t expected = 0;
    while (expected + 1 < ends.size() && ends[expected + 1] <= length) ++expected;
    Log log = read_log(*files, 0);
    ASSERT_EQ(log.sequences.size(), expected) << length;
    ASSERT_EQ(log.end.torn, expected == 0 || ends[expected] != length) << length;
    cut_wal(*files, kDirectory, log.end);
    WalWriter writer(*files, kDirectory, log.end.last_sequence + 1);
    append_next(writer);
    log = read_log(*files, 0);
    ASSERT_EQ(log.sequences.size(), expected + 1) << length;
    ASSERT_FALSE(log.end.torn) << length;
  }
}

// With every record synced, damage anywhere but in the last record is corruption; in the last one
// it looks like a torn tail. No wrong record ever comes back.
TEST(Wal, FlippedByteInASyncedLogIsCorruption) {
  const auto files = fresh_files();
  std::uint64_t last_begins = 0;
  {
    WalWriter writer(*files, kDirectory, 1);
    for (int i = 0; i < 5; ++i) {
      last_begins = writer.segment_bytes();
      append_next(writer);
      writer.sync(writer.last_sequence());
    }
  }
  const std::string bytes = files->contents(kFirstSegment);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const char mask : {'\x01', '\x80', '\xFF'}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ mask);
      files->set_contents(kFirstSegment, damaged);
      if (at < last_begins) {
        EXPECT_EQ(code_of([&] { read_log(*files, 0); }), ErrorCode::kCorruption) << at;
      } else {
        const Log log = read_log(*files, 0);
        EXPECT_EQ(log.sequences.size(), 4u) << at;
        EXPECT_TRUE(log.end.torn);
      }
      // Damage in what has been applied is none of the reader's business.
      const bool above = at >= last_begins;
      EXPECT_EQ(read_log(*files, 4).sequences.size(), above ? 0u : 1u) << at;
    }
  }
}

TEST(Wal, HoleInANeverSyncedLogEndsItAndSaysWhatIsLost) {
  const auto files = fresh_files();
  std::uint64_t third = 0;
  {
    WalWriter writer(*files, kDirectory, 1);
    for (int i = 0; i < 5; ++i) {
      if (i == 2) third = writer.segment_bytes();
      append_next(writer);
    }
  }
  std::string damaged = files->contents(kFirstSegment);
  damaged[third + 40] ^= 1;
  files->set_contents(kFirstSegment, damaged);
  const Log log = read_log(*files, 0);
  EXPECT_EQ(log.end.last_sequence, 2u);
  EXPECT_EQ(log.end.offset, third);
  EXPECT_EQ(log.end.lost_records, 2u);
  EXPECT_EQ(log.end.lost_bytes, damaged.size() - third);
}

TEST(Wal, MissingSegmentIsCorruptionWhenItWasSynced) {
  const auto files = fresh_files();
  WalWriter writer(*files, kDirectory, 1);
  for (int i = 0; i < 9; ++i) {
    append_next(writer);
    writer.sync(writer.last_sequence());
    if (i % 3 == 2) writer.rotate();
  }
  files->remove("wal/00000000000000000004.log");
  EXPECT_EQ(code_of([&] { read_log(*files, 0); }), ErrorCode::kCorruption);
  EXPECT_EQ(read_log(*files, 6).sequences.size(), 3u);
  files->remove(kFirstSegment);
  EXPECT_EQ(code_of([&] { read_log(*files, 2); }), ErrorCode::kCorruption) << "begins too late";
}

TEST(Wal, MissingSegmentThatWasNeverSyncedCutsTheLog) {
  const auto files = fresh_files();
  {
    WalWriter writer(*files, kDirectory, 1);
    for (int i = 0; i < 9; ++i) {
      append_next(writer);
      if (i % 3 == 2) writer.rotate();
    }
  }
  files->remove("wal/00000000000000000004.log");
  Log log = read_log(*files, 0);
  EXPECT_EQ(log.end.last_sequence, 3u);
  ASSERT_TRUE(log.end.torn);
  cut_wal(*files, kDirectory, log.end);
  log = read_log(*files, 0);
  EXPECT_EQ(log.end.last_sequence, 3u);
  EXPECT_FALSE(log.end.torn);
}

TEST(Wal, RejectedRecordIsATornTailUnlessItWasSynced) {
  for (const bool synced : {false, true}) {
    const auto files = fresh_files();
    WalWriter writer(*files, kDirectory, 1);
    for (int i = 0; i < 3; ++i) {
      append_next(writer);
      if (synced) writer.sync(writer.last_sequence());
    }
    WalReader reader(*files, kDirectory, 0);
    reader.next();
    reader.next();
    if (synced) {
      EXPECT_EQ(code_of([&] { reader.reject("rows"); }), ErrorCode::kCorruption);
      continue;
    }
    reader.reject("rows");
    EXPECT_FALSE(reader.next());
    EXPECT_EQ(reader.end().last_sequence, 1u);
    EXPECT_EQ(reader.end().lost_records, 1u);
    cut_wal(*files, kDirectory, reader.end());
    EXPECT_EQ(read_log(*files, 0).sequences.size(), 1u);
  }
}

TEST(Wal, NoRoomRefusesOneRecordAndLeavesTheWriterUsable) {
  for (const std::size_t partial : {std::size_t{0}, std::size_t{5}, std::size_t{40}}) {
    for (int first_fault = 0; first_fault < 3; ++first_fault) {
      const auto files = fresh_files();
      WalWriter writer(*files, kDirectory, 1);
      if (first_fault == 2) append_next(writer);
      const auto skipped = static_cast<std::uint64_t>(first_fault % 2);
      files->set_fault({files->operations() + skipped, ENOSPC, false, partial});
      EXPECT_EQ(os_error_of([&] { append_next(writer); }), ENOSPC);
      EXPECT_FALSE(writer.poisoned());
      if (files->exists(kFirstSegment)) {
        EXPECT_EQ(files->contents(kFirstSegment).size(), writer.segment_bytes()) << "cut back";
      }
      append_next(writer);
      writer.sync(writer.last_sequence());
      const Log log = read_log(*files, 0);
      EXPECT_EQ(log.end.last_sequence, writer.last_sequence());
      EXPECT_FALSE(log.end.torn);
    }
  }
}

TEST(Wal, InputOutputErrorsPoisonTheWriter) {
  for (const bool in_sync : {false, true}) {
    const auto files = fresh_files();
    WalWriter writer(*files, kDirectory, 1);
    append_next(writer);
    files->set_fault({files->operations(), EIO, false, 10});
    if (in_sync) {
      EXPECT_EQ(code_of([&] { writer.sync(1); }), ErrorCode::kStorage);
    } else {
      EXPECT_EQ(code_of([&] { append_next(writer); }), ErrorCode::kStorage);
    }
    EXPECT_TRUE(writer.poisoned());
    EXPECT_EQ(writer.durable_sequence(), 0u);
    EXPECT_EQ(code_of([&] { append_next(writer); }), ErrorCode::kStorage);
    EXPECT_EQ(code_of([&] { writer.sync(1); }), ErrorCode::kStorage) << "never retried";
  }
}

TEST(Wal, ProcessBufferReachesTheFileOnlyWhenFlushed) {
  const auto files = fresh_files();
  WalWriter writer(*files, kDirectory, 1, {WalBuffering::kProcess, 1000});
  append_next(writer);
  append_next(writer);
  EXPECT_EQ(read_log(*files, 0).sequences.size(), 0u);
  writer.flush();
  EXPECT_EQ(read_log(*files, 0).sequences.size(), 2u);
  append(writer, std::string(1500, 'b'));  // larger than the buffer
  append(writer, "c");
  writer.sync(4);
  WalReader reader(*files, kDirectory, 2);
  EXPECT_EQ(as_text(reader.next()->payload), std::string(1500, 'b'));
  EXPECT_EQ(as_text(reader.next()->payload), "c");
}

TEST(Wal, RemovesOnlySegmentsThatAreWhollyApplied) {
  const auto files = fresh_files();
  WalWriter writer(*files, kDirectory, 1);
  for (int i = 0; i < 9; ++i) {
    append_next(writer);
    if (i % 3 == 2) writer.rotate();
  }
  writer.remove_through(5);
  EXPECT_EQ(files->list_dir(kDirectory).size(), 2u);
  EXPECT_EQ(read_log(*files, 3).sequences.size(), 6u);
  writer.remove_through(9);
  EXPECT_TRUE(files->list_dir(kDirectory).empty());
  EXPECT_EQ(writer.live_bytes(), 0u);
  append_next(writer);
  EXPECT_EQ(read_log(*files, 9).sequences.size(), 1u);
}

TEST(Wal, SyncCoversSegmentsOfAnEarlierProcess) {
  const auto files = fresh_files();
  {
    WalWriter writer(*files, kDirectory, 1);
    append_next(writer);
  }
  WalWriter writer(*files, kDirectory, 2);
  append_next(writer);
  writer.sync(2);
  const auto after = files->crash(SimulatedFiles::Keep::kNothing);
  EXPECT_EQ(read_log(*after, 0).sequences.size(), 2u);
}

TEST(Wal, ConcurrentWritersShareSyncs) {
  const auto files = fresh_files();
  WalWriter writer(*files, kDirectory, 1);
  std::mutex write_lock;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        Sequence mine = 0;
        {
          const std::lock_guard lock(write_lock);
          mine = append_next(writer);
          if (mine % 97 == 0) writer.rotate();
        }
        writer.sync(mine);
        EXPECT_GE(writer.durable_sequence(), mine);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(files->syncs(), 900u);
  EXPECT_EQ(read_log(*files, 0).sequences.size(), 800u);
  const auto after = files->crash(SimulatedFiles::Keep::kNothing);
  EXPECT_EQ(read_log(*after, 0).sequences.size(), 800u);
}

// The promise of the log: whatever a crash leaves, every durable record comes back, none is wrong,
// and the log goes on. Repeated crashes of one log, at random points, with unsynced writes dropped
// and torn.
TEST(Wal, CrashesNeverLoseDurableRecords) {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    auto files = fresh_files();
    Sequence durable = 0;
    Sequence applied = 0;
    for (int life = 0; life < 4; ++life) {
      Log log = read_log(*files, applied);
      ASSERT_GE(log.end.last_sequence, durable) << "seed " << seed << " life " << life;
      if (random() % 2 == 0) {  // killed while cutting
        files->set_fault({files->operations() + random() % 4, EIO, true});
        try {
          cut_wal(*files, kDirectory, log.end);
        } catch (const Error&) {
        }
        files = files->crash(SimulatedFiles::Keep::kSome, random());
        log = read_log(*files, applied);
        ASSERT_GE(log.end.last_sequence, durable) << "seed " << seed << " life " << life;
      }
      cut_wal(*files, kDirectory, log.end);
      auto writer = std::make_unique<WalWriter>(*files, kDirectory, log.end.last_sequence + 1);
      if (random() % 3 == 0) {
        files->set_fault({files->operations() + random() % 60, random() % 2 ? EIO : ENOSPC, false,
                          random() % 60});
      }
      for (int i = 0; i < 30; ++i) {
        try {
          append_next(*writer);
          if (random() % 4 == 0) writer->sync(writer->last_sequence());
          if (random() % 6 == 0) writer->rotate();
          if (random() % 9 == 0) {  // a checkpoint
            applied = writer->last_sequence();
            writer->mark_durable(applied);
            writer->rotate();
            writer->remove_through(applied - std::min<Sequence>(applied, random() % 10));
          }
        } catch (const Error& error) {
          ASSERT_EQ(error.code(), ErrorCode::kStorage);
        }
      }
      durable = std::max(durable, writer->durable_sequence());
      writer.reset();
      files = files->crash(SimulatedFiles::Keep::kSome, random());
    }
  }
}

}  // namespace
}  // namespace srvdb
