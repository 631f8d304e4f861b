// Damaged files: a typed error, or a rebuild with a warning; never a crash, never a wrong exact
// answer.

#include "damage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "fixture.h"
#include "model.h"

namespace srvdb {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDim = 12;
constexpr std::size_t kRows = 300;

class DamageTest : public DatabaseTest {
 protected:
  // A database with everything in it: published rows, retired ones, metadata, codes, a graph, and a
  // log to be replayed. `pristine_` is what a kill leaves of it.
  void make(Mode mode) {
    OpenOptions options;
    options.mode = mode;
    options.background = false;
    const auto db = open(options);
    put(*db, Operation::Kind::kAdd, 0, kRows);
    put(*db, Operation::Kind::kUpsert, 10, 20);
    db->optimize(1, nullptr, nullptr);
    db->persist();
    put(*db, Operation::Kind::kUpsert, kRows - 10, kRows + 10);
    const std::vector<std::string_view> gone = {"r3", "r299"};
    db->remove(gone);
    model_.erase("r3");
    model_.erase("r299");
    pristine_ = crash_copy("pristine");
    query_ = random_rows(1, kDim, 77);
  }
  void put(Database& db, Operation::Kind kind, std::size_t first, std::size_t last) {
    Operation operation{kind, {}, {}, {}, kDim};
    operation.rows = random_rows(last - first, kDim, ++seed_);
    for (std::size_t i = first; i < last; ++i) {
      operation.ids.push_back(numbered("r", i));
      operation.metadata.push_back(numbered("{\"i\":", seed_).append("}"));
    }
    operation.apply(db);
    operation.apply(model_);
  }
  std::vector<std::string> exact_answer() const {
    std::vector<std::pair<double, std::string>> scored;
    for (const auto& [id, record] : model_) {
      double dot = 0, a = 0, b = 0;
      for (std::size_t i = 0; i < kDim; ++i) {
        dot += double{query_[i]} * double{record.row[i]};
        a += double{query_[i]} * double{query_[i]};
        b += double{record.row[i]} * double{record.row[i]};
      }
      scored.emplace_back(-dot / std::sqrt(a * b), id);
    }
    std::sort(scored.begin(), scored.end());
    std::vector<std::string> out;
    for (std::size_t i = 0; i < 10; ++i) out.push_back(scored[i].second);
    return out;
  }
  // Opens the damaged copy, uses all of it; what it does not refuse must be right. Says whether it
  // was refused.
  bool use(const std::string& path, bool read_only, const std::string& what) {
    OpenOptions options;
    options.read_only = read_only;
    try {
      const auto db = Database::open(path, options);
      const auto exact = ids_of(db->search(query_.data(), kDim, {.k = 10, .exact = true}));
      EXPECT_EQ(exact, exact_answer()) << what;
      const auto found = db->search(query_.data(), kDim, {.k = 10});
      EXPECT_EQ(found.hits.size(), 10u) << what;
      for (const Hit& hit : found.hits) EXPECT_TRUE(model_.contains(std::string(hit.id))) << what;
      EXPECT_EQ(difference(*db, model_), "") << what;
      if (!read_only) db->optimize(1, nullptr, nullptr);
      db->close();
      return false;
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ErrorCode::kCorruption || error.code() == ErrorCode::kVersion)
          << what << ": " << error.what();
      return true;
    }
  }
  // Flips one bit at many places of the file, one at a time. A lost tail of the log is no damage
  // that could be told from a crash: `may_lose` leaves the comparison out.
  struct Outcome {
    std::size_t refused = 0;
    std::size_t warned = 0;
    std::size_t in_all = 0;
  };
  Outcome flip_everywhere(const std::string& file, std::size_t places) {
    Outcome out;
    const std::string bytes = testing::bytes_of(pristine_ + "/" + file);
    EXPECT_FALSE(bytes.empty()) << file;
    for (const std::size_t at : testing::spread(bytes.size(), places)) {
      const std::string copy = root_ + "/copy";
      fs::copy(pristine_, copy, fs::copy_options::recursive);
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
      testing::put_bytes(copy + "/" + file, damaged);
      drain_events();
      out.refused += use(copy, at % 2 == 0, file + " at " + std::to_string(at)) ? 1 : 0;
      out.warned += testing::warned() ? 1 : 0;
      ++out.in_all;
      fs::remove_all(copy);
      if (HasFailure()) break;
    }
    return out;
  }
  std::size_t flip_log(const std::string& file, std::size_t first, std::size_t last);

  std::string pristine_;
  Model model_;
  std::vector<float> query_;
  std::uint32_t seed_ = 0;
};

TEST_F(DamageTest, FlippedBytesOfTruthAreRefusedOrHarmless) {
  make(Mode::kHnsw);
  for (const char* file :
       {"MANIFEST", "gen-1/vectors.bin", "gen-1/rows.fix", "gen-1/ids.bin", "gen-1/ids.fix"}) {
    const Outcome outcome = flip_everywhere(file, 30);
    // Padding, retired rows and ids that no hit shows are never touched.
    EXPECT_GT(outcome.refused, outcome.in_all / 20) << file;
    ASSERT_FALSE(HasFailure()) << file;
  }
}

