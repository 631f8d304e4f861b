// Short codes of a database, of either form: there where they pay, in step with the rows, never
// missed.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <thread>

#include "damage.h"
#include "fault_files.h"
#include "fixture.h"
#include "power_files.h"
#include "srvdb/database/short_code_maker.h"
#include "srvdb/database/verify.h"

namespace srvdb {
namespace {

namespace fs = std::filesystem;
using testing::bytes_of;
using testing::put_bytes;

constexpr std::size_t kDim = 200;  // codes of 256 bytes, so short ones of 64
constexpr std::size_t kRows = ShortCodeMaker::kLeastRows + 100;
constexpr std::size_t kStride = 64;
constexpr std::size_t kSignDim = 512;
constexpr std::size_t kSignStride = 128;

// Rows in `wide` directions, which are the same for all.
std::vector<float> flat_rows(std::size_t n, std::size_t wide, std::uint32_t seed) {
  const std::vector<float> directions = random_rows(wide, kDim, 99);
  const std::vector<float> along = random_rows(n, wide, seed);
  std::vector<float> out(n * kDim);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t w = 0; w < wide; ++w) {
      for (std::size_t d = 0; d < kDim; ++d) {
        out[i * kDim + d] += along[i * wide + w] * directions[w * kDim + d];
      }
    }
  }
  return out;
}

// Rows of kSignDim in groups about a ring, each in six directions that it shares with the groups
// beside it: many in all, few about a row.
std::vector<float> grouped_rows(std::size_t n, std::uint32_t seed) {
  constexpr std::size_t kDirections = 240;
  constexpr std::size_t kOwn = 6;
  const std::vector<float> directions = random_rows(kDirections, kSignDim, 98);
  const std::vector<float> along = random_rows(n, kOwn, seed);
  std::vector<float> out(n * kSignDim);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t w = 0; w < kOwn; ++w) {
      const std::size_t direction = (2 * (i * 7 + seed) + w) % kDirections;
      for (std::size_t d = 0; d < kSignDim; ++d) {
        out[i * kSignDim + d] += along[i * kOwn + w] * directions[direction * kSignDim + d];
      }
    }
  }
  return out;
}

enum class Form { kComponents, kSigns };

class ShortCodesTest : public DatabaseTest {
 protected:
  explicit ShortCodesTest(Form form = Form::kComponents) : form_(form) {}
  OpenOptions options(bool background = false) const {
    OpenOptions out;
    out.mode = Mode::kHnsw;
    out.metric = Metric::kL2;
    out.m = form_ == Form::kSigns ? 16 : 8;
    out.ef_construction = form_ == Form::kSigns ? 100 : 40;
    out.background = background;
    return out;
  }
  std::size_t dim() const { return form_ == Form::kSigns ? kSignDim : kDim; }
  std::size_t stride() const { return form_ == Form::kSigns ? kSignStride : kStride; }
  std::vector<float> rows_of(std::size_t n, std::uint32_t seed) const {
    return form_ == Form::kSigns ? grouped_rows(n, seed) : flat_rows(n, 12, seed);
  }
  void add(Database& db, const std::vector<float>& rows, std::size_t first = 0) const {
    const Ids ids("r", first, rows.size() / dim());
    db.add({ids.views, rows.data(), dim(), {}});
  }
  // Of each form one database of kRows rows, linked, that each test has a copy of.
  void take_copy() const {
    if (made_ == nullptr) {
      std::string name = (scratch_root() / "srvdb-short-XXXXXX").string();
      ASSERT_NE(::mkdtemp(name.data()), nullptr);
      made_ = new std::string(name);
    }
    const std::string from = *made_ + (form_ == Form::kSigns ? "/signs" : "/components");
    if (!fs::exists(from)) {
      const auto db = Database::open(from, options());
      add(*db, rows_of(kRows, 1));
      db->optimize(2, nullptr, nullptr);
    }
    fs::copy(from, path_, fs::copy_options::recursive);
  }
  static void TearDownTestSuite() {
    if (made_ != nullptr) fs::remove_all(*made_);
    delete made_;
    made_ = nullptr;
  }
  void TearDown() override {
    set_least_short_coded_rows_for_tests(ShortCodeMaker::kLeastRows);
    DatabaseTest::TearDown();
  }
  std::string file(const std::string& name, int generation = 1) const {
    return path_ + numbered("/gen-", static_cast<std::size_t>(generation)) + "/" + name;
  }
  // recall@10 of 60 queries like the rows, against exact search.
  double recall(Database& db, std::uint32_t ef = 60) const {
    const std::vector<float> queries = rows_of(60, 5);
    std::size_t right = 0;
    const auto batch = db.search_batch(queries.data(), 60, dim(), {.k = 10, .ef = ef});
    for (std::size_t q = 0; q < 60; ++q) {
      const float* const query = queries.data() + q * dim();
      const auto truth = ids_of(db.search(query, dim(), {.k = 10, .exact = true}));
      const auto found = ids_of(db.search(query, dim(), {.k = 10, .ef = ef}));
      EXPECT_EQ(ids_of(batch[q]), found);
      for (const std::string& id : found) {
        right += static_cast<std::size_t>(std::count(truth.begin(), truth.end(), id));
      }
    }
    return static_cast<double>(right) / 600;
  }

