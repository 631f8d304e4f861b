// Codes and graph across a compaction: carried over, not made again, and as good as new ones.
#include <algorithm>

#include "damage.h"
#include "fixture.h"

namespace srvdb {
namespace {

constexpr std::size_t kDim = 12;
constexpr std::size_t kRows = 8000;

class IndexCompactionTest : public DatabaseTest {
 protected:
  static OpenOptions hnsw() {
    OpenOptions options;
    options.mode = Mode::kHnsw;
    options.ef_construction = 60;
    options.background = false;
    return options;
  }
  // Removes every id "r<n>" whose n is not a multiple of `keep`, and persists.
  static void remove_all_but(Database& db, std::size_t keep) {
    std::vector<std::string> ids;
    for (std::size_t i = 0; i < kRows; ++i) {
      if (i % keep != 0) ids.push_back(numbered("r", i));
    }
    db.remove(std::vector<std::string_view>(ids.begin(), ids.end()));
    db.persist();
  }
  // Share of the exact answers that the graph gives as well.
  static double recall(Database& db) {
    const std::vector<float> queries = random_rows(100, kDim, 99);
    std::size_t right = 0;
    for (std::size_t q = 0; q < 100; ++q) {
      const float* query = queries.data() + q * kDim;
      const auto exact = ids_of(db.search(query, kDim, {.k = 10, .exact = true}));
      for (const std::string& id : ids_of(db.search(query, kDim, {.k = 10, .ef = 60}))) {
        right += std::count(exact.begin(), exact.end(), id) != 0 ? 1u : 0u;
      }
    }
    return static_cast<double>(right) / 1000;
  }
};

TEST_F(IndexCompactionTest, TheKeptRowsStayCodedAndLinkedAndAreFound) {
  testing::warned();  // of earlier tests
  for (const std::size_t keep : {std::size_t{2}, std::size_t{10}}) {
    path_ = root_ + "/keep" + std::to_string(keep);
    {
      const auto db = open(hnsw());
      fill(*db, kRows, kDim);
      db->optimize(2, nullptr, nullptr);
      remove_all_but(*db, keep);
      const double before = recall(*db);
      db->compact(nullptr, nullptr);
      EXPECT_EQ(db->stats().coded_rows, kRows / keep);
      EXPECT_EQ(db->stats().linked_rows, kRows / keep);
      EXPECT_EQ(db->stats().searching, Mode::kHnsw);
      EXPECT_EQ(db->stats().graph_memory_bytes, 0u);  // mapped from its file
      EXPECT_GE(recall(*db), std::min(before, 0.98));
    }
    const auto db = open(hnsw());
    EXPECT_EQ(db->stats().linked_rows, kRows / keep);
    EXPECT_GE(recall(*db), 0.98);
    fill(*db, 1000, kDim, kRows);  // and linking goes on from there
    db->optimize(1, nullptr, nullptr);
    EXPECT_EQ(db->stats().linked_rows, kRows / keep + 1000);
    EXPECT_GE(recall(*db), 0.98);
    EXPECT_FALSE(testing::warned());
  }
}

TEST_F(IndexCompactionTest, RecallAfterReplacingEveryRowIsThatOfAFreshBuild) {
  const auto db = open(hnsw());
  fill(*db, kRows, kDim);
  db->optimize(2, nullptr, nullptr);
  remove_all_but(*db, kRows + 1);
  const std::vector<std::string_view> first = {"r0"};
  db->remove(first);
  const std::vector<float> rows = random_rows(kRows, kDim, 7);
  const Ids ids("r", 0, kRows);
  db->add({ids.views, rows.data(), kDim, {}});
  db->optimize(2, nullptr, nullptr);
  const double replaced = recall(*db);
  db->compact(nullptr, nullptr);
  EXPECT_EQ(db->stats().linked_rows, kRows);
  const double compacted = recall(*db);
  path_ = root_ + "/fresh";
  const auto fresh = open(hnsw());
  fresh->add({ids.views, rows.data(), kDim, {}});
  fresh->optimize(2, nullptr, nullptr);
  EXPECT_GE(replaced, recall(*fresh) - 0.005);
  EXPECT_GE(compacted, recall(*fresh) - 0.005);
}

TEST_F(IndexCompactionTest, ADamagedGraphOrCodesAreLeftBehind) {
  for (const char* file : {"graph.hnsw", "codes.i8"}) {
    path_ = root_ + "/" + file;
    {
      const auto db = open(hnsw());
      fill(*db, kRows, kDim);
      db->optimize(2, nullptr, nullptr);
      remove_all_but(*db, 2);
    }
    std::string bytes = testing::bytes_of(path_ + "/gen-1/" + file);
    bytes[bytes.size() / 2] ^= 1;
    testing::put_bytes(path_ + "/gen-1/" + file, bytes);
    const auto db = open(hnsw());
    testing::warned();
    db->compact(nullptr, nullptr);
    EXPECT_TRUE(testing::warned()) << file;
    EXPECT_EQ(db->stats().linked_rows, 0u) << file;
    EXPECT_EQ(recall(*db), 1);  // an exact scan
    db->optimize(1, nullptr, nullptr);
    EXPECT_EQ(db->stats().linked_rows, kRows / 2) << file;
    EXPECT_GE(recall(*db), 0.98) << file;
  }
}

}  // namespace
}  // namespace srvdb
