#include "srvdb/database/repair.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>

#include "damage.h"
#include "fixture.h"
#include "sample.h"

namespace srvdb {
namespace {

namespace fs = std::filesystem;
using testing::bytes_of;
using testing::put_bytes;

using Records = std::map<std::string, Record>;

Records all_of(Database& db) {
  std::vector<Record> live = db.scroll("", 100'000, true, true);
  const std::vector<std::string> hidden = db.deleted_ids();
  const std::vector<std::string_view> views(hidden.begin(), hidden.end());
  for (auto& record : db.records(views, true, true)) live.push_back(*record);
  Records out;
  for (Record& record : live) out[record.id] = record;
  return out;
}

class RepairTest : public SampleTest {
 protected:
  void SetUp() override {
    SampleTest::SetUp();
    make_sample();
    before_ = read(path_);
    out_ = root_ + "/out";
  }
  static std::shared_ptr<Database> reader(const std::string& path) {
    OpenOptions options;
    options.read_only = true;
    return Database::open(path, options);
  }
  static Records read(const std::string& path) { return all_of(*reader(path)); }
  // Repairs into out_, which must be sound and hold nothing that was not there; gives what it
  // holds.
  Records repaired(const std::string& what, RepairOptions options = {}) {
    fs::remove_all(out_);
    const auto source = look(path_);
    report_ = repair(path_, out_, options);
    EXPECT_EQ(look(path_), source) << what << ": the damaged database was written to";
    const VerifyReport check = verify(out_, {.deep = true});
    EXPECT_TRUE(check.is_sound()) << what << ": "
                                  << (check.problems.empty() ? "" : check.problems[0].what);
    Records after = read(out_);
    EXPECT_EQ(after.size(), report_.saved) << what;
    for (const auto& [id, record] : after) {
      const auto found = before_.find(id);
      if (found == before_.end()) {
        EXPECT_TRUE(is_listed(id)) << what << ": " << id << " is back, and not listed";
        continue;
      }
      const bool same = record.embedding == found->second.embedding &&
                        record.deleted == found->second.deleted &&
                        record.expires_at == found->second.expires_at &&
                        (record.metadata == found->second.metadata || record.metadata == "{}");
      EXPECT_TRUE(same || is_listed(id) || has_general_item())
          << what << ": " << id << " differs, and is not listed";
    }
    for (const auto& [id, record] : before_) {
      if (!after.contains(id)) {
        EXPECT_TRUE(is_listed(id) || has_general_item())
            << what << ": " << id << " is not there, and not listed";
      }
    }
    return after;
  }
  static std::vector<std::string> look(const std::string& path) {
    std::vector<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) files.push_back(entry.path().string() + bytes_of(entry.path()));
    }
    std::sort(files.begin(), files.end());
    return files;
  }
  bool is_listed(const std::string& id) const {
    return std::any_of(report_.items.begin(), report_.items.end(),
                       [&](const RepairItem& item) { return item.id == id; });
  }
  // Something that is said of several ids.
  bool has_general_item() const { return is_listed(""); }
  std::string told() const {
    std::string text;
    for (const RepairItem& item : report_.items) text += item.id + ": " + item.what + "\n";
    return text;
  }