  const Form form_;
  static std::string* made_;
};

std::string* ShortCodesTest::made_ = nullptr;

class ShortCodesOfEachForm : public ShortCodesTest, public ::testing::WithParamInterface<Form> {
 protected:
  ShortCodesOfEachForm() : ShortCodesTest(GetParam()) {}
};

INSTANTIATE_TEST_SUITE_P(Forms, ShortCodesOfEachForm,
                         ::testing::Values(Form::kComponents, Form::kSigns), [](const auto& info) {
                           return info.param == Form::kSigns ? "Signs" : "Components";
                         });

TEST_P(ShortCodesOfEachForm, AreMadeWhereTheyPayAndFindWhatUsualCodesFind) {
  take_copy();
  double by_short_codes = 0;
  {
    const auto db = open(options());
    EXPECT_EQ(db->stats().short_coded_rows, kRows);  // taken over
    by_short_codes = recall(*db);
    EXPECT_GE(by_short_codes, 0.98);
  }
  EXPECT_EQ(bytes_of(file("short.i8")).size(), 4096 + kRows * stride());
  fs::remove(file("reduction.bin"));  // then the usual ones do
  const auto db = open(options());
  EXPECT_EQ(db->stats().short_coded_rows, 0u);
  EXPECT_NEAR(recall(*db), by_short_codes, 0.01);
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(db->stats().short_coded_rows, kRows);
}

TEST_P(ShortCodesOfEachForm, FollowTheRowsAndAreNotGoneByWhileTheyLag) {
  take_copy();
  const auto db = open(options());
  const std::vector<float> more = rows_of(600, 8);
  add(*db, more, kRows);
  EXPECT_EQ(db->stats().short_coded_rows, kRows);
  EXPECT_EQ(ids_of(db->search(more.data(), dim(), {.k = 1}))[0], numbered("r", kRows));
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(db->stats().short_coded_rows, kRows + 600);
  EXPECT_EQ(db->stats().linked_rows, kRows + 600);
  EXPECT_EQ(ids_of(db->search(more.data(), dim(), {.k = 1}))[0], numbered("r", kRows));
  EXPECT_GE(recall(*db), 0.98);
}

TEST_P(ShortCodesOfEachForm, WithThemTheRowsThatADeletionLeavesAreFound) {
  take_copy();
  const auto db = open(options());
  for (std::size_t i = 0; i < kRows; i += 3) {
    const std::string id = numbered("r", i);
    const std::vector<std::string_view> one = {id};
    db->soft_delete(one);
  }
  EXPECT_GE(recall(*db), 0.97);
}

TEST_F(ShortCodesTest, AreNotMadeWhereItTakesManyDirectionsAndThatIsRemembered) {
  {
    const auto db = open(options());
    add(*db, random_rows(kRows, kDim, 3));
    db->optimize(2, nullptr, nullptr);
    EXPECT_EQ(db->stats().short_coded_rows, 0u);
  }
  EXPECT_FALSE(fs::exists(file("short.i8")));
  EXPECT_FALSE(fs::exists(file("reduction.bin")));
  const ManifestDerived decided{kShortCodes.derived, "", kRows, 0};
  const auto remembered = [&] {
    const auto derived = read_manifest(posix_file_system(), path_, true)->derived;
    return std::count(derived.begin(), derived.end(), decided);
  };
  EXPECT_EQ(remembered(), 1);
  const auto db = open(options());
  db->create_snapshot("s");
  db->compact(nullptr, nullptr);
  EXPECT_EQ(remembered(), 1);
  db->restore_snapshot("s", false);
  EXPECT_EQ(remembered(), 1);
}

