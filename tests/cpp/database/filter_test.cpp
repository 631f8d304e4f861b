// What a filter finds: the rows that match at that moment, wherever their metadata wait, whatever
// was kept of earlier answers.
#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "database/fixture.h"
#include "srvdb/database/facet_count.h"
#include "srvdb/filter/expression.h"

namespace srvdb {
namespace {

using Texts = std::vector<std::string>;

std::vector<std::string_view> views(const Texts& texts) {
  return {texts.begin(), texts.end()};
}

class FilterTest : public DatabaseTest {
 protected:
  // Rows "r<first>" … with {"n": number, "parity": …, "tags": […]}.
  static void add(Database& db, std::size_t n, std::size_t first = 0) {
    const std::vector<float> rows = random_rows(n, 4, static_cast<std::uint32_t>(first + 1));
    const Ids ids("r", first, n);
    Texts metadata;
    for (std::size_t i = first; i < first + n; ++i) metadata.push_back(document(i));
    EXPECT_EQ(db.add({ids.views, rows.data(), 4, views(metadata)}), n);
  }
  static OpenOptions quiet() {
    OpenOptions options;
    options.background = false;
    return options;
  }
  static std::string document(std::size_t i) {
    if (i % 11 == 10) return "{}";
    std::string out = numbered("{\"n\": ", i);
    out.append(i % 2 == 0 ? ", \"parity\": \"even\"" : ", \"parity\": \"odd\"");
    out.append(numbered(", \"tags\": [\"t", i % 3)).append(numbered("\", \"t", i % 5));
    return out.append("\"]}");
  }
  static Texts ids_where(const Database& db, std::string_view where, std::size_t page = 1000) {
    Texts out;
    for (std::string after;;) {
      const std::vector<Record> records = db.scroll(after, page, false, false, where);
      for (const Record& record : records) out.push_back(record.id);
      if (records.size() < page) return out;
      after = records.back().id;
    }
  }
  // By reading every document.
  static Texts ids_by_reading(const Database& db, std::string_view where) {
    const auto expression = filter::Expression::parse(where);
    Texts out;
    for (const Record& record : db.scroll("", 1u << 20, true, false)) {
      if (expression->matches(record.id, record.metadata)) out.push_back(record.id);
    }
    return out;
  }
  static Texts ids_by_search(const Database& db, std::string_view where) {
    const std::vector<float> query = random_rows(1, 4, 99);
    Texts out = ids_of(db.search(query.data(), 4, {.k = 1u << 20, .exact = true, .where = where}));
    std::sort(out.begin(), out.end());
    return out;
  }
};

const Texts kFilters = {
    R"({})",
    R"({"parity": "even"})",
    R"({"n": {"$gte": 100, "$lt": 300}})",
    R"({"tags": {"$contains": "t4"}, "parity": {"$ne": "odd"}})",
    R"({"$or": [{"n": {"$in": [1, 2, 3, 250]}}, {"$id": {"$prefix": "r1"}}]})",
    R"({"$not": {"n": {"$exists": true}}})",
    R"({"$id": {"$nin": ["r5", "r6", "nobody"]}, "n": {"$lt": 20}})",
    R"({"new": true})",
    R"({"$id": "r7"})",
};

TEST_F(FilterTest, FindsRowsThatWaitAndRowsThatAreStored) {
  const auto db = open(quiet());
  add(*db, 300);
  for (const std::string& where : kFilters)
    EXPECT_EQ(db->count(where), ids_by_reading(*db, where).size());
  db->persist();
  add(*db, 300, 300);
  for (const std::string& where : kFilters) {
    SCOPED_TRACE(where);
    const Texts expected = ids_by_reading(*db, where);
    EXPECT_EQ(db->count(where), expected.size());
    EXPECT_EQ(ids_where(*db, where), expected);
    EXPECT_EQ(ids_where(*db, where, 7), expected);
    EXPECT_EQ(ids_by_search(*db, where), expected);
  }
}

TEST_F(FilterTest, AnAnswerFollowsEveryKindOfChange) {
  std::mt19937 random(5);
  OpenOptions options = small_buffer();
  auto db = open(options);
  add(*db, 500);
  const std::vector<float> vectors = random_rows(64, 4, 3);
  std::size_t next = 500;
  const auto some_ids = [&] {
    std::set<std::string> ids;
    for (int i = 0; i < 5; ++i) ids.insert(numbered("r", random() % next));
    return Texts(ids.begin(), ids.end());
  };
  for (int step = 0; step < 160; ++step) {
    const Texts ids = some_ids();
    const auto which = random() % 12;
    if (which == 0) {
      add(*db, 20, next);
      next += 20;
    } else if (which == 1) {
      db->remove(views(ids));
    } else if (which == 2) {
      db->soft_delete(views(ids));
    } else if (which == 3) {
      db->restore(views(ids));
    } else if (which == 4) {
      const Texts texts(ids.size(), R"({"new": true, "n": 123})");
      db->upsert({views(ids), vectors.data(), 4, views(texts)});
    } else if (which < 8) {
      std::vector<Update> updates;
      for (const std::string& id : ids) {
        if (!db->contains(id)) continue;
        Update update{.id = id};
        if (which != 5) update.metadata = random() % 2 == 0 ? R"({"new": true})" : R"({"n": 2})";
        if (which != 6) update.row = vectors.data() + 4 * (random() % 64);
        updates.push_back(update);
      }
      db->update(updates, 4);
    } else if (which == 8) {
      db->persist();
    } else if (which == 9 && step % 3 == 0) {
      db->compact({}, nullptr);
    } else if (which == 10 && step % 3 == 0) {
      db = nullptr;
      db = open(options);
    } else {
      db->update_where(R"({"tags": "t1", "n": {"$gt": 300, "$lt": 320}})",
                       {.id = {}, .metadata = R"({"new": true, "tags": ["t1"]})"});
    }
    const std::string& where = kFilters[random() % kFilters.size()];
    SCOPED_TRACE(testing::Message() << "step " << step << ", change " << which << ": " << where);
    const Texts expected = ids_by_reading(*db, where);
    ASSERT_EQ(db->count(where), expected.size());
    ASSERT_EQ(ids_where(*db, where), expected);
    ASSERT_EQ(ids_by_search(*db, where), expected);
  }
}

TEST_F(FilterTest, EverySearchReturnsAsManyHitsAsMatch) {
  for (const Mode mode : {Mode::kFlat, Mode::kHnsw, Mode::kSq8}) {
    OpenOptions options;
    options.mode = mode;
    const auto db = Database::open(path_ + mode_name(mode), options);
    add(*db, 3000);
    db->optimize(1, {}, nullptr);
    const std::vector<float> queries = random_rows(20, 4, 17);
    for (const std::string& where : kFilters) {
      SCOPED_TRACE(where);
      const std::size_t matches = db->count(where);
      for (int q = 0; q < 20; ++q) {
        const SearchResult found =
            db->search(queries.data() + std::size_t{4} * q, 4, {.k = 10, .where = where});
        ASSERT_EQ(found.hits.size(), std::min<std::size_t>(10, matches));
      }
    }
  }
}

TEST_F(FilterTest, ABatchTakesOneFilterOrOneForEachQuery) {
  const auto db = open();
  add(*db, 400);
  const std::vector<float> queries = random_rows(kFilters.size(), 4, 23);
  const auto wheres = views(kFilters);
  const auto found = db->search_batch(queries.data(), wheres.size(), 4, {.k = 9}, nullptr, wheres);
  for (std::size_t i = 0; i < wheres.size(); ++i) {
    const float* const query = queries.data() + 4 * i;
    EXPECT_EQ(ids_of(found[i]), ids_of(db->search(query, 4, {.k = 9, .where = wheres[i]})));
  }
  const auto same = db->search_batch(queries.data(), 5, 4, {.k = 9, .where = wheres[1]});
  for (std::size_t i = 0; i < 5; ++i) {
    const float* const query = queries.data() + 4 * i;
    EXPECT_EQ(ids_of(same[i]), ids_of(db->search(query, 4, {.k = 9, .where = wheres[1]})));
  }
  EXPECT_EQ(code_of([&] { db->search_batch(queries.data(), 3, 4, {.k = 9}, nullptr, wheres); }),
            ErrorCode::kInvalidInput);
}

TEST_F(FilterTest, AFilterThatCannotBeReadIsRefused) {
  const auto db = open();
  add(*db, 10);
  const std::vector<float> query = random_rows(1, 4);
  for (const std::string_view where : {"{", "[]", R"({"$what": 1})", R"({"n": {"$gt": null}})"}) {
    EXPECT_EQ(code_of([&] { db->count(where); }), ErrorCode::kFilter);
    EXPECT_EQ(code_of([&] { db->search(query.data(), 4, {.where = where}); }), ErrorCode::kFilter);
    EXPECT_EQ(code_of([&] { db->remove_where(where); }), ErrorCode::kFilter);
    EXPECT_EQ(code_of([&] { db->facet("n", where, 10); }), ErrorCode::kFilter);
  }
  EXPECT_EQ(db->count(), 10u);
}

TEST_F(FilterTest, SoftDeletedRowsMatchOnlyWhereAskedFor) {
  const auto db = open();
  add(*db, 100);
  const std::string where = R"({"parity": "even"})";
  const std::size_t before = db->count(where);
  EXPECT_EQ(db->soft_delete(std::vector<std::string_view>{"r2", "r4", "r5"}), 3u);
  EXPECT_EQ(db->count(where), before - 2);
  const std::vector<float> query = random_rows(1, 4);
  const auto search = [&](bool deleted) {
    return db->search(query.data(), 4, {.k = 100, .include_deleted = deleted, .where = where})
        .hits.size();
  };
  EXPECT_EQ(search(false), before - 2);
  EXPECT_EQ(search(true), before);
  EXPECT_EQ(search(false), before - 2);
  EXPECT_EQ(db->scroll("", 1000, false, false, where, true).size(), before);
  EXPECT_EQ(db->remove_where(where), before - 2);
  EXPECT_EQ(db->restore(std::vector<std::string_view>{"r2", "r4", "r5"}), 3u);
  EXPECT_EQ(ids_where(*db, where), (Texts{"r2", "r4"}));
}

TEST_F(FilterTest, ChangesByFilterConcernJustTheRowsThatMatch) {
  auto db = open();
  add(*db, 200);
  const std::string where = R"({"n": {"$lt": 50}})";
  const std::size_t n = db->count(where);
  EXPECT_EQ(db->update_where(where, {.id = {}, .metadata = R"({"mark": 1})"}), n);
  EXPECT_EQ(db->update_where(where, {.id = {}, .metadata = R"({"mark": 2})"}), 0u);
  EXPECT_EQ(db->count(R"({"mark": 1})"), n);
  EXPECT_EQ(db->soft_delete_where(R"({"$id": {"$in": ["r1", "r2", "r3"]}})"), 3u);
  EXPECT_EQ(db->deleted_ids(), (Texts{"r1", "r2", "r3"}));
  EXPECT_EQ(db->remove_where(R"({"mark": 1})"), n - 3);
  EXPECT_EQ(db->count(), 200 - n);
  EXPECT_EQ(code_of([&] { db->update_where(where, {}); }), ErrorCode::kInvalidInput);
  EXPECT_EQ(code_of([&] { db->remove_where({}); }), ErrorCode::kFilter);
  db = nullptr;
  db = open();
  EXPECT_EQ(db->count(), 200 - n);
  EXPECT_EQ(db->count(R"({"mark": 1})"), 0u);
}

TEST_F(FilterTest, MoreEditsThanAreRememberedAreSeen) {
  const auto db = open(quiet());
  constexpr std::size_t kRows = 70'000;
  for (std::size_t first = 0; first < kRows; first += 10'000) add(*db, 10'000, first);
  EXPECT_EQ(db->count(R"({"mark": 1})"), 0u);
  const std::string where = R"({"n": {"$exists": true}})";
  const std::size_t n = db->count(where);
  EXPECT_EQ(db->update_where(where, {.id = {}, .metadata = R"({"mark": 1})"}), n);
  EXPECT_GT(n, 60'000u);
  EXPECT_EQ(
      db->update_where(R"({"mark": {"$exists": false}})", {.id = {}, .metadata = R"({"mark": 1})"}),
      kRows - n);
  EXPECT_EQ(db->count(where), 0u);
  EXPECT_EQ(db->count(R"({"mark": 1})"), kRows);
}

TEST_F(FilterTest, FacetsCountEachValueOncePerRow) {
  const auto db = open(quiet());
  add(*db, 300);
  const auto check = [&](std::string_view field, std::string_view where) {
    std::map<std::string, std::size_t> expected;
    for (const Record& record : db->scroll("", 1000, true, false, where)) {
      FacetCount one;
      one.add_row(field, record.metadata);
      for (const FacetValue& value : one.most_frequent(100)) {
        EXPECT_EQ(value.count, 1u);
        ++expected[value.value];
      }
    }
    std::map<std::string, std::size_t> found;
    std::size_t before = ~std::size_t{0};
    for (const FacetValue& value : db->facet(field, where, 1000)) {
      EXPECT_LE(value.count, before);
      before = value.count;
      found[value.value] = value.count;
    }
    EXPECT_EQ(found, expected);
  };
  for (int round = 0; round < 2; ++round) {
    check("parity", "");
    check("tags", "");
    check("tags", R"({"n": {"$lt": 100}})");
    check("n", R"({"parity": "odd"})");
    check("nothing", "");
    db->persist();
    db->update_where(R"({"n": 7})",
                     {.id = {}, .metadata = R"({"tags": ["t1", "t1", null, "\u00e9\n\""]})"});
  }
  EXPECT_EQ(db->facet("parity", "", 1).size(), 1u);
}

TEST_F(FilterTest, AFilterSeesABatchWhollyOrNotAtAll) {
  const auto db = open(small_buffer());
  constexpr std::size_t kBatch = 8;
  std::atomic<bool> done = false;
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      const std::vector<float> query = random_rows(1, 4, static_cast<std::uint32_t>(t));
      while (!done) {
        const std::string where = R"({"kind": "x"})";
        ASSERT_EQ(db->count(where) % kBatch, 0u);
        ASSERT_EQ(db->scroll("", 100'000, false, false, where).size() % kBatch, 0u);
        for (const FacetValue& value : db->facet("kind", "", 10)) {
          ASSERT_EQ(value.count % kBatch, 0u) << value.value;
        }
        const auto found =
            db->search(query.data(), 4, {.k = 100'000, .exact = true, .where = where});
        ASSERT_EQ(found.hits.size() % kBatch, 0u);
      }
    });
  }
  const std::vector<float> rows = random_rows(kBatch, 4);
  for (std::size_t i = 0; i < 150; ++i) {
    const Ids ids("b", i * kBatch, kBatch);
    const Texts texts(kBatch, R"({"kind": "x"})");
    db->add({ids.views, rows.data(), 4, views(texts)});
    if (i % 3 == 0) {  // flips a whole batch to and fro
      std::vector<Update> updates;
      for (const std::string_view id : ids.views) {
        updates.push_back({.id = id, .metadata = R"({"kind": "y"})"});
      }
      db->update(updates, 4);
    }
    if (i % 20 == 0) db->persist();
    if (i % 5 == 4) db->remove(Ids("b", (i - 1) * kBatch, kBatch).views);
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
}

TEST_F(FilterTest, ExpiredRowsMatchNoMore) {
  const auto db = open();
  const std::vector<float> rows = random_rows(2, 4);
  const Texts texts(2, R"({"a": 1})");
  const std::vector<std::int64_t> moments = {1, 0};
  db->add({std::vector<std::string_view>{"old", "new"}, rows.data(), 4, views(texts), 0, false,
           moments});
  EXPECT_EQ(db->count(R"({"a": 1})"), 1u);
  EXPECT_EQ(ids_where(*db, R"({"a": 1})"), Texts{"new"});
}

}  // namespace
}  // namespace srvdb
