#include "srvdb/storage/row_files.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <thread>

#include "srvdb/base/error.h"
#include "support/code_of.h"
#include "support/simulated_files.h"

namespace srvdb {
namespace {

using testing::SimulatedFiles;

constexpr std::uint32_t kDimension = 5;
const Uuid kUuid{1, 2, 3};

struct Batch {
  std::vector<float> rows;
  std::vector<RowFix> fixes;
  std::vector<std::string> ids;
  std::vector<std::string_view> views;
};

Batch make_batch(Row first, Row count) {
  Batch batch;
  for (Row row = first; row < first + count; ++row) {
    std::vector<float> values(kDimension);
    for (std::uint32_t i = 0; i < kDimension; ++i) values[i] = static_cast<float>(row * 10 + i);
    batch.fixes.push_back(make_row_fix(values, static_cast<float>(row) + 0.5f));
    batch.rows.insert(batch.rows.end(), values.begin(), values.end());
    batch.ids.push_back("id-" + std::to_string(row));
  }
  batch.views.assign(batch.ids.begin(), batch.ids.end());
  return batch;
}

void append(RowFiles& rows, Row count) {
  const Row first = rows.rows();
  const Batch batch = make_batch(first, count);
  rows.append(first, batch.rows, batch.fixes, batch.views);
}

void expect_right(const RowFilesView& view, Row row) {
  view.verify(row);
  EXPECT_EQ(view.row(row)[2], static_cast<float>(row * 10 + 2));
  EXPECT_EQ(view.norm(row), static_cast<float>(row) + 0.5f);
  EXPECT_EQ(view.id(row), "id-" + std::to_string(row));
}

std::unique_ptr<SimulatedFiles> fresh_files() {
  auto files = std::make_unique<SimulatedFiles>();
  files->make_dir("gen");
  files->sync_dir("");
  return files;
}

std::unique_ptr<RowFiles> open(FileSystem& files, PublishedRows published) {
  return RowFiles::open(files, "gen", kUuid, 1, kDimension, published, false);
}

TEST(RowFiles, ReadBackWhatWasAppendedWhileAnOldViewStaysValid) {
  const auto files = fresh_files();
  const auto rows = RowFiles::create(*files, "gen", kUuid, 1, kDimension);
  append(*rows, 3);
  const RowFilesView old = rows->view();
  append(*rows, 200);
  const RowFilesView view = rows->view();
  EXPECT_EQ(old.rows(), 3u);
  EXPECT_EQ(view.rows(), 203u);
  for (Row row = 0; row < 3; ++row) expect_right(old, row);
  for (Row row = 0; row < 203; ++row) expect_right(view, row);
  EXPECT_EQ(code_of([&] { old.verify(3); }), ErrorCode::kInvalidInput);
  EXPECT_EQ(code_of([&] { old.id(3); }), ErrorCode::kInvalidInput);
}

TEST(RowFiles, ReopenAtThePublishedLengthAndGoOnFromThere) {
  const auto files = fresh_files();
  PublishedRows published;
  {
    const auto rows = RowFiles::create(*files, "gen", kUuid, 1, kDimension);
    append(*rows, 10);
    published = {rows->rows(), rows->id_bytes()};
    append(*rows, 5);
  }
  const auto rows = open(*files, published);
  EXPECT_EQ(rows->file_rows(), 15u) << "opening cuts nothing";
  rows->truncate_to(published);
  EXPECT_EQ(rows->file_rows(), 10u);
  append(*rows, 7);
  const RowFilesView view = rows->view();
  for (Row row = 0; row < 17; ++row) expect_right(view, row);
}

TEST(RowFiles, FilesShorterThanPublishedAreCorruption) {
  for (const char* name : {"vectors.bin", "rows.fix", "ids.bin", "ids.fix"}) {
    const auto files = fresh_files();
    PublishedRows published;
    {
      const auto rows = RowFiles::create(*files, "gen", kUuid, 1, kDimension);
      append(*rows, 10);
      published = {rows->rows(), rows->id_bytes()};
    }
    const std::string path = std::string("gen/") + name;
    std::string bytes = files->contents(path);
    bytes.pop_back();
    files->set_contents(path, bytes);
    EXPECT_EQ(code_of([&] { open(*files, published); }), ErrorCode::kCorruption) << name;
  }
}

TEST(RowFiles, BelongToOneDatabaseAndGeneration) {
  const auto files = fresh_files();
  RowFiles::create(*files, "gen", kUuid, 1, kDimension);
  const auto open_as = [&](const Uuid& uuid, std::uint64_t generation, std::uint32_t dimension) {
    return code_of(
        [&] { RowFiles::open(*files, "gen", uuid, generation, dimension, PublishedRows{}, true); });
  };
  EXPECT_EQ(open_as(Uuid{}, 1, kDimension), ErrorCode::kCorruption);
  EXPECT_EQ(open_as(kUuid, 2, kDimension), ErrorCode::kCorruption);
  EXPECT_EQ(open_as(kUuid, 1, kDimension + 1), ErrorCode::kCorruption);
}

// Every byte of every file flipped: the answer is right or Error(kCorruption).
TEST(RowFiles, FlippedBytesNeverAnswerWrongly) {
  constexpr Row kRows = 20;
  const auto files = fresh_files();
  PublishedRows published;
  {
    const auto rows = RowFiles::create(*files, "gen", kUuid, 1, kDimension);
    append(*rows, kRows);
    published = {rows->rows(), rows->id_bytes()};
  }
  for (const char* name : {"vectors.bin", "rows.fix", "ids.bin", "ids.fix"}) {
    const std::string path = std::string("gen/") + name;
    const std::string bytes = files->contents(path);
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      if (at == 400 && bytes.size() > kHeaderPageBytes) at = kHeaderPageBytes - 8;
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
      files->set_contents(path, damaged);
      int caught = 0;
      try {
        const RowFilesView view = open(*files, published)->view();
        for (Row row = 0; row < kRows; ++row) {
          try {
            expect_right(view, row);
          } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kCorruption);
            ++caught;
          }
        }
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kCorruption);
        ++caught;
      }
      EXPECT_EQ(caught, 1) << name << " at " << at;
    }
    files->set_contents(path, bytes);
  }
}

