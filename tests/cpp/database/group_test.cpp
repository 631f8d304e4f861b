// The best rows of the best groups: against brute force, for one query and for many, and beside
// changes.
#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include "database/fixture.h"

namespace srvdb {
namespace {

using Texts = std::vector<std::string>;

constexpr std::size_t kDim = 4;
constexpr std::size_t kRows = 600;

class GroupTest : public DatabaseTest {
 protected:
  // The group of row i as JSON text; "" where it is in none.
  static std::string group(std::size_t i) {
    if (i % 7 == 0) return "";
    return i < 300 ? std::to_string(i % 3) : numbered("\"g", i % 40).append("\"");
  }
  static std::string document(std::size_t i) {
    const std::string value = group(i);
    const std::string n = numbered("{\"n\": ", i);
    if (!value.empty()) return n + ", \"doc\": " + value + "}";
    return n + (i % 2 == 0 ? ", \"doc\": [1, 2]}" : "}");
  }
  std::shared_ptr<Database> filled() {
    OpenOptions options;
    options.metric = Metric::kL2;
    auto db = open(options);
    const Ids ids("", 0, kRows);
    Texts texts;
    for (std::size_t i = 0; i < kRows; ++i) texts.push_back(document(i));
    const std::vector<std::string_view> metadata(texts.begin(), texts.end());
    EXPECT_EQ(db->add({ids.views, rows_.data(), kDim, metadata}), kRows);
    return db;
  }
  // The rows below `end` that a search must find.
  Texts expected(const float* query, std::size_t k, std::size_t size, std::size_t end,
                 const Texts& among = {}) const {
    std::vector<std::pair<double, std::size_t>> order;
    for (std::size_t i = 0; i < end; ++i) {
      double distance = 0;
      for (std::size_t d = 0; d < kDim; ++d) {
        const double apart = double{rows_[i * kDim + d]} - double{query[d]};
        distance += apart * apart;
      }
      order.emplace_back(distance, i);
    }
    std::sort(order.begin(), order.end());
    Texts out;
    std::map<std::string, std::size_t> counts;
    for (const auto& [distance, i] : order) {
      const std::string value = group(i);
      if (value.empty() || (!counts.contains(value) && counts.size() == k)) continue;
      if (!among.empty() && std::ranges::find(among, value) == among.end()) continue;
      if (++counts[value] <= size) out.push_back(std::to_string(i));
    }
    return out;
  }
  static Texts ids_of(const SearchResult& result) {
    Texts out;
    for (const Hit& hit : result.hits) out.emplace_back(hit.id);
    return out;
  }

