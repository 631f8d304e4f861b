#include "srvdb/storage/meta_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "srvdb/base/error.h"
#include "support/code_of.h"
#include "support/temporary_directory.h"

namespace srvdb {
namespace {

using testing::TemporaryDirectory;

MetaStoreOptions creating(std::uint64_t map_bytes = 16u << 20) {
  MetaStoreOptions options;
  options.create = true;
  options.initial_map_bytes = map_bytes;
  return options;
}

MetaStoreOptions read_only() {
  MetaStoreOptions options;
  options.read_only = true;
  return options;
}

// append, not operator+: g++ 12 warns of the latter without reason.
std::string numbered(const char* prefix, std::uint64_t number) {
  return std::string(prefix).append(std::to_string(number));
}

std::vector<std::string> sorted_ids(std::size_t count, const std::string& prefix) {
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < count; ++i) ids.push_back(prefix + std::to_string(10000000 + i));
  return ids;
}

std::vector<IdRow> with_rows(const std::vector<std::string>& ids, Row first) {
  std::vector<IdRow> out;
  for (const std::string& id : ids) out.push_back({id, first++});
  return out;
}

TEST(MetaStore, ReadsBackEverythingAfterReopening) {
  const TemporaryDirectory directory;
  const std::string path = directory / "metadata.db";
  const MetaState state{7, 100, 1234, 90};
  std::vector<std::uint8_t> bits(kChunkBytes, 0);
  bits[5] = 0x81;
  {
    MetaStore store(path, creating());
    EXPECT_EQ(store.state(), MetaState{});
    store.update([&](MetaStore::WriteTxn& txn) {
      txn.put_id("b", 2);
      txn.put_id("a", 1);
      txn.put_id("c", 3);
      txn.put_metadata(2, R"({"x":1})");
      txn.put_metadata(1, "{}");
      txn.put_metadata(0, R"({"first":true})");
      txn.put_chunk(RowSet::kGone, 1, bits);
      txn.set_state(state);
      txn.set_position("source", 55);
      EXPECT_EQ(txn.find_id("a"), 1u);
    });
  }
  MetaStore store(path, {});
  EXPECT_EQ(store.state(), state);
  EXPECT_EQ(store.find_id("a"), 1u);
  EXPECT_EQ(store.find_id("b"), 2u);
  EXPECT_EQ(store.find_id("zz"), std::nullopt);
  EXPECT_EQ(store.find_id(""), std::nullopt);
  EXPECT_EQ(store.find_id(std::string(600, 'x')), std::nullopt);
  EXPECT_EQ(store.metadata(2), R"({"x":1})");
  EXPECT_EQ(store.metadata(0), R"({"first":true})");
  EXPECT_EQ(store.metadata(1), std::nullopt);
  const auto txn = store.read();
  EXPECT_EQ(txn.position("source"), 55u);
  EXPECT_EQ(txn.position("other"), std::nullopt);
  EXPECT_EQ(txn.id_count(), 3u);
  int chunks = 0;
  txn.for_each_chunk(RowSet::kGone, [&](std::uint32_t number, ByteSpan found) {
    EXPECT_EQ(number, 1u);
    EXPECT_TRUE(std::ranges::equal(found, bits));
    ++chunks;
  });
  EXPECT_EQ(chunks, 1);
}

TEST(MetaStore, MomentsOfExpiryComeInOrderOfTimeAndFollowTheirRow) {
  const TemporaryDirectory directory;
  MetaStore store(directory / "metadata.db", creating());
  store.update([](MetaStore::WriteTxn& txn) {
    txn.set_expiry(7, 300);
    txn.set_expiry(300, 2);
    txn.set_expiry(2, 300);
    txn.set_expiry(9, 70'000);
    txn.set_expiry(9, 256);             // moved
    txn.set_expiry(300, std::nullopt);  // taken away
    txn.set_expiry(300, std::nullopt);
  });
  const auto txn = store.read();
  EXPECT_EQ(txn.expires_at(9), 256);
  EXPECT_EQ(txn.expires_at(300), std::nullopt);
  std::vector<std::pair<std::int64_t, Row>> found;
  for (DueRow after{-1, 0};;) {  // one by one
    const std::vector<DueRow> next = txn.next_due(after, 1);
    if (next.empty()) break;
    after = next[0];
    found.emplace_back(after.expires_at, after.row);
  }
  EXPECT_EQ(found, (std::vector<std::pair<std::int64_t, Row>>{{256, 9}, {300, 2}, {300, 7}}));
  EXPECT_EQ(txn.next_due({-1, 0}, 10).size(), 3u);
}

TEST(MetaStore, TheChangeLogIsReadFromBothEndsAndTrimmedAtOne) {
  const TemporaryDirectory directory;
  MetaStore store(directory / "metadata.db", creating());
  const auto put = [&](Sequence first, Sequence last) {
    store.update([&](MetaStore::WriteTxn& txn) {
      for (Sequence s = first; s <= last; ++s) txn.put_log(s, as_byte_span(std::to_string(s)));
    });
  };
  put(1, 300);  // beyond one byte: the order is that of numbers
  put(301, 600);
  const auto read = [&](bool back, Sequence from, std::size_t limit) {
    std::vector<Sequence> out;
    const auto take = [&](Sequence sequence, ByteSpan bytes) {
      EXPECT_EQ(as_text(bytes), std::to_string(sequence));
      out.push_back(sequence);
      return out.size() < limit;
    };
    const auto txn = store.read();
    back ? txn.for_each_log_back(from, take) : txn.for_each_log(from, take);
    return out;
  };
  EXPECT_EQ(read(false, 298, 3), (std::vector<Sequence>{299, 300, 301}));
  EXPECT_EQ(read(true, 3, 9), (std::vector<Sequence>{2, 1}));
  EXPECT_EQ(read(true, ~Sequence{0}, 2), (std::vector<Sequence>{600, 599}));
  store.update([](MetaStore::WriteTxn& txn) { EXPECT_EQ(txn.erase_log_before(597), 596u); });
  EXPECT_EQ(read(false, 0, 9), (std::vector<Sequence>{597, 598, 599, 600}));
}

TEST(MetaStore, ColumnsComeByFieldAndChunkAndAreClearedTogether) {
  const TemporaryDirectory directory;
  MetaStore store(directory / "metadata.db", creating());
  const auto block = [](ColumnKey key) {
    return numbered("field ", key.field).append(numbered(" chunk ", key.chunk));
  };
  const std::vector<ColumnKey> keys = {{0, 0}, {0, 1}, {0, 256}, {1, 0}, {300, 2}, {300, 70000}};
  store.update([&](MetaStore::WriteTxn& txn) {
    for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
      txn.put_column(*key, as_byte_span(block(*key)));
    }
    txn.put_column({1, 1}, as_byte_span(std::string(100'000, 'x')));  // larger than a page
    EXPECT_TRUE(txn.erase_column({1, 1}));
    EXPECT_FALSE(txn.erase_column({1, 1}));
    EXPECT_EQ(as_text(txn.column({300, 2}).value_or(ByteSpan{})), block({300, 2}));
    for (const std::uint32_t field : {300U, 0U, 1U}) {
      txn.put_field(field, as_byte_span(numbered("path ", field)));
    }
    txn.set_column_state(as_byte_span("all of them"));
  });
  {
    const MetaStore::ReadTxn txn = store.read();
    std::vector<ColumnKey> found;
    txn.for_each_column([&](ColumnKey key, ByteSpan bytes) {
      EXPECT_EQ(as_text(bytes), block(key));
      found.push_back(key);
    });
    EXPECT_EQ(found, keys);
    EXPECT_FALSE(txn.column({1, 1}).has_value());
    std::string fields;
    txn.for_each_field([&](std::uint32_t field, ByteSpan bytes) {
      fields.append(numbered("", field)).append(":").append(as_text(bytes)).append(" ");
    });
    EXPECT_EQ(fields, "0:path 0 1:path 1 300:path 300 ");
    EXPECT_EQ(as_text(txn.column_state().value_or(ByteSpan{})), "all of them");
    EXPECT_EQ(txn.state(), MetaState{});
  }
  store.update([&](MetaStore::WriteTxn& txn) { txn.clear_columns(); });
  const MetaStore::ReadTxn txn = store.read();
  EXPECT_FALSE(txn.column({0, 0}).has_value());
  txn.for_each_column([&](ColumnKey, ByteSpan) { ADD_FAILURE(); });
  txn.for_each_field([&](std::uint32_t, ByteSpan) { ADD_FAILURE(); });
  EXPECT_TRUE(txn.column_state().has_value());
}

TEST(MetaStore, MetadataIsReadInPieces) {
  const TemporaryDirectory directory;
  MetaStore store(directory / "metadata.db", creating());
  store.update([&](MetaStore::WriteTxn& txn) {
    for (Row row = 0; row < 50; row += 3) txn.put_metadata(row, numbered("{\"n\":", row) + "}");
  });
  const MetaStore::ReadTxn txn = store.read();
  std::vector<Row> rows;
  txn.for_each_metadata([&](Row row, std::string_view) { rows.push_back(row); }, 7, 18);
  EXPECT_EQ(rows, (std::vector<Row>{9, 12, 15}));
}

TEST(MetaStore, OpeningAnExistingStoreWritesNothing) {
  const TemporaryDirectory directory;
  const std::string path = directory / "metadata.db";
  { MetaStore store(path, creating()); }
  const auto contents = [&] {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string before = contents();
  { MetaStore store(path, creating()); }
  { MetaStore store(path, {}); }
  EXPECT_EQ(contents(), before);
}

TEST(MetaStore, MissingOrEmptyFileIsCorruptionUnlessCreated) {
  const TemporaryDirectory directory;
  EXPECT_EQ(code_of([&] { MetaStore store(directory / "no.db", {}); }), ErrorCode::kCorruption);
  std::ofstream(directory / "empty.db");
  EXPECT_EQ(code_of([&] { MetaStore store(directory / "empty.db", read_only()); }),
            ErrorCode::kCorruption);
}

// Random changes against a std::map, each transaction followed by a full comparison.
TEST(MetaStore, FollowsAModelThroughRandomChanges) {
  const TemporaryDirectory directory;
  MetaStore store(directory / "metadata.db", creating(256 << 10));
  std::mt19937 random(1);
  std::map<std::string, Row> ids;
  std::map<Row, std::string> texts;
  for (int round = 0; round < 60; ++round) {
    // The change may run twice: it works on copies.
    const auto seed = random();
    std::map<std::string, Row> new_ids;
    std::map<Row, std::string> new_texts;
    store.update([&](MetaStore::WriteTxn& txn) {
      new_ids = ids;
      new_texts = texts;
      std::mt19937 steps(seed);
      for (int i = 0; i < 200; ++i) {
        const std::string id = numbered("id", steps() % 3000);
        const Row row = static_cast<Row>(steps() % 3000);
        switch (steps() % 4) {
          case 0:
            EXPECT_EQ(txn.erase_id(id), new_ids.erase(id) == 1);
            break;
          case 1:
            EXPECT_EQ(txn.erase_metadata(row), new_texts.erase(row) == 1);
            break;
          case 2:
            txn.put_id(id, row);
            new_ids[id] = row;
            break;
          default:
            new_texts[row] = "{\"t\":\"" + std::string(steps() % 300, 'x') + "\"}";
            txn.put_metadata(row, new_texts[row]);
        }
      }
    });
    ids = new_ids;
    texts = new_texts;
    const auto txn = store.read();
    ASSERT_EQ(txn.id_count(), ids.size());
    std::string after;
    std::size_t seen = 0;
    for (;;) {
      const auto page = txn.scan_ids(after, 37);
      if (page.empty()) break;
      for (const IdRow& entry : page) {
        ASSERT_EQ(ids.at(std::string(entry.id)), entry.row);
        ASSERT_LT(after, entry.id);
        after = entry.id;
        ++seen;
      }
    }
    ASSERT_EQ(seen, ids.size());
    for (Row row = 0; row < 3000; ++row) {
      const auto text = txn.metadata(row);
      const auto expected = texts.find(row);
      ASSERT_EQ(text.has_value(), expected != texts.end());
      if (text) {
        ASSERT_EQ(*text, expected->second);
      }
    }
  }
}

TEST(MetaStore, FindsExistingIdsOfASortedBatch) {
  const TemporaryDirectory directory;
  MetaStore store(directory / "metadata.db", creating());
  std::mt19937 random(2);
  std::map<std::string, Row> stored;
  for (int i = 0; i < 2000; ++i) stored[numbered("k", random() % 5000)] = static_cast<Row>(i);
  store.update([&](MetaStore::WriteTxn& txn) {
    for (const auto& [id, row] : stored) txn.put_id(id, row);
  });
  for (int round = 0; round < 50; ++round) {
    std::vector<std::string> batch;
    for (int i = 0; i < 300; ++i) batch.push_back(numbered("k", random() % 8000));
    if (round % 3 == 0) batch.push_back("zzz");
    if (round % 3 == 1) batch.insert(batch.begin(), "a");
    std::ranges::sort(batch);
    const std::vector<std::string_view> views(batch.begin(), batch.end());
    std::map<std::size_t, Row> found;
    store.read().find_existing(
        views, [&](std::size_t index, Row row) { EXPECT_TRUE(found.emplace(index, row).second); });
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const auto expected = stored.find(batch[i]);
      ASSERT_EQ(found.contains(i), expected != stored.end());
      if (found.contains(i)) {
        ASSERT_EQ(found[i], expected->second);
      }
    }
  }
  store.read().find_existing({}, [](std::size_t, Row) { ADD_FAILURE(); });
}

TEST(MetaStore, GrowsWhileReadersComeAndGo) {
  const TemporaryDirectory directory;
  MetaStore store(directory / "metadata.db", creating(128 << 10));
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&] {
      while (!stop) {
        const auto txn = store.read();
        const MetaState state = txn.state();
        EXPECT_EQ(txn.id_count(), state.published_rows) << "one transaction, one state";
      }
    });
  }
  Row rows = 0;
  for (int batch = 0; batch < 20; ++batch) {
    const auto ids = sorted_ids(1000, numbered("b", static_cast<std::uint64_t>(batch)) + "-");
    const auto entries = with_rows(ids, rows);
    rows += 1000;
    store.update([&](MetaStore::WriteTxn& txn) {
      txn.put_ids(entries);
      for (const IdRow& entry : entries) txn.put_metadata(entry.row, "{\"text\":\"some words\"}");
      MetaState state;
      state.published_rows = rows;
      txn.set_state(state);
    });
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_GT(store.stats().map_bytes, std::uint64_t{1} << 20);
  EXPECT_EQ(store.read().id_count(), 20000u);
}

TEST(MetaStore, ReaderProcessFollowsAGrowingStore) {
  const TemporaryDirectory directory;
  const std::string path = directory / "metadata.db";
  int go[2];
  int done[2];
  ASSERT_EQ(::pipe(go), 0);
  ASSERT_EQ(::pipe(done), 0);
  { MetaStore store(path, creating(128 << 10)); }
  const pid_t child = ::fork();
  if (child == 0) {
    int failures = 0;
    try {
      MetaStoreOptions options = read_only();
      options.initial_map_bytes = 128 << 10;
      MetaStore reader(path, options);
      failures += reader.read().id_count() != 0;
      char byte = 'r';
      failures += ::write(done[1], &byte, 1) != 1;
      failures += ::read(go[0], &byte, 1) != 1;
      failures += reader.read().id_count() != 50000;
      failures += reader.find_id("x10000007") != 7u;
    } catch (const std::exception&) {
      failures = 50;
    }
    ::_exit(failures);
  }
  char byte = 0;
  ASSERT_EQ(::read(done[0], &byte, 1), 1);
  {
    MetaStore store(path, {});
    const auto ids = sorted_ids(50000, "x");
    store.update([&](MetaStore::WriteTxn& txn) { txn.put_ids(with_rows(ids, 0)); });
    ASSERT_EQ(::write(go[1], "g", 1), 1);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
  }
  for (const int end : {go[0], go[1], done[0], done[1]}) ::close(end);
}

TEST(MetaStore, FailedChangeLeavesNothing) {
  const TemporaryDirectory directory;
  MetaStore store(directory / "metadata.db", creating());
  EXPECT_THROW(store.update([](MetaStore::WriteTxn& txn) {
    txn.put_id("a", 1);
    throw Error(ErrorCode::kInterrupted, "stop");
  }),
               Error);
  EXPECT_EQ(store.find_id("a"), std::nullopt);
  store.update([](MetaStore::WriteTxn& txn) { txn.put_id("b", 1); });
  EXPECT_EQ(store.find_id("b"), 1u);
}

TEST(MetaStore, StatsNameTheOldestReader) {
  const TemporaryDirectory directory;
  MetaStore store(directory / "metadata.db", creating());
  store.update([](MetaStore::WriteTxn& txn) { txn.put_id("a", 1); });
  EXPECT_EQ(store.stats().oldest_reader, 0u);
  const auto pinned = store.read();
  const std::uint64_t at = store.stats().last_transaction;
  store.update([](MetaStore::WriteTxn& txn) { txn.put_id("b", 2); });
  const MetaStoreStats stats = store.stats();
  EXPECT_EQ(stats.oldest_reader, at);
  EXPECT_EQ(stats.oldest_reader_pid, ::getpid());
  EXPECT_GT(stats.last_transaction, at);
  EXPECT_EQ(pinned.find_id("b"), std::nullopt) << "a snapshot stays as it was";
}

TEST(MetaStore, ForkedChildMayAbandonItAndOpenItsOwnReader) {
  const TemporaryDirectory directory;
  const std::string path = directory / "metadata.db";
  auto store = std::make_unique<MetaStore>(path, creating());
  store->update([](MetaStore::WriteTxn& txn) { txn.put_id("a", 1); });
  store->find_id("a");
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 1;
    try {
      store->abandon_in_child();
      store.reset();
      MetaStore reader(path, read_only());
      code = reader.find_id("a") == 1u ? 0 : 2;
    } catch (const std::exception&) {
      code = 3;
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  store->update([](MetaStore::WriteTxn& txn) { txn.put_id("b", 2); });
  EXPECT_EQ(store->find_id("b"), 2u);
}

// Values changed on disk, keys and tree intact: never answered. (Damaged pages are another matter:
// see cpp/FORMAT.md.)
TEST(MetaStore, DamagedValuesAreCorruption) {
  const TemporaryDirectory directory;
  const std::string path = directory / "metadata.db";
  const std::string marker = R"({"marker":"UNIQUE"})";
  {
    MetaStore store(path, creating());
    store.update([&](MetaStore::WriteTxn& txn) {
      txn.put_metadata(3, marker);
      txn.put_id("marker-id", 0x11223344);
    });
  }
  std::ifstream in(path, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(in), {});
  std::size_t damaged = 0;
  for (const std::string& needle : {std::string("UNIQUE"), std::string("\x44\x33\x22\x11")}) {
    for (std::size_t at = bytes.find(needle); at != std::string::npos;
         at = bytes.find(needle, at + 1)) {
      bytes[at] = static_cast<char>(bytes[at] ^ 4);
      ++damaged;
    }
  }
  ASSERT_GE(damaged, 2u);
  std::ofstream(path, std::ios::binary) << bytes;
  MetaStore store(path, {});
  EXPECT_EQ(code_of([&] { store.metadata(3); }), ErrorCode::kCorruption);
  EXPECT_EQ(code_of([&] { store.find_id("marker-id"); }), ErrorCode::kCorruption);
  EXPECT_EQ(code_of([&] { store.read().scan_ids("", 10); }), ErrorCode::kCorruption);
}

TEST(MetaStore, FullDiskRefusesTheUpdateAndKeepsTheState) {
  const TemporaryDirectory directory;
  const std::string path = directory / "metadata.db";
  MetaStore(path, creating());
  // A file size limit makes pwrite fail with EFBIG, as close to ENOSPC as an ordinary process gets;
  // here in a child, so that the limit ends with it.
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 1;
    try {
      MetaStore store(path, {});
      store.update([](MetaStore::WriteTxn& txn) { txn.put_id("kept", 1); });
      ::signal(SIGXFSZ, SIG_IGN);
      struct rlimit limit {};
      limit.rlim_cur = limit.rlim_max = 256 << 10;
      ::setrlimit(RLIMIT_FSIZE, &limit);
      const auto ids = sorted_ids(50000, "x");
      bool refused = false;
      try {
        store.update([&](MetaStore::WriteTxn& txn) { txn.put_ids(with_rows(ids, 0)); });
      } catch (const Error& error) {
        refused = error.code() == ErrorCode::kStorage;
      }
      code = refused && store.find_id("kept") == 1u && store.read().id_count() == 1 ? 0 : 2;
    } catch (const std::exception&) {
      code = 3;
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  MetaStore store(path, {});
  EXPECT_EQ(store.read().id_count(), 1u);
}

}  // namespace
}  // namespace srvdb
