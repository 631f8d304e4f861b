#include "srvdb/database/verify.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "damage.h"
#include "fixture.h"
#include "sample.h"

namespace srvdb {
namespace {

namespace fs = std::filesystem;
using testing::bytes_of;
using testing::put_bytes;

std::string told(const VerifyReport& report) {
  std::string text;
  for (const Problem& problem : report.problems) {
    text += problem.file + ":" + std::to_string(problem.offset) + ": " + problem.what + "\n";
  }
  return text;
}

class VerifyTest : public SampleTest {
 protected:
  static VerifyReport deep(const std::string& path) { return verify(path, {.deep = true}); }
  // True when a problem is in the file, or says that it may be.
  static bool names(const VerifyReport& report, const std::string& file) {
    const std::string name = fs::path(file).filename();
    return std::any_of(report.problems.begin(), report.problems.end(), [&](const Problem& problem) {
      return problem.file == file || problem.what.find(name) != std::string::npos;
    });
  }
};

TEST_F(VerifyTest, ASoundDatabaseHasNoProblems) {
  make_sample();
  for (const bool is_deep : {false, true}) {
    const VerifyReport report = verify(path_, {.deep = is_deep});
    EXPECT_TRUE(report.is_sound()) << told(report);
    EXPECT_TRUE(report.problems.empty()) << told(report);
    EXPECT_EQ(report.rows, kSampleRows);
    EXPECT_GT(report.files, 10u);
  }
}

TEST_F(VerifyTest, ANewDatabaseAndAnEmptyOneAreSound) {
  open()->close();
  EXPECT_TRUE(deep(path_).problems.empty()) << told(deep(path_));
  OpenOptions options;
  options.dimension = 8;
  open(options)->close();
  EXPECT_TRUE(deep(path_).problems.empty()) << told(deep(path_));
}

TEST_F(VerifyTest, WritesNothing) {
  make_sample();
  const auto look = [&] {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(path_)) {
      const auto time = fs::last_write_time(entry.path()).time_since_epoch().count();
      names.push_back(entry.path().string() + std::to_string(time) +
                      (entry.is_regular_file() ? bytes_of(entry.path()) : ""));
    }
    std::sort(names.begin(), names.end());
    return names;
  };
  const auto before = look();
  deep(path_);
  EXPECT_EQ(look(), before);
}

TEST_F(VerifyTest, WhatACrashLeavesIsNoDamage) {
  make_sample();
  const auto db = open();
  fill(*db, 50, kSampleDim, 1000);
  const std::string copy = crash_copy("crashed");
  const VerifyReport whole = deep(copy);
  EXPECT_TRUE(whole.is_sound()) << told(whole);
  const std::string log = settled_log(copy);
  fs::resize_file(log, fs::file_size(log) - 5);
  const VerifyReport torn = deep(copy);
  EXPECT_TRUE(torn.is_sound()) << told(torn);
  ASSERT_EQ(torn.problems.size(), 1u) << told(torn);
  EXPECT_EQ(torn.problems[0].kind, Problem::Kind::kUnfinished);
}

TEST_F(VerifyTest, WorksBesideALivingWriter) {
  make_sample();
  const auto db = open();
  for (std::size_t i = 0; i < 5; ++i) {
    fill(*db, 20, kSampleDim, 2000 + 20 * i);
    if (i % 2 == 0) db->persist();
    const VerifyReport report = deep(path_);
    EXPECT_TRUE(report.problems.empty()) << told(report);
  }
}

TEST_F(VerifyTest, SaysThatThereIsNoDatabase) {
  EXPECT_EQ(code_of([&] { deep(path_); }), ErrorCode::kNotFound);
  fs::create_directory(path_);
  EXPECT_EQ(code_of([&] { deep(path_); }), ErrorCode::kNotFound);
  Interrupt interrupt;
  interrupt.stop();
  make_sample();
  EXPECT_EQ(code_of([&] { verify(path_, {.deep = true, .interrupt = &interrupt}); }),
            ErrorCode::kInterrupted);
}

TEST_F(VerifyTest, NamesTheFileOfEveryKindOfDamage) {
  make_sample();
  for (const std::string& file : sample_files()) {
    const std::string original = bytes_of(path_ + "/" + file);
    for (const auto& [what, bytes] : damaged_versions(file, original)) {
      put_bytes(path_ + "/" + file, bytes);
      const VerifyReport report = deep(path_);
      EXPECT_TRUE(names(report, file)) << file << " " << what << ":\n" << told(report);
    }
    fs::remove(path_ + "/" + file);
    const VerifyReport report = deep(path_);
    if (!file.starts_with("wal/")) {
      EXPECT_TRUE(names(report, file)) << file << " missing:\n" << told(report);
    }
    put_bytes(path_ + "/" + file, original);
    ASSERT_TRUE(deep(path_).problems.empty()) << file;
  }
}

TEST_F(VerifyTest, GoesOnAfterTheFirstProblem) {
  make_sample();
  for (const std::size_t row : {5u, 100u, 299u}) flip(generation("vectors.bin"), 4096 + row * 48);
  flip(generation("ids.bin"), 40);
  flip(generation("graph.hnsw"), 5000);
  flip("MANIFEST", 90);
  const VerifyReport report = deep(path_);
  std::size_t rows = 0;
  for (const Problem& problem : report.problems) rows += problem.what.starts_with("row ") ? 1 : 0;
  EXPECT_EQ(rows, 3u) << told(report);
  EXPECT_TRUE(names(report, generation("ids.bin"))) << told(report);
  EXPECT_TRUE(names(report, "MANIFEST")) << told(report);
  EXPECT_FALSE(report.is_sound());
}

TEST_F(VerifyTest, LooksThroughSnapshotsToo) {
  make_sample();
  {
    const auto db = open();
    db->create_snapshot("first");
    fill(*db, 30, kSampleDim, 3000);
    db->create_snapshot("second");
  }
  const VerifyReport before = deep(path_);
  EXPECT_TRUE(before.problems.empty()) << told(before);
  EXPECT_EQ(before.snapshots, 2u);
  EXPECT_TRUE(deep(path_ + "/snapshots/first").problems.empty());
  const std::string store = "snapshots/first/gen-1/metadata.db";
  flip(store, 150);
  const VerifyReport report = deep(path_);
  ASSERT_EQ(report.problems.size(), 1u) << told(report);
  EXPECT_EQ(report.problems[0].file, store);
  EXPECT_FALSE(verify(path_, {}).is_sound());
}

TEST_F(VerifyTest, DamagedLinksAndCodesAreMarkedAsDerived) {
  make_sample();
  flip(generation("graph.hnsw"), 6000);
  flip(generation("codes.i8"), 4096 + 64 * 7);
  const VerifyReport report = deep(path_);
  ASSERT_EQ(report.problems.size(), 2u) << told(report);
  for (const Problem& problem : report.problems) EXPECT_EQ(problem.kind, Problem::Kind::kDerived);
  EXPECT_FALSE(report.is_sound());
}

TEST_F(VerifyTest, FlippedBytesAnywhereAreFoundOrMeanNothing) {
  make_sample();
  for (const std::string& file : sample_files()) {
    const std::string original = bytes_of(path_ + "/" + file);
    for (const std::size_t at : testing::spread(original.size(), 60)) {
      std::string bytes = original;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
      put_bytes(path_ + "/" + file, bytes);
      const VerifyReport report = deep(path_);
      // A page of metadata.db that is not in use is the one place that nobody looks at.
      if (!file.ends_with("metadata.db") && !file.ends_with("metadata.crc")) {
        EXPECT_FALSE(report.problems.empty()) << file << " at " << at;
      }
    }
    put_bytes(path_ + "/" + file, original);
  }
}

}  // namespace
}  // namespace srvdb
