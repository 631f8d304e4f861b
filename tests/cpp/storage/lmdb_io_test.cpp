// metadata.db below LMDB: checksums of its pages, copies, damaged files.

#include "srvdb/storage/lmdb_io.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "srvdb/base/error.h"
#include "srvdb/storage/file.h"
#include "srvdb/storage/meta_store.h"
#include "srvdb/storage/page_checksums.h"
#include "support/code_of.h"
#include "support/temporary_directory.h"

namespace srvdb {
namespace {

using testing::TemporaryDirectory;

std::string numbered(const char* prefix, std::uint64_t number) {
  return std::string(prefix).append(std::to_string(number));
}

MetaStoreOptions options_of(FileSystem& files, bool create, bool read_only = false) {
  MetaStoreOptions out;
  out.files = &files;
  out.create = create;
  out.read_only = read_only;
  out.initial_map_bytes = 1 << 20;
  return out;
}

// Ids, metadata short and longer than a page, dead chunks, state: for each number its own.
void put_some(MetaStore::WriteTxn& txn, Row first, Row count) {
  for (Row row = first; row < first + count; ++row) {
    txn.put_id(numbered("id-", 1000000 + row), row);
    std::string text = "{\"row\":" + std::to_string(row);
    if (row % 40 == 7) text += ",\"long\":\"" + std::string(6000 + row, 'x') + "\"";
    txn.put_metadata(row, text + "}");
  }
  const std::vector<std::uint8_t> bits(kChunkBytes, static_cast<std::uint8_t>(first));
  txn.put_chunk(RowSet::kGone, first / 100, bits);
  MetaState state;
  state.published_rows = first + count;
  txn.set_state(state);
}

// All a store answers, in words.
using Content = std::map<std::string, std::string>;
Content content_of(MetaStore& store) {
  const MetaStore::ReadTxn txn = store.read();
  Content out;
  const MetaState state = txn.state();
  out["state"] = std::to_string(state.published_rows);
  for (const IdRow& entry : txn.scan_ids("", 1 << 20)) {
    out["id " + std::string(entry.id)] = std::to_string(entry.row);
    EXPECT_EQ(txn.find_id(entry.id), entry.row);
  }
  out["ids"] = std::to_string(txn.id_count());
  for (Row row = 0; row < state.published_rows; ++row) {
    out["meta " + std::to_string(row)] = std::string(txn.metadata(row).value_or("none"));
  }
  txn.for_each_chunk(RowSet::kGone, [&](std::uint32_t number, ByteSpan bits) {
    out["dead " + std::to_string(number)] = std::string(as_text(bits));
  });
  return out;
}

TEST(MetaStoreCopy, IsCompactHasChecksumsOfItsOwnAndOpensOnItsOwn) {
  const TemporaryDirectory directory;
  FileSystem& files = posix_file_system();
  MetaStore store(directory / "metadata.db", options_of(files, true));
  for (Row first = 0; first < 2000; first += 100) {
    store.update([&](MetaStore::WriteTxn& txn) { put_some(txn, first, 100); });
  }
  const Content content = content_of(store);
  auto pinned = std::make_unique<MetaStore::ReadTxn>(store.read());
  store.update([&](MetaStore::WriteTxn& txn) { put_some(txn, 2000, 500); });
  store.copy_to(*pinned, directory / "copy.db");
  pinned = nullptr;
  EXPECT_LT(files.info(directory / "copy.db")->size, files.info(directory / "metadata.db")->size);
  MetaStore copy(directory / "copy.db", options_of(files, false));
  EXPECT_EQ(content_of(copy), content);
  copy.check_pages(copy.read());
  copy.update([&](MetaStore::WriteTxn& txn) { put_some(txn, 2000, 500); });
  EXPECT_EQ(content_of(copy), content_of(store));
  copy.check_pages(copy.read());
}

TEST(MetaStoreCopy, OfADamagedStoreIsRefusedAndLeavesNothing) {
  const TemporaryDirectory directory;
  FileSystem& files = posix_file_system();
  {
    MetaStore store(directory / "metadata.db", options_of(files, true));
    store.update([&](MetaStore::WriteTxn& txn) { put_some(txn, 0, 300); });
  }
  {
    const auto file = files.open(directory / "metadata.db", OpenMode::kReadWrite);
    const std::string zeros(4096, '\0');
    for (std::uint64_t page = 6; page < 20; ++page) file->pwrite(zeros.data(), 4096, page * 4096);
  }
  MetaStore store(directory / "metadata.db", options_of(files, false));
  std::string why;
  EXPECT_EQ(code_of([&] { store.copy_to(store.read(), directory / "copy.db"); }, &why),
            ErrorCode::kCorruption);
  EXPECT_NE(why.find("at offset "), std::string::npos) << why;
  EXPECT_FALSE(files.exists(directory / "copy.db"));
  EXPECT_FALSE(files.exists(directory / "copy.crc"));
  EXPECT_EQ(code_of([&] { store.check_pages(store.read()); }), ErrorCode::kCorruption);
}

}  // namespace
}  // namespace srvdb
