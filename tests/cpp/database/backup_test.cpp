// Backups: full copies of a database in use.
#include <filesystem>
#include <string>

#include "fixture.h"
#include "model.h"
#include "srvdb/storage/file.h"

namespace srvdb {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDim = 6;

class BackupTest : public DatabaseTest {
 protected:
  std::shared_ptr<Database> open_snapshot(const std::string& name) const {
    OpenOptions options;
    options.read_only = true;
    return Database::open(path_ + "/snapshots/" + name, options);
  }
};

TEST_F(BackupTest, ABackupIsADatabaseThatSharesNothing) {
  const auto db = open(small_buffer());
  Operations operations(5, kDim, 8, 40);
  Model model;
  run(operations, *db, model, 20);
  db->optimize(1, nullptr, nullptr);
  db->create_snapshot("s");
  const Model saved = model;
  const std::string to = root_ + "/backup";
  db->backup(to);
  run(operations, *db, model, 10);
  for (const auto& entry : fs::recursive_directory_iterator(to)) {
    if (!entry.is_regular_file()) continue;
    EXPECT_EQ(fs::hard_link_count(entry.path()), 1u);
  }
  const auto copy = Database::open(to, small_buffer());
  EXPECT_EQ(difference(*copy, saved), "");
  EXPECT_TRUE(copy->list_snapshots().empty());
  fill(*copy, 3, kDim, 7000);
  EXPECT_EQ(difference(*db, model), "");
  EXPECT_EQ(code_of([&] { db->backup(to); }), ErrorCode::kInvalidInput);
  fs::create_directory(root_ + "/empty");
  db->backup(root_ + "/empty");
  EXPECT_EQ(difference(*Database::open(root_ + "/empty", small_buffer()), model), "");

  // Of a snapshot: a state of the past to go on from.
  open_snapshot("s")->backup(root_ + "/past");
  const auto past = Database::open(root_ + "/past", small_buffer());
  EXPECT_EQ(difference(*past, saved), "");
  fill(*past, 3, kDim, 7000);
}

TEST_F(BackupTest, ACompressedBackupIsOneFileThatIsRestoredWhole) {
  const auto db = open(small_buffer());
  Operations operations(6, kDim, 8, 40);
  Model model;
  run(operations, *db, model, 20);
  const std::string file = root_ + "/backup.tar.zst";
  db->backup(file, true);
  EXPECT_EQ(code_of([&] { db->backup(file, true); }), ErrorCode::kInvalidInput);
  const Model saved = model;
  run(operations, *db, model, 10);
  Database::restore_backup(file, root_ + "/restored");
  EXPECT_EQ(difference(*Database::open(root_ + "/restored", small_buffer()), saved), "");
  EXPECT_EQ(code_of([&] { Database::restore_backup(file, root_ + "/restored"); }),
            ErrorCode::kInvalidInput);
  EXPECT_EQ(code_of([&] { Database::restore_backup(root_ + "/none", root_ + "/x"); }),
            ErrorCode::kNotFound);
  fs::resize_file(file, fs::file_size(file) / 2);
  EXPECT_EQ(code_of([&] { Database::restore_backup(file, root_ + "/x"); }), ErrorCode::kCorruption);
  EXPECT_FALSE(fs::exists(root_ + "/x"));
  for (const auto& entry : fs::directory_iterator(root_)) {
    EXPECT_EQ(entry.path().string().find(".partial"), std::string::npos) << entry.path();
  }
}

}  // namespace
}  // namespace srvdb
