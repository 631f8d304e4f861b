// Columns of metadata follow the metadata through everything that changes them.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "fixture.h"
#include "srvdb/database/column_reader.h"
#include "srvdb/database/column_writer.h"
#include "srvdb/database/repair.h"
#include "srvdb/database/verify.h"
#include "srvdb/filter/expression.h"
#include "srvdb/storage/lmdb_file.h"
#include "srvdb/storage/meta_store.h"

namespace srvdb {
namespace {

namespace fs = std::filesystem;

class ColumnsTest : public DatabaseTest {
 protected:
  static constexpr std::size_t kDim = 4;

  static OpenOptions quiet() {
    OpenOptions options;
    options.background = false;
    return options;
  }
  // Rows "<prefix><first>"… with the metadata that `text` makes of their numbers.
  template <typename Text>
  static void put(Database& db, std::size_t first, std::size_t n, Text&& text) {
    const std::vector<float> rows = random_rows(n, kDim);
    const Ids ids("r", first, n);
    std::vector<std::string> texts;
    for (std::size_t i = first; i < first + n; ++i) texts.push_back(text(i));
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    db.upsert({ids.views, rows.data(), kDim, views});
  }
  static std::string describe(std::size_t i) {
    return numbered("{\"year\":", 1990 + i % 30) + numbered(",\"who\":{\"name\":\"n", i % 700) +
           "\"}" + (i % 3 == 0 ? ",\"tags\":[\"a\"," + numbered("\"t", i % 9) + "\"]" : "") + "}";
  }
  std::string store_path() const {
    for (const auto& entry : fs::directory_iterator(path_)) {
      if (entry.path().filename().string().starts_with("gen-")) return entry.path() / "metadata.db";
    }
    return {};
  }
  std::unique_ptr<MetaStore> store(bool read_only = true) const {
    MetaStoreOptions options;
    options.read_only = options.immutable = read_only;
    return std::make_unique<MetaStore>(store_path(), options);
  }
  void expect_sound() const {
    const VerifyReport report = verify(path_, {.deep = true});
    for (const Problem& problem : report.problems) ADD_FAILURE() << problem.what;
  }
  // Rows of the closed database that the columns say match a filter of one leaf.
  std::vector<Row> matching(const std::string& where) const {
    const auto expression = filter::Expression::parse(where);
    const filter::Leaf& leaf = expression->leaves()[0];
    const auto closed = store();
    const MetaStore::ReadTxn txn = closed->read();
    const ColumnReader columns(txn);
    std::vector<Row> out;
    if (columns.fields().coverage(leaf.path()) == FieldCoverage::kNowhere) return out;
    EXPECT_EQ(columns.fields().coverage(leaf.path()), FieldCoverage::kColumn) << leaf.path();
    for (std::uint32_t block = 0; block << filter::kColumnShift < txn.state().published_rows;
         ++block) {
      std::array<std::uint64_t, filter::kColumnWords> yes{};
      std::array<std::uint64_t, filter::kColumnWords> maybe{};
      columns.select(leaf, columns.fields().number(leaf.path()).value_or(0), block, yes, maybe);
      for (Row row = 0; row < filter::kColumnRows; ++row) {
        if ((yes[row / 64] >> (row % 64) & 1) != 0) {
          out.push_back((block << filter::kColumnShift) + row);
        }
      }
    }
    return out;
  }
};

TEST_F(ColumnsTest, AreWrittenWithTheMetadata) {
  {
    const auto db = open(quiet());
    put(*db, 0, 20'000, describe);
    expect_sound();  // nothing is in the store yet
    db->persist();
    expect_sound();
    put(*db, 20'000, 3'000, describe);
    db->close();
  }
  expect_sound();
  EXPECT_EQ(matching(R"({"year": 1995})").size(), 767U);
  EXPECT_EQ(matching(R"({"year": {"$gte": 2019}})").size(), 766U);
  EXPECT_EQ(matching(R"({"who.name": "n3"})"),
            (std::vector<Row>{3,     703,   1403,  2103,  2803,  3503,  4203,  4903,  5603,
                              6303,  7003,  7703,  8403,  9103,  9803,  10503, 11203, 11903,
                              12603, 13303, 14003, 14703, 15403, 16103, 16803, 17503, 18203,
                              18903, 19603, 20303, 21003, 21703, 22403}));
  EXPECT_EQ(matching(R"({"tags": "a"})").size(), 7667U);
  EXPECT_EQ(matching(R"({"who": {"$exists": true}})").size(), 23'000U);
  EXPECT_TRUE(matching(R"({"nothing": 1})").empty());
}

TEST_F(ColumnsTest, FollowEveryChange) {
  {
    const auto db = open(quiet());
    put(*db, 0, 400, describe);
    db->persist();
    std::vector<Update> updates(3);
    const Ids ids("r", 0, 3);
    const std::vector<float> row = random_rows(1, kDim, 9);
    for (std::size_t i = 0; i < 3; ++i) updates[i].id = ids.views[i];
    updates[0].metadata = R"({"year":"gone","added":true})";
    updates[1].metadata = "{}";
    updates[2].row = row.data();
    db->update(updates, kDim);
    put(*db, 50, 1, [](std::size_t) { return std::string(R"({"added":true})"); });
    put(*db, 51, 1, [](std::size_t) { return std::string("{}"); });
    const Ids removed("r", 60, 10);
    db->remove(removed.views);
    db->close();
  }
  expect_sound();
  EXPECT_EQ(matching(R"({"added": true})"), (std::vector<Row>{0, 401}));
  EXPECT_EQ(matching(R"({"year": "gone"})"), (std::vector<Row>{0}));
  const std::vector<Row> first_year = matching(R"({"year": 1990})");
  EXPECT_FALSE(std::binary_search(first_year.begin(), first_year.end(), 0U));
  const std::vector<Row> third_year = matching(R"({"year": 1992})");
  EXPECT_TRUE(std::binary_search(third_year.begin(), third_year.end(), 400U));  // carried over
}

TEST_F(ColumnsTest, FollowACompaction) {
  const auto db = open(quiet());
  put(*db, 0, 20'000, describe);
  const Ids removed("r", 100, 9'000);
  db->remove(removed.views);
  db->persist();
  db->compact(nullptr, nullptr);
  expect_sound();
  put(*db, 0, 50, [](std::size_t) { return std::string(R"({"year":"late"})"); });
  db->close();
  expect_sound();
  EXPECT_EQ(matching(R"({"year": "late"})").size(), 50U);
  EXPECT_EQ(matching(R"({"year": "late"})")[0], 11'000U);
}

TEST_F(ColumnsTest, FollowWhatIsWrittenWhileCompacting) {
  const auto db = open(quiet());
  put(*db, 0, 3'000, describe);
  const Ids removed("r", 100, 900);
  db->remove(removed.views);
  bool first = true;
  db->compact(
      [&](std::size_t, std::size_t) {
        if (!std::exchange(first, false)) return;
        put(*db, 5'000, 40, [](std::size_t) { return std::string(R"({"year":"new"})"); });
        Update update;
        update.id = "r7";
        update.metadata = R"({"year":"new","other":1})";
        db->update({&update, 1}, kDim);
        const std::string_view gone = "r8";
        db->remove({&gone, 1});
      },
      nullptr);
  EXPECT_FALSE(first);
  db->close();
  expect_sound();
  EXPECT_EQ(matching(R"({"year": "new"})").size(), 41U);
  EXPECT_EQ(matching(R"({"other": 1})"), (std::vector<Row>{7}));
}

TEST_F(ColumnsTest, FollowARestoreAndARecovery) {
  const auto db = open(quiet());
  put(*db, 0, 300, describe);
  db->create_snapshot("then");
  put(*db, 0, 100, [](std::size_t) { return std::string(R"({"later":[]})"); });
  db->persist();
  db->restore_snapshot("then", true);
  expect_sound();
  put(*db, 300, 30, [](std::size_t) { return std::string(R"({"later":1})"); });
  const std::string crashed = crash_copy("crashed");
  db->close();
  expect_sound();
  path_ = crashed;
  open(quiet())->close();
  expect_sound();
  EXPECT_EQ(matching(R"({"later": 1})").size(), 30U);
  EXPECT_EQ(matching(R"({"later": {"$exists": true}})").size(), 30U);
}

TEST_F(ColumnsTest, AreLimitedInNumber) {
  {
    const auto db = open(quiet());
    put(*db, 0, 100, [](std::size_t i) { return numbered("{\"f", i) + "\":1}"; });
    db->close();
  }
  expect_sound();
  const auto closed = store();
  const MetaStore::ReadTxn txn = closed->read();
  const FieldCatalogue fields(txn);
  EXPECT_EQ(fields.size(), kDefaultIndexedFields);
  EXPECT_EQ(fields.coverage("f0"), FieldCoverage::kColumn);
  EXPECT_EQ(fields.coverage("f99"), FieldCoverage::kUnknown);
  EXPECT_EQ(fields.coverage("g"), FieldCoverage::kUnknown);
}

TEST_F(ColumnsTest, IndexedFieldsNarrowsThemAndIsStored) {
  OpenOptions some = quiet();
  some.indexed_fields = IndexedFields{false, {"year", "who.name", "year"}};
  const auto coverage = [&](const char* path) {
    const auto closed = store();
    return FieldCatalogue(closed->read()).coverage(path);
  };
  {
    const auto db = open(some);
    put(*db, 0, 200, describe);
    db->close();
  }
  expect_sound();
  EXPECT_EQ(coverage("year"), FieldCoverage::kColumn);
  EXPECT_EQ(coverage("who.name"), FieldCoverage::kColumn);
  EXPECT_EQ(coverage("who"), FieldCoverage::kUnknown);
  EXPECT_EQ(coverage("tags"), FieldCoverage::kUnknown);
  {
    const auto db = open(quiet());  // as stored
    put(*db, 200, 200, describe);
    EXPECT_EQ(code_of([&] {
                OpenOptions other = quiet();
                other.indexed_fields = IndexedFields{};
                open(other);
              }),
              ErrorCode::kInvalidInput);
    db->remove(Ids("r", 0, 150).views);
    db->compact(nullptr, nullptr);  // keeps the wish
    db->close();
  }
  expect_sound();
  EXPECT_EQ(coverage("tags"), FieldCoverage::kUnknown);
  EXPECT_EQ(matching(R"({"year": 2019})").size(), 8U);
  OpenOptions others = quiet();
  others.indexed_fields = IndexedFields{false, {"tags"}};
  open(others)->close();
  expect_sound();
  EXPECT_EQ(coverage("year"), FieldCoverage::kUnknown);
  EXPECT_EQ(matching(R"({"tags": "a"})").size(), 84U);
  others.indexed_fields = IndexedFields{};
  open(others)->close();
  expect_sound();
  EXPECT_EQ(matching(R"({"year": 2019})").size(), 8U);
  EXPECT_EQ(coverage("nothing"), FieldCoverage::kNowhere);
}

TEST_F(ColumnsTest, ARestoreKeepsTheFieldsThatAreIndexedNow) {
  {
    const auto db = open(quiet());
    put(*db, 0, 200, describe);
    db->create_snapshot("then");
    db->close();
  }
  OpenOptions some = quiet();
  some.indexed_fields = IndexedFields{false, {"year"}};
  const auto db = open(some);
  put(*db, 0, 100, [](std::size_t) { return std::string(R"({"year":1})"); });
  db->restore_snapshot("then", false);
  EXPECT_EQ(db->count(R"({"year": 1991})"), 7U);
  EXPECT_EQ(db->count(R"({"tags": "a"})"), 67U);
  db->close();
  expect_sound();
  open(quiet())->close();  // as stored
  expect_sound();
  const auto closed = store();
  const FieldCatalogue fields(closed->read());
  EXPECT_EQ(fields.coverage("tags"), FieldCoverage::kUnknown);
  EXPECT_EQ(matching(R"({"year": 1991})").size(), 7U);
}

TEST_F(ColumnsTest, AreMadeInPiecesAndCountWhenTheyAreWhole) {
  {
    const auto db = open(quiet());
    put(*db, 0, 90'000, [](std::size_t i) { return numbered("{\"year\":", i % 7) + "}"; });
    db->close();
  }
  {
    const auto written = store(false);
    FieldCatalogue fields(written->read());
    fields = fields.fresh();
    fields.set_missing(0, 90'000);
    written->update([&](MetaStore::WriteTxn& txn) {
      txn.clear_columns();
      txn.set_column_state(as_byte_span(fields.state_bytes()));
    });
    EXPECT_TRUE(make_missing_columns(*written, 40'000));
    EXPECT_EQ(FieldCatalogue(written->read()).coverage("year"), FieldCoverage::kUnknown);
    EXPECT_EQ(FieldCatalogue(written->read()).missing(), (std::pair<Row, Row>(40'000, 90'000)));
  }
  expect_sound();
  open(quiet())->close();
  expect_sound();
  EXPECT_EQ(matching(R"({"year": 6})").size(), 12'857U);
}

TEST_F(ColumnsTest, DeepVerifyHoldsThemAgainstTheMetadata) {
  {
    const auto db = open(quiet());
    put(*db, 0, 200, describe);
    db->close();
  }
  const auto change = [&](const std::function<void(MetaStore::WriteTxn&)>& change) {
    store(false)->update(change);
  };
  const auto told = [&](const std::string& wanted) {
    const VerifyReport report = verify(path_, {.deep = true});
    return std::any_of(report.problems.begin(), report.problems.end(), [&](const Problem& problem) {
      return problem.what.find(wanted) != std::string::npos;
    });
  };
  std::string good;
  change([&](MetaStore::WriteTxn& txn) {
    good = as_text(txn.column({0, 0}).value_or(ByteSpan{}));
    const filter::ColumnView view(as_byte_span(good));
    filter::ColumnBuilder builder;
    builder.set(17, {});
    txn.put_column({0, 0}, as_byte_span(builder.encode(&view)));
  });
  EXPECT_TRUE(told("the column of 'year' does not say what the metadata say of rows 0 to 199"));
  change([&](MetaStore::WriteTxn& txn) { txn.erase_column({0, 0}); });
  EXPECT_TRUE(told("the column of 'year' does not say"));
  change([&](MetaStore::WriteTxn& txn) {
    const filter::ColumnView view(as_byte_span(good));
    filter::ColumnBuilder builder;
    builder.set(200, std::array{filter::Value::null()});
    txn.put_column({0, 0}, as_byte_span(builder.encode(&view)));
  });
  EXPECT_TRUE(told("knows rows that do not exist"));
  change([&](MetaStore::WriteTxn& txn) { txn.put_column({0, 0}, as_byte_span("nonsense")); });
  EXPECT_TRUE(told("is not what was written"));
  change([&](MetaStore::WriteTxn& txn) {
    txn.put_column({0, 0}, as_byte_span(good));
    txn.put_column({77, 0}, as_byte_span(good));
  });
  EXPECT_TRUE(told("belongs to no field"));
  change([&](MetaStore::WriteTxn& txn) { txn.erase_column({77, 0}); });
  expect_sound();
  change([&](MetaStore::WriteTxn& txn) { txn.put_metadata(5, R"({"other":1})"); });
  EXPECT_TRUE(told("the field 'other' of row 5 has no column"));
}

TEST_F(ColumnsTest, ARepairedDatabaseHasThemMadeAnew) {
  OpenOptions some = quiet();
  some.indexed_fields = IndexedFields{false, {"year"}};
  {
    const auto db = open(some);
    put(*db, 0, 300, describe);
    db->persist();
    put(*db, 300, 20, describe);  // in the log only
    path_ = crash_copy("crashed");
    db->close();
  }
  {
    const auto written = store(false);  // no checksum tells of this
    written->update([](MetaStore::WriteTxn& txn) { txn.put_column({0, 0}, as_byte_span("bad")); });
  }
  const std::string repaired = root_ + "/repaired";
  repair(path_, repaired, {});
  path_ = repaired;
  expect_sound();
  EXPECT_EQ(matching(R"({"year": 1991})").size(), 11U);
  const auto closed = store();
  EXPECT_EQ(FieldCatalogue(closed->read()).coverage("tags"), FieldCoverage::kUnknown);
}

}  // namespace
}  // namespace srvdb