  Records before_;
  std::string out_;
  RepairReport report_;
};

TEST_F(RepairTest, ASoundDatabaseComesBackWhole) {
  const Records after = repaired("sound");
  EXPECT_TRUE(report_.is_complete()) << told();
  EXPECT_EQ(after.size(), before_.size());
  EXPECT_EQ(report_.deleted, 10u);
  for (const auto& [id, record] : before_) {
    ASSERT_TRUE(after.contains(id));
    EXPECT_EQ(after.at(id).metadata, record.metadata);
    EXPECT_EQ(after.at(id).expires_at, record.expires_at);
    EXPECT_EQ(after.at(id).embedding, record.embedding);
  }
  const auto old_log = reader(path_)->change_log({.limit = 1000});
  const auto db = Database::open(out_, {});
  EXPECT_EQ(db->change_log({.limit = 1000}).size(), old_log.size());
  fill(*db, 10, kSampleDim, 5000);         // and it can be written to
  EXPECT_EQ(db->count(), before_.size());  // 10 of which were soft-deleted
}

TEST_F(RepairTest, SavesTheRestWhateverFileIsDamaged) {
  for (const std::string& file : sample_files()) {
    const std::string original = bytes_of(path_ + "/" + file);
    auto versions = damaged_versions(file, original);
    for (const auto& [what, bytes] : versions) {
      put_bytes(path_ + "/" + file, bytes);
      const Records after = repaired(file + " " + what);
      // At most a few rows, or what hung on one page, is lost; half of a file that was cut.
      if (what == "cut") continue;
      EXPECT_GE(after.size() + 12, before_.size()) << file << " " << what << told();
    }
    put_bytes(path_ + "/" + file, original);
  }
}

TEST_F(RepairTest, NamesTheIdsOfDamagedRows) {
  flip(generation("vectors.bin"), 4096 + 100 * 48 + 3);
  const Records after = repaired("one row");
  ASSERT_EQ(report_.items.size(), 1u) << told();
  EXPECT_EQ(report_.items[0].id, "r100");
  EXPECT_EQ(report_.items[0].row, 100u);
  EXPECT_EQ(report_.items[0].kind, RepairItem::Kind::kLost);
  EXPECT_EQ(after.size(), before_.size() - 1);
}

TEST_F(RepairTest, AnIdThatOnlyTheStoreKnowsIsKept) {
  const std::string ids = bytes_of(path_ + "/" + generation("ids.bin"));
  flip(generation("ids.bin"), ids.find("r200") + 1);
  const Records after = repaired("one id");
  EXPECT_TRUE(report_.is_complete()) << told();
  EXPECT_TRUE(after.contains("r200"));
}

TEST_F(RepairTest, WorksWithoutTheManifest) {
  fs::remove(path_ + "/MANIFEST");
  const Records after = repaired("no manifest");
  EXPECT_EQ(after.size(), before_.size());
  EXPECT_TRUE(report_.is_complete()) << told();
  EXPECT_EQ(Database::open(out_, {})->stats().metric, Metric::kCosine);
}

TEST_F(RepairTest, WithoutManifestAndDerivedFilesTheMetricIsAskedFor) {
  fs::remove(path_ + "/MANIFEST");
  fs::remove(path_ + "/" + generation("graph.hnsw"));
  fs::remove(path_ + "/" + generation("codes.i8"));
  repaired("nothing that tells the metric");
  EXPECT_EQ(report_.items.size(), 1u) << told();
  RepairOptions options;
  options.metric = Metric::kL2;
  repaired("metric given", options);
  EXPECT_TRUE(report_.is_complete()) << told();
  EXPECT_EQ(Database::open(out_, {})->stats().metric, Metric::kL2);
}

TEST_F(RepairTest, WorksWithoutTheHeaderOfTheRows) {
  std::string bytes = bytes_of(path_ + "/" + generation("vectors.bin"));
  bytes.replace(0, 4096, 4096, 'z');
  put_bytes(path_ + "/" + generation("vectors.bin"), bytes);
  EXPECT_EQ(repaired("header").size(), before_.size());
  fs::remove(path_ + "/MANIFEST");
  EXPECT_EQ(repaired("header and manifest").size(), before_.size());
  fs::remove(path_ + "/" + generation("codes.i8"));
  EXPECT_EQ(repaired("header, manifest and codes").size(), before_.size());
}

TEST_F(RepairTest, WorksWithoutTheRootOfTheStore) {
  std::string bytes = bytes_of(path_ + "/" + generation("metadata.db"));
  bytes.replace(0, 8192, 8192, 'z');
  put_bytes(path_ + "/" + generation("metadata.db"), bytes);
  const Records after = repaired("no root");
  for (const auto& [id, record] : before_) EXPECT_TRUE(after.contains(id)) << id;
}

TEST_F(RepairTest, WithoutTheStoreTheIdsComeFromTheirFile) {
  fs::remove(path_ + "/" + generation("metadata.db"));
  const Records after = repaired("no store");
  for (const auto& [id, record] : before_) {
    EXPECT_TRUE(after.contains(id)) << id;
    EXPECT_TRUE(is_listed(id)) << id << " may be deleted, and is not listed";
  }
}

TEST_F(RepairTest, EveryPageOfTheStoreMayBeLost) {
  const std::string file = path_ + "/" + generation("metadata.db");
  const std::string original = bytes_of(file);
  for (std::size_t page = 0; page < original.size() / 4096; ++page) {
    std::string bytes = original;
    for (std::size_t i = 0; i < 4096; i += 2) bytes[page * 4096 + i] ^= 0x21;
    put_bytes(file, bytes);
    repaired("page " + std::to_string(page));
  }
}

TEST_F(RepairTest, ReplaysTheLogUpToItsDamage) {
  std::string copy;
  {
    const auto db = open();
    for (std::size_t i = 0; i < 10; ++i) fill(*db, 5, kSampleDim, 1000 + 5 * i, "n");
    copy = crash_copy("crashed");
  }
  path_ = copy;
  before_ = read(copy);
  EXPECT_EQ(repaired("crashed").size(), before_.size());
  EXPECT_TRUE(report_.is_complete()) << told();
  std::string log;
  for (const auto& entry : fs::directory_iterator(copy + "/wal")) {
    log = std::max(log, entry.path().string());
  }
  std::string bytes = bytes_of(log);
  bytes[bytes.rfind("n1025")] ^= 1;
  put_bytes(log, bytes);
  repair(copy, root_ + "/cut", {});
  const Records after = read(root_ + "/cut");
  EXPECT_TRUE(after.contains("n1024"));
  EXPECT_FALSE(after.contains("n1026"));
}

TEST_F(RepairTest, RandomDamageEndsInAReportOrATypedError) {
  const char* const asked = std::getenv("SRVDB_FUZZ_ROUNDS");
  const int rounds = asked != nullptr ? std::atoi(asked) : 60;
  std::mt19937 random(4);
  const std::vector<std::string> names = sample_files();
  for (int round = 0; round < rounds; ++round) {
    std::map<std::string, std::string> originals;
    for (std::size_t i = 0; i < 1 + random() % 4; ++i) {
      const std::string& name = names[random() % names.size()];
      std::string bytes = bytes_of(path_ + "/" + name);
      originals.emplace(name, bytes);
      for (std::size_t n = random() % 20; n > 0 && !bytes.empty(); --n) {
        const std::size_t at = random() % bytes.size();
        const std::size_t length = std::min<std::size_t>(random() % 300, bytes.size() - at);
        switch (random() % 4) {
          case 0:
            bytes[at] = static_cast<char>(random());
            break;
          case 1:
            bytes.replace(at, length, length, static_cast<char>(random() % 2 * 255));
            break;
          case 2:
            bytes.replace(at, length, bytes.substr(random() % bytes.size(), length));
            break;
          default:
            bytes.resize(random() % 8 == 0 ? at : bytes.size());
        }
      }
      put_bytes(path_ + "/" + name, bytes);
    }
    try {
      verify(path_, {.deep = true});
      fs::remove_all(out_);
      repair(path_, out_, {});
      const VerifyReport check = verify(out_, {.deep = true});
      EXPECT_TRUE(check.is_sound()) << "round " << round << ": " << check.problems[0].what;
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ErrorCode::kNotFound || error.code() == ErrorCode::kVersion)
          << "round " << round << ": " << error.what();
    }
    for (const auto& [name, bytes] : originals) put_bytes(path_ + "/" + name, bytes);
  }
}

TEST_F(RepairTest, RefusesWhatItMustNotTouch) {
  EXPECT_EQ(code_of([&] { repair(root_ + "/absent", out_, {}); }), ErrorCode::kNotFound);
  EXPECT_EQ(code_of([&] { repair(path_, path_, {}); }), ErrorCode::kInvalidInput);
  EXPECT_EQ(code_of([&] { repair(path_, path_ + "/inside", {}); }), ErrorCode::kInvalidInput);
  fs::create_directory(out_);
  put_bytes(out_ + "/mine", "kept");
  EXPECT_EQ(code_of([&] { repair(path_, out_, {}); }), ErrorCode::kInvalidInput);
  const auto db = open();
  EXPECT_EQ(code_of([&] { repair(path_, root_ + "/other", {}); }), ErrorCode::kLocked);
  Interrupt interrupt;
  interrupt.stop();
  db->close();
  RepairOptions options;
  options.interrupt = &interrupt;
  EXPECT_EQ(code_of([&] { repair(path_, root_ + "/other", options); }), ErrorCode::kInterrupted);
  EXPECT_FALSE(fs::exists(root_ + "/other"));
  EXPECT_FALSE(fs::exists(root_ + "/other.partial"));
}

}  // namespace
}  // namespace srvdb