// A few directions hold nearly all of the variance, but not what tells the rows of a cluster apart.
TEST_F(ShortCodesTest, AreNotMadeOfClustersThatTheyCannotSeeInto) {
  const std::vector<float> centres = flat_rows(50, 12, 1);
  std::vector<float> rows = random_rows(kRows, kDim, 2);
  for (std::size_t i = 0; i < kRows; ++i) {
    for (std::size_t d = 0; d < kDim; ++d) {
      rows[i * kDim + d] = 0.6F * rows[i * kDim + d] + centres[i % 50 * kDim + d];
    }
  }
  std::vector<const float*> at;
  for (std::size_t i = 0; i < kRows; i += 4) at.push_back(rows.data() + i * kDim);
  ASSERT_TRUE(Reduction::train(at, kDim, Metric::kL2, nullptr));
  const auto db = open(options());
  add(*db, rows);
  db->optimize(2, nullptr, nullptr);
  EXPECT_EQ(db->stats().short_coded_rows, 0u);
}

TEST_P(ShortCodesOfEachForm, AreDecidedAnewWhenRowsOfAnotherKindHaveCome) {
  take_copy();
  const auto db = open(options());
  add(*db, rows_of(kRows / 2, 9), kRows);  // of the same kind
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(db->stats().short_coded_rows, kRows + kRows / 2);
  // In clusters that neither form can see into.
  std::vector<float> others = random_rows(kRows, dim(), 3);
  const std::vector<float> centres = random_rows(10, dim(), 4);
  for (std::size_t i = 0; i < others.size(); ++i) {
    others[i] = 0.1F * others[i] + 5 * centres[i / dim() % 10 * dim() + i % dim()];
  }
  add(*db, others, 2 * kRows);
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(db->stats().linked_rows, 2 * kRows + kRows / 2);
  EXPECT_EQ(db->stats().short_coded_rows, 0u);
}

TEST_F(ShortCodesTest, SignsAreNotMadeOfRowsThatAreAllAboutAsFarApart) {
  set_least_short_coded_rows_for_tests(2000);
  const auto db = open(options());
  const Ids ids("r", 0, 2000);
  db->add({ids.views, random_rows(2000, kSignDim).data(), kSignDim, {}});
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(db->stats().short_coded_rows, 0u);
}

TEST_P(ShortCodesOfEachForm, ForEveryMetric) {
  set_least_short_coded_rows_for_tests(2000);
  for (const Metric metric : {Metric::kCosine, Metric::kIp, Metric::kL2}) {
    path_ = root_ + "/" + std::string(metric_name(metric));
    OpenOptions how = options();
    how.metric = metric;
    const auto db = open(how);
    add(*db, rows_of(2000, 1));
    db->optimize(1, nullptr, nullptr);
    EXPECT_EQ(db->stats().short_coded_rows, 2000u) << metric_name(metric);
    EXPECT_GE(recall(*db), metric == Metric::kIp ? 0.93 : 0.98) << metric_name(metric);
  }
}

// ---- failing files -----------------------------------------------------------------------------

constexpr std::size_t kFew = 700;

// Whatever fails while short codes are made, rows are linked and found, and later they are made.
TEST_P(ShortCodesOfEachForm, WhateverFailsWhileTheyAreMadeTheRestGoesOn) {
  set_least_short_coded_rows_for_tests(kFew);
  const std::vector<float> rows = rows_of(kFew, 1);
  bool failed = true;
  std::size_t gave_up = 0;
  for (std::uint64_t at = 0; failed; ++at) {
    path_ = root_ + numbered("/db", at);
    testing::FaultFiles files;
    OpenOptions how = options();
    how.files = &files;
    auto db = open(how);
    add(*db, rows);
    db->persist();
    files.fail({.at = at, .error = ENOSPC, .partial = at % 2 == 0, .syncs = false});
    try {
      db->optimize(1, nullptr, nullptr);
      gave_up += db->stats().short_coded_rows == 0 ? 1u : 0u;
      EXPECT_EQ(db->stats().linked_rows, kFew);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kStorage) << error.what();
    }
    failed = files.failures() > 0;
    files.fail({});
    EXPECT_GE(recall(*db), 0.98) << at;
    db = nullptr;
    db = open(options());
    db->optimize(1, nullptr, nullptr);
    EXPECT_EQ(db->stats().linked_rows, kFew) << at;
    EXPECT_EQ(db->stats().short_coded_rows, kFew) << at;
    EXPECT_GE(recall(*db), 0.98) << at;
    db = nullptr;
    EXPECT_TRUE(verify(path_, {.deep = true}).problems.empty()) << at;
    fs::remove_all(path_);
  }
  EXPECT_GT(gave_up, 0u);
}