TEST_F(DamageTest, FlippedBytesOfTheGraphAreNoticedAndItIsBuiltAgain) {
  make(Mode::kHnsw);
  const Outcome outcome = flip_everywhere("gen-1/graph.hnsw", 60);
  EXPECT_EQ(outcome.refused, 0u);
  EXPECT_GT(outcome.warned, outcome.in_all / 4);
}

TEST_F(DamageTest, FlippedBytesOfCodesAreNoticedAndTheyAreMadeAgain) {
  for (const Mode mode : {Mode::kHnsw, Mode::kSq8}) {
    path_ = root_ + "/" + mode_name(mode);
    fs::remove_all(root_ + "/pristine");
    model_.clear();
    make(mode);
    for (const char* file : {"gen-1/codes.i8", "gen-1/codes.fix"}) {
      const Outcome outcome = flip_everywhere(file, 30);
      EXPECT_EQ(outcome.refused, 0u) << file;
      EXPECT_GT(outcome.warned, outcome.in_all / 3) << file;
    }
  }
}

TEST_F(DamageTest, DerivedFilesMayBeMissingOrShortOrOfAnotherDatabase) {
  make(Mode::kHnsw);
  for (const char* file : {"gen-1/codes.i8", "gen-1/codes.fix", "gen-1/graph.hnsw"}) {
    for (const double part : {-1.0, 0.0, 0.5, 0.99}) {
      const std::string copy = root_ + "/copy";
      fs::copy(pristine_, copy, fs::copy_options::recursive);
      const std::string path = copy + "/" + file;
      if (part < 0) {
        fs::remove(path);
      } else {
        const auto size = static_cast<double>(fs::file_size(path));
        fs::resize_file(path, static_cast<std::uintmax_t>(part * size));
      }
      EXPECT_FALSE(use(copy, false, file)) << part;
      EXPECT_FALSE(use(copy, true, file)) << part;
      fs::remove_all(copy);
    }
  }
}

TEST_F(DamageTest, FilesOfTruthThatAreMissingOrShortAreRefused) {
  make(Mode::kFlat);
  for (const char* file : {"gen-1/vectors.bin", "gen-1/rows.fix", "gen-1/ids.bin", "gen-1/ids.fix",
                           "gen-1/metadata.db", "gen-1/metadata.crc", "MANIFEST"}) {
    for (const double part : {0.0, 0.5}) {
      const std::string copy = root_ + "/copy";
      fs::copy(pristine_, copy, fs::copy_options::recursive);
      const std::string path = copy + "/" + file;
      fs::resize_file(path,
                      static_cast<std::uintmax_t>(part * static_cast<double>(fs::file_size(path))));
      EXPECT_TRUE(use(copy, false, file)) << part;
      EXPECT_TRUE(use(copy, true, file)) << part;
      fs::remove_all(copy);
    }
  }
}

// The log's last segment was never synced, so damage there cannot be told from a crash and cuts it;
// what is left is a state the database once had.
// Flips bits of a file of the log, 60 places in [first, last); how many of them were noticed.
std::size_t DamageTest::flip_log(const std::string& file, std::size_t first, std::size_t last) {
  const std::string bytes = testing::bytes_of(pristine_ + "/" + file);
  std::size_t noticed = 0;
  for (const std::size_t place : testing::spread(std::min(last, bytes.size()) - first, 60)) {
    const std::size_t at = first + place;
    const std::string copy = root_ + "/copy";
    fs::copy(pristine_, copy, fs::copy_options::recursive);
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 16);
    testing::put_bytes(copy + "/" + file, damaged);
    OpenOptions options;
    options.read_only = at % 2 == 0;
    try {
      const auto db = Database::open(copy, options);
      const std::size_t n = db->count();
      EXPECT_TRUE(n == kRows || n == kRows + 10 || n == kRows + 8) << n << " records, at " << at;
      EXPECT_EQ(db->scroll("", 1000, true, true).size(), n);
      noticed += n == kRows + 8 ? 0 : 1;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption) << error.what();
      ++noticed;
    }
    fs::remove_all(copy);
  }
  return noticed;
}

TEST_F(DamageTest, FlippedBytesOfTheLogLeaveAStateThatOnceWas) {
  make(Mode::kFlat);
  const std::string log = settled_log(pristine_);
  EXPECT_GT(flip_log(fs::relative(log, pristine_), 0, SIZE_MAX), 50u);
}

TEST_F(DamageTest, FlippedBytesOfTheLogsTailLeaveAStateThatOnceWas) {
  make(Mode::kFlat);
  if (!fs::exists(pristine_ + "/wal/tail")) GTEST_SKIP() << "no safe shared memory here";
  const auto tail = read_wal_tail(posix_file_system(), pristine_ + "/wal");
  ASSERT_TRUE(tail);
  const std::size_t used = kWalTailHeaderBytes + tail->records.size();
  EXPECT_GT(flip_log("wal/tail", kWalTailHeaderBytes, used), 50u);
  EXPECT_EQ(flip_log("wal/tail", 0, 128), 0u) << "the header stands twice";
  EXPECT_EQ(flip_log("wal/tail", used, SIZE_MAX), 0u) << "nothing is there";
}

}  // namespace
}  // namespace srvdb