TEST(RowFiles, DirectRowsAreCheckedAgainstTheirRecord) {
  const auto files = fresh_files();
  const auto rows = RowFiles::create(*files, "gen", kUuid, 1, kDimension);
  append(*rows, 2);
  const Batch batch = make_batch(2, 50);
  rows->write_rows(2, batch.rows, batch.fixes);
  EXPECT_EQ(rows->rows(), 2u) << "rows without ids are not there yet";
  EXPECT_EQ(rows->direct_crc(2, 50), direct_rows_crc(batch.fixes));
  EXPECT_EQ(rows->direct_crc(2, 51), std::nullopt);
  rows->append_ids(2, batch.views);
  for (Row row = 0; row < 52; ++row) expect_right(rows->view(), row);
  const PublishedRows published{rows->rows(), rows->id_bytes()};
  std::string bytes = files->contents("gen/vectors.bin");
  bytes[kHeaderPageBytes + 20 * kDimension * 4] ^= 1;
  files->set_contents("gen/vectors.bin", bytes);
  EXPECT_EQ(open(*files, published)->direct_crc(2, 50), std::nullopt);
}

TEST(RowFiles, NoRoomLeavesEarlierRowsIntactAndCanBeRetried) {
  for (std::uint64_t fault = 0; fault < 4; ++fault) {
    const auto files = fresh_files();
    const auto rows = RowFiles::create(*files, "gen", kUuid, 1, kDimension);
    append(*rows, 3);
    files->set_fault({files->operations() + fault, ENOSPC, false, 7});
    EXPECT_EQ(code_of([&] { append(*rows, 4); }), ErrorCode::kStorage);
    EXPECT_EQ(rows->rows(), 3u);
    append(*rows, 4);
    const RowFilesView view = rows->view();
    for (Row row = 0; row < 7; ++row) expect_right(view, row);
  }
}

TEST(RowFiles, SyncedRowsSurviveACrash) {
  for (std::uint32_t seed = 0; seed < 50; ++seed) {
    auto files = fresh_files();
    PublishedRows published;
    {
      const auto rows = RowFiles::create(*files, "gen", kUuid, 1, kDimension);
      append(*rows, 30);
      rows->sync();
      files->sync_dir("gen");
      published = {rows->rows(), rows->id_bytes()};
      append(*rows, 20);
    }
    files = files->crash(SimulatedFiles::Keep::kSome, seed);
    const auto rows = open(*files, published);
    const RowFilesView view = rows->view();
    for (Row row = 0; row < 30; ++row) expect_right(view, row);
  }
}