TEST_P(ShortCodesOfEachForm, LossOfPowerAtAnyOperationLeavesNoDamage) {
  set_least_short_coded_rows_for_tests(kFew);
  using Keep = testing::SimulatedFiles::Keep;
  testing::SimulatedFiles origin;
  OpenOptions how = options();
  how.durability = Durability::kDisk;
  how.files = &origin;
  {
    const auto db = open(how);
    add(*db, rows_of(kFew, 1));
    db->optimize(1, nullptr, nullptr);
    // These are decided upon anew in every run.
    add(*db, rows_of(kFew, 2), kFew);
  }
  bool failed = true;
  for (std::uint64_t at = 0; failed; ++at) {
    const auto files = origin.crash(Keep::kEverything);
    how.files = files.get();
    auto db = open(how);
    files->set_fault({.at = files->operations() + at, .error = EIO, .forever = true});
    failed = false;
    try {
      db->optimize(1, nullptr, nullptr);
      failed = db->stats().short_coded_rows == 0;
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kStorage) << error.what();
      failed = true;
    }
    const Keep keep = at % 3 == 0 ? Keep::kNothing : Keep::kSome;
    const auto image = files->crash(keep, static_cast<std::uint_fast32_t>(at));
    files->set_fault({});
    db->close();
    db = nullptr;
    how.files = image.get();
    testing::warned();
    db = open(how);
    for (const Event& event : drain_events()) ADD_FAILURE() << at << ": " << event.message;
    EXPECT_GE(recall(*db), 0.98) << at;
    db->optimize(1, nullptr, nullptr);
    EXPECT_EQ(db->stats().short_coded_rows, 2 * kFew) << at;
    EXPECT_GE(recall(*db), 0.98) << at;
    EXPECT_FALSE(testing::warned()) << at;
  }
}