  std::vector<float> rows_ = random_rows(kRows, kDim, 8);
};

TEST_F(GroupTest, EachQueryOfABatchGetsTheBestOfTheBestGroups) {
  const auto db = filled();
  constexpr std::size_t kQueries = 12;
  const std::vector<float> queries = random_rows(kQueries, kDim, 9);
  for (const auto& [k, size] : std::vector<std::pair<std::size_t, std::size_t>>{
           {1, 1}, {5, 1}, {5, 3}, {30, 2}, {kRows, kRows}}) {
    for (const std::size_t threads : {1u, 3u, 0u}) {
      const SearchOptions options{
          .k = k, .threads = threads, .group_by = "doc", .group_size = size};
      const auto found = db->search_groups(queries.data(), kQueries, kDim, options);
      ASSERT_EQ(found.size(), kQueries);
      for (std::size_t i = 0; i < kQueries; ++i) {
        EXPECT_EQ(ids_of(found[i]), expected(&queries[i * kDim], k, size, kRows));
        ASSERT_EQ(found[i].groups.size(), found[i].hits.size());
        for (std::size_t h = 0; h < found[i].hits.size(); ++h) {
          EXPECT_EQ(found[i].groups[h], group(std::stoul(std::string(found[i].hits[h].id))));
        }
      }
    }
  }
}

TEST_F(GroupTest, EachQueryMayHaveAFilterAndGroupsOfItsOwn) {
  const auto db = filled();
  const std::vector<float> queries = random_rows(3, kDim, 10);
  const std::vector<std::string_view> wheres{R"({"n": {"$lt": 450}})", "", R"({"n": {"$lt": 20}})"};
  const std::vector<Texts> among{{"1", "\"g7\""}, {}, {"0", "nobody's"}};
  const SearchOptions options{.k = 5, .group_by = "doc", .group_size = 4};
  const auto found = db->search_groups(queries.data(), 3, kDim, options, nullptr, wheres);
  const auto some = db->search_groups(queries.data(), 3, kDim, options, nullptr, wheres,
                                      std::vector<Texts>{among[0], {"2"}, {"0"}});
  const std::size_t ends[] = {450, kRows, 20};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(ids_of(found[i]), expected(&queries[i * kDim], 5, 4, ends[i]));
    const Texts& groups = i == 1 ? Texts{"2"} : i == 0 ? among[0] : Texts{"0"};
    EXPECT_EQ(ids_of(some[i]), expected(&queries[i * kDim], 5, 4, ends[i], groups));
  }
}

TEST_F(GroupTest, WhatIsWrongIsRefused) {
  const auto db = filled();
  std::vector<float> queries = random_rows(3, kDim, 11);
  const auto ask = [&](const SearchOptions& options, std::vector<std::string_view> wheres = {}) {
    return code_of([&] { db->search_groups(queries.data(), 3, kDim, options, nullptr, wheres); });
  };
  EXPECT_EQ(ask({.k = 3}), ErrorCode::kInvalidInput);
  EXPECT_EQ(ask({.k = 0, .group_by = "doc"}), ErrorCode::kInvalidInput);
  EXPECT_EQ(ask({.k = 3, .group_by = "doc", .group_size = 0}), ErrorCode::kInvalidInput);
  EXPECT_EQ(ask({.k = 3, .group_by = "doc"}, {"", ""}), ErrorCode::kInvalidInput);
  EXPECT_EQ(ask({.k = 3, .group_by = "doc"}, {"", "{", ""}), ErrorCode::kFilter);
  queries[2 * kDim] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(ask({.k = 3, .group_by = "doc"}), ErrorCode::kInvalidInput);
}

TEST_F(GroupTest, ARowWithSeveralValuesIsInNoGroup) {
  const auto db = open();
  const Texts texts{R"({"a": {"b": 1}})",
                    R"({"a": [{"b": 2}]})",
                    R"({"a": [{"b": 1}, {"b": 2}]})",
                    R"({"a": {"b": 3}, "a.b": 3.0})",
                    R"({"a": {"b": 3}, "a.b": {}})",
                    R"({"a": {"b": [1]}})",
                    R"({"a": {"b": {}}})",
                    R"({"a": {"b": null}})"};
  const std::vector<std::string_view> metadata(texts.begin(), texts.end());
  const Ids ids("", 0, texts.size());
  std::vector<float> rows(texts.size() * kDim, 1.0F);
  db->add({ids.views, rows.data(), kDim, metadata});
  const SearchOptions options{.k = 9, .group_by = "a.b", .group_size = 9};
  const auto found = db->search_groups(rows.data(), 1, kDim, options);
  EXPECT_EQ(ids_of(found[0]), (Texts{"0", "1", "7"}));
  EXPECT_EQ(found[0].groups, (Texts{"1", "2", "null"}));
}

// Every round replaces all rows of one moment by those of another, in one batch.
TEST_F(GroupTest, AGroupIsSeenWhollyBesideChanges) {
  constexpr std::size_t kGroup = 50;
  const auto db = open(small_buffer());
  const std::vector<float> rows = random_rows(kGroup, kDim, 12);
  const Ids ids("r", 0, kGroup);
  const auto put = [&](std::size_t round) {
    const Texts texts(kGroup, numbered("{\"round\": ", round).append("}"));
    const std::vector<std::string_view> metadata(texts.begin(), texts.end());
    db->upsert({ids.views, rows.data(), kDim, metadata});
  };
  put(0);
  std::atomic<bool> over{false};
  std::thread writer([&] {
    for (std::size_t round = 1; round <= 40; ++round) put(round);
    over = true;
  });
  const std::vector<float> queries = random_rows(4, kDim, 13);
  do {
    const SearchOptions options{.k = 3,
                                .threads = 2,
                                .where = R"({"round": {"$gte": 0}})",
                                .group_by = "round",
                                .group_size = kGroup};
    for (const SearchResult& found : db->search_groups(queries.data(), 4, kDim, options)) {
      EXPECT_EQ(found.hits.size(), kGroup);
      EXPECT_TRUE(std::ranges::all_of(
          found.groups, [&](const std::string& group) { return group == found.groups[0]; }));
    }
  } while (!over);
  writer.join();
}

}  // namespace
}  // namespace srvdb