TEST(RowFiles, OutgrownMapIsReplacedAndTheOldOneLives) {
  const auto files = fresh_files();
  const auto file = files->open("gen/map", OpenMode::kCreate);
  file->pwrite("abc", 3, 0);
  GrowingMap map(*file);
  const auto first = map.covering(3);
  EXPECT_EQ(map.covering(first->reserved()), first);
  const auto second = map.covering(first->reserved() + 1);
  EXPECT_NE(second, first);
  file->pwrite("x", 1, 1);
  EXPECT_EQ(first->data()[1], 'x');
  EXPECT_EQ(second->data()[1], 'x');
}

// -- codes ---------------------------------------------------------------------------------------

StridedHeader code_header() {
  StridedHeader header;
  header.kind = StridedKind::kCodes;
  header.uuid = kUuid;
  header.generation = 3;
  header.lineage = 77;
  header.dimension = 10;
  header.stride = 64;
  header.opaque = "quantiser";
  return header;
}

std::unique_ptr<StridedFile> create_codes(FileSystem& files) {
  return StridedFile::create(files, "gen/codes.i8", "gen/codes.fix", code_header());
}

std::unique_ptr<StridedFile> open_codes(FileSystem& files, Row rows, bool read_only) {
  return StridedFile::open(files, "gen/codes.i8", "gen/codes.fix", StridedKind::kCodes, rows,
                           read_only);
}

void write_codes(StridedFile& codes, Row first, Row count) {
  std::vector<std::uint8_t> bytes(count * std::size_t{64});
  std::vector<RowFix> fixes;
  for (Row row = 0; row < count; ++row) {
    const std::span<std::uint8_t> code(bytes.data() + row * std::size_t{64}, 64);
    for (int i = 0; i < 10; ++i) code[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(row);
    fixes.push_back(make_fix(code, 0.25f));
  }
  codes.write(first, bytes, fixes);
}

TEST(CodeFiles, KeepTheirHeader) {
  const auto files = fresh_files();
  create_codes(*files);
  const auto codes = open_codes(*files, 0, true);
  EXPECT_EQ(codes->header().opaque, "quantiser");
  EXPECT_EQ(codes->header().lineage, 77u);
  EXPECT_EQ(codes->header().stride, 64u);
  StridedHeader too_long = code_header();
  too_long.opaque.assign(kMaxOpaqueBytes + 1, 'x');
  EXPECT_EQ(code_of([&] { encode_strided_header(too_long); }), ErrorCode::kInvalidInput);
}

TEST(CodeFiles, ADamagedCodeIsFoundAndItsNeighboursAreNot) {
  const auto files = fresh_files();
  {
    const auto codes = create_codes(*files);
    write_codes(*codes, 0, 40);
  }
  std::string bytes = files->contents("gen/codes.i8");
  bytes[kHeaderPageBytes + 20 * 64] ^= 1;
  files->set_contents("gen/codes.i8", bytes);
  const auto codes = open_codes(*files, 40, true);
  const StridedView view = codes->view(40);
  view.verify(19);
  view.verify(21);
  EXPECT_EQ(code_of([&] { view.verify(20); }), ErrorCode::kCorruption);
  EXPECT_EQ(code_of([&] { view.verify(20); }), ErrorCode::kCorruption) << "again";
  EXPECT_EQ(code_of([&] { view.verify_range(0, 40); }), ErrorCode::kCorruption);
  view.verify_range(21, 19);
  EXPECT_EQ(code_of([&] { view.verify_range(21, 20); }), ErrorCode::kInvalidInput);
  EXPECT_EQ(code_of([&] { view.verify(40); }), ErrorCode::kInvalidInput);
}

TEST(CodeFiles, VerificationIsRememberedPerRowNotPerView) {
  const auto files = fresh_files();
  {
    const auto codes = create_codes(*files);
    write_codes(*codes, 0, 100);
  }
  const auto codes = open_codes(*files, 100, false);
  codes->view(70).verify_range(0, 70);
  // Damage after the first touch is not looked for again; the rows behind are.
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      const StridedView view = codes->view(100);
      for (Row row = 0; row < 100; ++row) view.verify(row);
      EXPECT_EQ(view.value(99), 0.25f);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(VerifiedRows, SetAndClearRangesAcrossWords) {
  VerifiedRows rows;
  rows.set_range(60, 200);
  EXPECT_FALSE(rows.test(59));
  EXPECT_TRUE(rows.test(60));
  EXPECT_TRUE(rows.test(259));
  EXPECT_FALSE(rows.test(260));
  rows.set_range(kMaxRows - 1, 1);
  rows.clear_from(130);
  EXPECT_TRUE(rows.test(129));
  EXPECT_FALSE(rows.test(130));
  EXPECT_FALSE(rows.test(kMaxRows - 1));
}

}  // namespace
}  // namespace srvdb