TEST_P(ShortCodesOfEachForm, ADatabaseFromBeforeGetsThemInTheBackground) {
  take_copy();
  for (const char* name : {"short.i8", "short.fix", "reduction.bin"}) fs::remove(file(name));
  const auto db = open(options(true));
  for (int i = 0; i < 2000 && db->stats().short_coded_rows == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(db->stats().short_coded_rows, kRows);
  EXPECT_EQ(db->stats().background_error, "");
}

TEST_P(ShortCodesOfEachForm, DamageIsMetOnTouchAndTheyAreMadeAgain) {
  take_copy();
  std::string bytes = bytes_of(file("short.i8"));
  for (std::size_t row = 0; row < kRows; row += 50) bytes[4096 + row * stride() + 9] ^= 4;
  put_bytes(file("short.i8"), bytes);
  const auto db = open(options());
  testing::warned();
  const std::vector<float> query = rows_of(1, 5);
  const auto truth = ids_of(db->search(query.data(), dim(), {.k = 10, .exact = true}));
  EXPECT_EQ(ids_of(db->search(query.data(), dim(), {.k = 10, .ef = 60})), truth);
  EXPECT_TRUE(testing::warned());
  EXPECT_EQ(db->stats().short_coded_rows, 0u);
  EXPECT_EQ(db->stats().coded_rows, kRows);  // the rest stays as it was
  EXPECT_EQ(db->stats().linked_rows, kRows);
  EXPECT_GE(recall(*db), 0.98);
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(db->stats().short_coded_rows, kRows);
  EXPECT_GE(recall(*db), 0.98);
  EXPECT_FALSE(testing::warned());
}

TEST_P(ShortCodesOfEachForm, DamageDoesNotKeepCompactionFromTakingTheRest) {
  take_copy();
  std::string bytes = bytes_of(file("short.i8"));
  bytes[4096 + 70 * stride()] ^= 4;
  put_bytes(file("short.i8"), bytes);
  const auto db = open(options());
  const std::vector<std::string_view> one = {"r5"};
  db->remove(one);
  db->compact(nullptr, nullptr);
  EXPECT_EQ(db->stats().linked_rows, kRows - 1);
  EXPECT_EQ(db->stats().short_coded_rows, 0u);
  db->optimize(1, nullptr, nullptr);
  EXPECT_EQ(db->stats().short_coded_rows, kRows - 1);
  EXPECT_TRUE(verify(path_, {.deep = true}).problems.empty());
}

TEST_P(ShortCodesOfEachForm, FilesThatAreNotTheirsAreToldAndMadeAgain) {
  const std::vector<float> others = grouped_rows(500, 4);
  std::vector<const float*> at;
  for (std::size_t i = 0; i < 500; ++i) at.push_back(others.data() + i * kSignDim);
  const std::string another = SignQuantizer::train(at, dim(), Metric::kL2).to_bytes();
  for (const std::string name : {"short.i8", "short.fix", "reduction.bin", "another"}) {
    fs::remove_all(path_);
    take_copy();
    if (name == "another") {
      put_bytes(file("reduction.bin"), another);
    } else {
      const std::string bytes = bytes_of(file(name));
      put_bytes(file(name), bytes.substr(0, bytes.size() / 2));
    }
    testing::warned();
    const auto db = open(options());
    EXPECT_TRUE(testing::warned()) << name;
    EXPECT_EQ(db->stats().short_coded_rows, 0u) << name;
    EXPECT_EQ(db->stats().coded_rows, kRows) << name;
    db->optimize(1, nullptr, nullptr);
    EXPECT_EQ(db->stats().short_coded_rows, kRows) << name;
    EXPECT_TRUE(verify(path_, {.deep = true}).problems.empty()) << name;
  }
}

TEST_P(ShortCodesOfEachForm, VerifyFindsADamagedByteOfEachFileAndCallsItDerived) {
  for (const char* name : {"short.i8", "short.fix", "reduction.bin"}) {
    fs::remove_all(path_);
    take_copy();
    EXPECT_TRUE(verify(path_, {.deep = true}).problems.empty());
    std::string bytes = bytes_of(file(name));
    bytes[bytes.size() / 2] ^= 1;
    put_bytes(file(name), bytes);
    const VerifyReport report = verify(path_, {.deep = true});
    ASSERT_EQ(report.problems.size(), 1u) << name;
    EXPECT_EQ(report.problems[0].kind, Problem::Kind::kDerived);
    EXPECT_TRUE(report.problems[0].file.ends_with(name)) << report.problems[0].file;
    fs::remove(file(name));
    ASSERT_EQ(verify(path_, {.deep = true}).problems.size(), 1u) << name;
  }
}

TEST_P(ShortCodesOfEachForm, SurviveCompactionSnapshotsAndBackups) {
  take_copy();
  const auto db = open(options());
  db->create_snapshot("before");
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < kRows; i += 4) texts.push_back(numbered("r", i));
  const std::vector<std::string_view> gone(texts.begin(), texts.end());
  db->remove(gone);
  db->compact(nullptr, nullptr);
  EXPECT_EQ(db->stats().short_coded_rows, kRows - gone.size());
  EXPECT_GE(recall(*db), 0.98);
  EXPECT_TRUE(verify(path_, {.deep = true}).problems.empty());
  const std::string compacted = root_ + "/compacted.srvdb";
  db->backup(compacted, true);
  db->restore_snapshot("before", false);
  EXPECT_EQ(db->stats().short_coded_rows, kRows);
  EXPECT_GE(recall(*db), 0.98);
  EXPECT_TRUE(verify(path_, {.deep = true}).problems.empty());
  Database::restore_backup(compacted, root_ + "/restored");
  const auto restored = Database::open(root_ + "/restored", options());
  EXPECT_EQ(restored->stats().short_coded_rows, kRows - gone.size());
  EXPECT_GE(recall(*restored), 0.98);
}

TEST_F(ShortCodesTest, AreDecidedAnewWhenRowsHaveBecomeFourTimesAsMany) {
  ShortCodeMaker maker(posix_file_system(),
                       {.directory = path_, .dim = kDim, .metric = Metric::kL2});
  constexpr std::size_t kRoom = std::size_t{1} << 30;
  const Row least = ShortCodeMaker::kLeastRows;
  EXPECT_FALSE(maker.due(least - 1, true, kRoom));
  EXPECT_TRUE(maker.due(least, false, kRoom));
  EXPECT_FALSE(maker.due(least, false, 1000));  // bytes to work in
  maker.load({.kind = kShortCodes.derived, .file = "", .covers_rows = least, .lineage = 0}, least);
  EXPECT_FALSE(maker.due(4 * least - 1, false, kRoom));
  EXPECT_TRUE(maker.due(4 * least, false, kRoom));
  EXPECT_FALSE(maker.due(2 * least - 1, true, kRoom));
  EXPECT_TRUE(maker.due(2 * least, true, kRoom));
}

}  // namespace
}  // namespace srvdb
