// A database in a directory of its own, removed at the end; small deterministic data.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/base/error.h"
#include "srvdb/database/database.h"
#include "srvdb/storage/wal_tail.h"
#include "support/code_of.h"

namespace srvdb {

// n × dim standard normal floats; the same for the same seed.
inline std::vector<float> random_rows(std::size_t n, std::size_t dim, std::uint32_t seed = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(n * dim);
  for (float& value : out) value = normal(generator);
  return out;
}

// "<prefix><n>".
inline std::string numbered(std::string_view prefix, std::size_t n) {
  std::string out(prefix);
  out.append(std::to_string(n));
  return out;
}

// Ids "<prefix><first>" … and the views a Batch wants.
struct Ids {
  Ids(std::string_view prefix, std::size_t first, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) texts.push_back(numbered(prefix, first + i));
    views.assign(texts.begin(), texts.end());
  }
  std::vector<std::string> texts;
  std::vector<std::string_view> views;
};

// Where test databases lie: in memory where there is room, because the tests sync thousands of
// times and none of them looks at what a real disk does with that.
inline std::filesystem::path scratch_root() {
  std::error_code ignored;
  const std::filesystem::path memory = "/dev/shm";
  const bool asked = std::getenv("TMPDIR") != nullptr;
  const bool roomy = std::filesystem::space(memory, ignored).available + 1 > (1u << 30);
  if (!asked && !ignored && roomy && ::access(memory.c_str(), W_OK) == 0) return memory;
  return std::filesystem::temp_directory_path();
}

class DatabaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (scratch_root() / "srvdb-test-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    path_ = name.append("/db");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::shared_ptr<Database> open(OpenOptions options = {}) {
    return Database::open(path_, options);
  }
  static OpenOptions small_buffer() {
    OpenOptions options;
    options.flush_rows = 16;  // larger batches go straight to the files
    options.background = false;
    return options;
  }
  // What kill -9 would leave of the open database: a copy of its files at this moment.
  std::string crash_copy(const std::string& name) {
    const std::string to = std::filesystem::path(root_) / name;
    std::filesystem::copy(path_, to, std::filesystem::copy_options::recursive);
    return to;
  }
  // The last segment of a killed database's log, with what the process left in the tail.
  static std::string settled_log(const std::string& database) {
    settle_wal_tail(posix_file_system(), database + "/wal");
    std::string last;
    for (const auto& entry : std::filesystem::directory_iterator(database + "/wal")) {
      last = std::max(last, entry.path().string());
    }
    return last;
  }
  static std::vector<std::string> ids_of(const SearchResult& result) {
    std::vector<std::string> out;
    for (const Hit& hit : result.hits) out.emplace_back(hit.id);
    return out;
  }
  // add() of n rows with ids "<prefix><first>"….
  static std::vector<float> fill(Database& db, std::size_t n, std::size_t dim,
                                 std::size_t first = 0, std::string_view prefix = "r") {
    const std::vector<float> rows = random_rows(n, dim, static_cast<std::uint32_t>(first + 1));
    const Ids ids(prefix, first, n);
    EXPECT_EQ(db.add({ids.views, rows.data(), dim, {}}), n);
    return rows;
  }

  std::string root_;
  std::string path_;
};

}  // namespace srvdb
