#include "srvdb/storage/manifest.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <functional>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "support/code_of.h"
#include "support/simulated_files.h"

namespace srvdb {
namespace {

using testing::SimulatedFiles;

Manifest full_manifest() {
  Manifest manifest;
  manifest.compatible = 5;
  manifest.uuid = random_uuid();
  manifest.generation = 9;
  manifest.mode = 4;
  manifest.m = 16;
  manifest.ef_construction = 200;
  manifest.spaces = {{"default", 1, 2, 384}};
  manifest.files = {{"gen-9/graph.hnsw", 123456789012}};
  manifest.derived = {{2, "gen-9/graph.hnsw", 1000, 42}, {1, "gen-9/codes.i8", 1100, 43}};
  manifest.settings = {{"name", "value"}, {"empty", ""}};
  manifest.unknown = {{200, "from the future"}};
  return manifest;
}

std::unique_ptr<SimulatedFiles> fresh_files() {
  auto files = std::make_unique<SimulatedFiles>();
  files->make_dir("db");
  files->sync_dir("");
  return files;
}

void fix_crc(std::string& bytes) {
  bytes.resize(bytes.size() - 4);
  put(bytes, crc32c(bytes));
}

TEST(Manifest, ReadsBackWhatWasWrittenUnknownSectionsToo) {
  const auto files = fresh_files();
  EXPECT_EQ(read_manifest(*files, "db", false), std::nullopt);
  const Manifest manifest = full_manifest();
  write_manifest(*files, "db", manifest);
  EXPECT_EQ(read_manifest(*files, "db", false), manifest);
  EXPECT_EQ(files->list_dir("db"), std::vector<std::string>{"MANIFEST"});
}

TEST(Manifest, FlippedOrCutBytesAreCorruption) {
  const std::string bytes = encode_manifest(full_manifest());
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      EXPECT_EQ(code_of([&] { decode_manifest(as_byte_span(damaged), "M", true); }),
                ErrorCode::kCorruption);
    }
    EXPECT_EQ(code_of([&] { decode_manifest(as_byte_span(bytes).first(at), "M", true); }),
              ErrorCode::kCorruption);
  }
}

// Behind a valid checksum, too, no length may lead out of bounds.
TEST(Manifest, DamageUnderAValidChecksumNeverReadsOutOfBounds) {
  const std::string bytes = encode_manifest(full_manifest());
  for (std::size_t at = 16; at + 4 < bytes.size(); ++at) {
    for (const int value : {0, 1, 127, 255}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(value);
      fix_crc(damaged);
      const std::vector<std::uint8_t> exact(damaged.begin(), damaged.end());
      try {
        decode_manifest(exact, "M", true);
      } catch (const Error& error) {
        EXPECT_NE(error.code(), ErrorCode::kInvalidInput);
      }
    }
  }
}

TEST(Manifest, NewerFormatsAndFeaturesAreRefusedUntouched) {
  Manifest manifest = full_manifest();
  std::string newer = encode_manifest(manifest);
  store<std::uint32_t>(newer.data() + 8, kFormatVersion + 1);
  fix_crc(newer);
  EXPECT_EQ(code_of([&] { decode_manifest(as_byte_span(newer), "M", true); }), ErrorCode::kVersion);
  manifest.read_only_compatible = 2;
  const std::string readable = encode_manifest(manifest);
  EXPECT_EQ(code_of([&] { decode_manifest(as_byte_span(readable), "M", false); }),
            ErrorCode::kVersion);
  EXPECT_EQ(decode_manifest(as_byte_span(readable), "M", true), manifest);
  manifest.incompatible = 1;
  const auto files = fresh_files();
  files->set_contents("db/MANIFEST", encode_manifest(manifest));
  const std::uint64_t before = files->operations();
  EXPECT_EQ(code_of([&] { read_manifest(*files, "db", true); }), ErrorCode::kVersion);
  EXPECT_EQ(files->operations(), before);
}

// A crash or a failure at any operation leaves the old manifest or the new one, whole.
TEST(Manifest, ReplacingIsAtomicAtEveryOperation) {
  Manifest old = full_manifest();
  Manifest fresh = old;
  fresh.generation = 10;
  for (std::uint64_t fault = 0; fault < 8; ++fault) {
    for (const int error : {EIO, ENOSPC}) {
      for (std::uint32_t seed = 0; seed < 20; ++seed) {
        const auto files = fresh_files();
        write_manifest(*files, "db", old);
        files->set_fault({files->operations() + fault, error, true, 30});
        bool done = false;
        try {
          write_manifest(*files, "db", fresh);
          done = true;
        } catch (const Error&) {
        }
        const auto live = read_manifest(*files, "db", false);
        EXPECT_TRUE(live == old || live == fresh);
        const auto after = files->crash(SimulatedFiles::Keep::kSome, seed);
        const auto found = read_manifest(*after, "db", false);
        EXPECT_TRUE(done ? found == fresh : found == old || found == fresh) << fault;
        write_manifest(*after, "db", fresh);
        EXPECT_EQ(read_manifest(*after, "db", false), fresh);
      }
    }
  }
}

// -- srvdb 0.1-0.3 -------------------------------------------------------------------------------

std::string legacy_header(std::uint16_t version) {
  std::string out;
  put<std::uint32_t>(out, 0x53764442);
  put(out, version);
  put<std::uint16_t>(out, 128);
  out.resize(200, '\0');
  return out;
}

std::string redb_header(char version) {
  std::string out("redb\x1A\x0A\xA9\x0D\x0A");
  out.resize(128, '\0');
  out[64] = version;
  return out;
}

TEST(Legacy, DirectoriesOfOldVersionsAreNamedAndRefusedUntouched) {
  struct Case {
    const char* file;
    std::uint16_t version;
    char redb;
    const char* expected;
  };
  for (const Case& test :
       {Case{"db/vectors.bin", 0, 2, "0.1"}, Case{"db/vectors.bin", 4, 2, "0.2"},
        Case{"db/vectors.bin", 4, 3, "0.3"}, Case{"db/sq8_vectors.bin", 4, 2, "0.2"},
        Case{"db/vectors.bin", 4, 0, "0.2 or 0.3"}}) {
    const auto files = fresh_files();
    files->set_contents(test.file, legacy_header(test.version));
    if (test.redb != 0) files->set_contents("db/metadata.db", redb_header(test.redb));
    const std::uint64_t before = files->operations();
    std::string message;
    EXPECT_EQ(code_of([&] { read_manifest(*files, "db", false); }, &message), ErrorCode::kVersion);
    EXPECT_NE(message.find(std::string("srvdb ") + test.expected + ","), std::string::npos)
        << message;
    EXPECT_EQ(files->operations(), before);
  }
}

TEST(Legacy, OtherDirectoriesAreNotTakenForOldOnes) {
  const auto files = fresh_files();
  files->set_contents("db/vectors.bin", "BDv");
  EXPECT_EQ(detect_legacy(*files, "db"), std::nullopt);
  files->set_contents("db/vectors.bin", "something else");
  EXPECT_EQ(detect_legacy(*files, "db"), std::nullopt);
}

}  // namespace
}  // namespace srvdb
