// A small closed database with everything in it, and its files damaged in every way.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "damage.h"
#include "fixture.h"

namespace srvdb {

inline constexpr std::size_t kSampleDim = 12;
inline constexpr std::size_t kSampleRows = 430;

class SampleTest : public DatabaseTest {
 protected:
  // 400 rows r0…r399 with metadata; r0…r9 replaced, r20…r29 removed, r30…r39 soft-deleted,
  // r40…r49 expire far away; 20 more without metadata; codes and a graph; a log of which all is
  // applied.
  void make_sample() {
    OpenOptions options;
    options.mode = Mode::kHnsw;
    options.background = false;
    const auto db = open(options);
    put(*db, 0, 400, 0);
    put(*db, 0, 10, 0);
    const Ids removed("r", 20, 10);
    db->remove(removed.views);
    const Ids hidden("r", 30, 10);
    db->soft_delete(hidden.views);
    fill(*db, 20, kSampleDim, 400);
    db->optimize(1, nullptr, nullptr);
    db->persist();
    db->close();
  }
  static void put(Database& db, std::size_t first, std::size_t n, std::int64_t) {
    const std::vector<float> rows = random_rows(n, kSampleDim, static_cast<std::uint32_t>(n));
    const Ids ids("r", first, n);
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < n; ++i) texts.push_back(metadata_of(first + i));
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    std::vector<std::int64_t> expires_at;
    for (std::size_t i = first; i < first + n; ++i) {
      expires_at.push_back(i >= 40 && i < 50 ? kFarAway + static_cast<std::int64_t>(i) : 0);
    }
    Batch batch{ids.views, rows.data(), kSampleDim, views};
    batch.expires_at = expires_at;
    EXPECT_EQ(db.upsert(batch), n);
  }
  static std::string metadata_of(std::size_t i) {
    return numbered("{\"i\":", i) + ",\"text\":\"" + std::string(i % 50, 'x') + "\"}";
  }
  static constexpr std::int64_t kFarAway = 4'000'000'000'000;

  static std::string generation(const std::string& name) { return "gen-1/" + name; }
  std::vector<std::string> sample_files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_)) {
      const std::string name = entry.path().string().substr(path_.size() + 1);
      if (!entry.is_regular_file() || name == "LOCK" || name.ends_with("-lock")) continue;
      names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  void flip(const std::string& file, std::size_t at) {
    std::string bytes = testing::bytes_of(path_ + "/" + file);
    ASSERT_LT(at, bytes.size());
    bytes[at] = static_cast<char>(bytes[at] ^ 0x40);
    testing::put_bytes(path_ + "/" + file, bytes);
  }
  // A byte flipped, the end cut off, a part zeroed, a part taken from elsewhere in the file: at
  // places where the file holds something that counts.
  static std::vector<std::pair<std::string, std::string>> damaged_versions(
      const std::string& file, const std::string& original) {
    const bool pages = file.ends_with("metadata.db");
    const bool sums = file.ends_with("metadata.crc");
    // Of metadata.db the newer of the first two pages, of its checksums those of all pages.
    const std::size_t at = pages ? 4096 + 100 : sums ? 512 + 9 : original.size() / 2 + 1;
    const std::size_t n = std::min<std::size_t>(sums ? 4096 : 64, original.size() - at);
    std::vector<std::pair<std::string, std::string>> out;
    std::string flipped = original;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    for (std::size_t i = at; sums && i < at + n; i += 4) flipped[i] ^= 0x10;  // of every page
    out.emplace_back("flipped", flipped);
    out.emplace_back("cut",
                     original.substr(0, sums || pages ? original.size() / 2 : original.size() - 3));
    std::string zeroed = original;
    zeroed.replace(at, n, n, '\0');
    if (zeroed != original) out.emplace_back("zeroed", zeroed);
    std::string spliced = original;
    spliced.replace(at, n, original.substr(at / 3, n));
    if (spliced != original) out.emplace_back("spliced", spliced);
    return out;
  }
};

}  // namespace srvdb
