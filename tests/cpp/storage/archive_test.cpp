#include "srvdb/storage/archive.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <random>
#include <utility>

#include "srvdb/base/clock.h"
#include "srvdb/storage/tar.h"
#include "srvdb/storage/zstd_stream.h"
#include "support/code_of.h"
#include "support/simulated_files.h"
#include "support/temporary_directory.h"

namespace srvdb {
namespace {

using testing::SimulatedFiles;
using testing::TemporaryDirectory;
using Contents = std::map<std::string, std::string>;

std::string random_bytes(std::size_t bytes, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::string text(bytes, '\0');
  for (char& byte : text) byte = static_cast<char>(random());
  return text;
}

void put_file(FileSystem& files, const std::string& path, const std::string& bytes) {
  const auto file = files.open(path, OpenMode::kCreate);
  file->truncate(0);
  file->pwrite(bytes.data(), bytes.size(), 0);
}

std::string get_file(FileSystem& files, const std::string& path) {
  return read_file(files, path, std::size_t{64} << 20);
}

Contents contents_of(FileSystem& files, const std::string& directory) {
  Contents contents;
  for (const std::string& name : list_tree(files, directory)) {
    contents[name] = get_file(files, directory + "/" + name);
  }
  return contents;
}

// A directory like a database's: text, incompressible bytes, zeros, an empty file, an empty folder.
void make_tree(FileSystem& files, const std::string& at, std::size_t scale = 100'000) {
  for (const char* name : {"", "/gen-1", "/wal", "/empty"}) files.make_dir(at + name);
  put_file(files, at + "/MANIFEST", "manifest");
  put_file(files, at + "/gen-1/vectors.bin", random_bytes(scale, 1));
  put_file(files, at + "/gen-1/ids.bin", std::string(scale, 'i'));
  put_file(files, at + "/gen-1/rows.fix", "");
  put_file(files, at + "/wal/00000000000000000001.log", random_bytes(512, 2));
}

ArchiveInfo archive(FileSystem& files, const std::string& directory, const std::string& to) {
  return write_archive(files, archive_members(files, directory), to);
}

class ArchiveTest : public ::testing::Test {
 protected:
  ArchiveTest() { make_tree(files_, db_); }

  TemporaryDirectory directory_;
  FileSystem& files_ = posix_file_system();
  std::string db_ = directory_ / "db";
  std::string file_ = directory_ / "db.tar.zst";
  std::string out_ = directory_ / "out";
};

TEST_F(ArchiveTest, RoundTripGivesTheSameFilesAndFolders) {
  put_file(files_, db_ + "/gen-1/big", random_bytes(5'000'001, 3));
  std::uint64_t last = 0;
  const ArchiveInfo written = write_archive(files_, archive_members(files_, db_), file_,
                                            [&](std::uint64_t done, std::uint64_t total) {
                                              EXPECT_GT(done, last);
                                              EXPECT_LE(done, total);
                                              last = done;
                                            });
  EXPECT_EQ(written.files, 6u);
  EXPECT_EQ(written.bytes, last);
  EXPECT_EQ(written.archive_bytes, files_.info(file_)->size);
  const ArchiveInfo read = extract_archive(files_, file_, out_ + "/");
  EXPECT_EQ(read.files, written.files);
  EXPECT_EQ(read.bytes, written.bytes);
  EXPECT_EQ(contents_of(files_, out_), contents_of(files_, db_));
  EXPECT_TRUE(files_.info(out_ + "/empty")->is_directory);
  EXPECT_EQ(files_.list_dir(directory_.path()),
            (std::vector<std::string>{"db", "db.tar.zst", "out"}));
}

TEST_F(ArchiveTest, ArchivesTheFirstBytesOfAFileThatGrows) {
  auto members = archive_members(files_, db_);
  put_file(files_, db_ + "/MANIFEST", "manifest, and more");
  write_archive(files_, members, file_);
  extract_archive(files_, file_, out_);
  EXPECT_EQ(get_file(files_, out_ + "/MANIFEST"), "manifest");
  members[0].bytes = 1000;
  EXPECT_EQ(code_of([&] { write_archive(files_, members, file_ + "2"); }), ErrorCode::kCorruption);
  EXPECT_FALSE(files_.exists(file_ + "2"));
  EXPECT_FALSE(files_.exists(file_ + "2.partial"));
}

TEST_F(ArchiveTest, TarOpensIt) {
  if (std::system("tar --version >/dev/null 2>&1 && zstd --version >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "no tar or no zstd here";
  }
  archive(files_, db_, file_);
  files_.make_dir(out_);
  ASSERT_EQ(std::system(("tar --zstd -xf " + file_ + " -C " + out_).c_str()), 0);
  const std::string checksums = get_file(files_, out_ + "/CHECKSUMS");
  EXPECT_NE(checksums.find(" 8 MANIFEST\n"), std::string::npos) << checksums;
  files_.remove(out_ + "/CHECKSUMS");
  EXPECT_EQ(contents_of(files_, out_), contents_of(files_, db_));
}

TEST_F(ArchiveTest, ReplacesNothingThatIsThere) {
  archive(files_, db_, file_);
  EXPECT_EQ(code_of([&] { archive(files_, db_, file_); }), ErrorCode::kInvalidInput);
  const Contents before = contents_of(files_, db_);
  EXPECT_EQ(code_of([&] { extract_archive(files_, file_, db_); }), ErrorCode::kInvalidInput);
  EXPECT_EQ(contents_of(files_, db_), before);
  EXPECT_EQ(code_of([&] { extract_archive(files_, file_, file_); }), ErrorCode::kInvalidInput);
  EXPECT_EQ(code_of([&] { extract_archive(files_, db_, out_); }), ErrorCode::kInvalidInput);
  files_.make_dir(out_);
  files_.make_dir(out_ + ".partial");
  put_file(files_, file_ + "2.partial", "somebody's");
  put_file(files_, out_ + ".partial/mine", "kept");
  extract_archive(files_, file_, out_);
  archive(files_, db_, file_ + "2");
  EXPECT_EQ(get_file(files_, out_ + ".partial/mine"), "kept");
  EXPECT_EQ(get_file(files_, file_ + "2.partial"), "somebody's");
  EXPECT_EQ(contents_of(files_, out_), before);
}

TEST_F(ArchiveTest, StopsWhenAskedAndLeavesNothing) {
  Interrupt interrupt;
  interrupt.stop();
  const auto members = archive_members(files_, db_);
  EXPECT_EQ(code_of([&] { write_archive(files_, members, file_, {}, &interrupt); }),
            ErrorCode::kInterrupted);
  archive(files_, db_, file_);
  EXPECT_EQ(code_of([&] { extract_archive(files_, file_, out_, {}, &interrupt); }),
            ErrorCode::kInterrupted);
  EXPECT_EQ(files_.list_dir(directory_.path()), (std::vector<std::string>{"db", "db.tar.zst"}));
}

// ---- damage -------------------------------------------------------------------------------------

class ArchiveDamageTest : public ::testing::Test {
 protected:
  ArchiveDamageTest() {
    files_.make_dir("/d");
    make_tree(files_, "/d/db", 20'000);
    archive(files_, "/d/db", "/d/a");
    good_ = files_.contents("/d/a");
    expected_ = contents_of(files_, "/d/db");
  }
  // Either the exact contents come back, or kCorruption and nothing does.
  void expect_exact_or_refused(const std::string& bytes, const std::string& what) {
    SimulatedFiles files;  // new, as each keeps the address space of all files that it has had
    files.make_dir("/d");
    files.set_contents("/d/b", bytes);
    try {
      extract_archive(files, "/d/b", "/d/out");
      EXPECT_EQ(contents_of(files, "/d/out"), expected_) << what;
      remove_tree(files, "/d/out");
      ++accepted_;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption) << what << ": " << error.what();
      EXPECT_NE(std::string(error.what()).find("/d/b"), std::string::npos) << error.what();
    }
    EXPECT_EQ(files.list_dir("/d"), std::vector<std::string>{"b"}) << what;
  }

  SimulatedFiles files_;
  std::string good_;
  Contents expected_;
  int accepted_ = 0;
};

TEST_F(ArchiveDamageTest, FlippedBytesAreRefused) {
  for (std::size_t at = 0; at < good_.size(); at += at < 64 || at + 600 > good_.size() ? 1 : 97) {
    std::string bytes = good_;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
    expect_exact_or_refused(bytes, "flip at " + std::to_string(at));
  }
  EXPECT_LE(accepted_, 10) << "bits that mean nothing to zstd";
}

TEST_F(ArchiveDamageTest, TruncatedArchivesAreRefused) {
  for (std::size_t size = 0; size < good_.size(); size += size < 64 ? 1 : 331) {
    expect_exact_or_refused(good_.substr(0, size), "cut to " + std::to_string(size));
  }
  expect_exact_or_refused(good_.substr(0, good_.size() - 1), "last byte missing");
  expect_exact_or_refused(good_ + '\0', "a byte more");
  expect_exact_or_refused(good_ + good_, "twice");
  EXPECT_EQ(accepted_, 0);
}

TEST_F(ArchiveDamageTest, ZeroedAndSplicedArchivesAreRefused) {
  make_tree(files_, "/other", 20'011);
  archive(files_, "/other", "/d/b");
  const std::string other = files_.contents("/d/b");
  for (std::size_t at = 0; at + 512 < good_.size(); at += 509) {
    std::string zeroed = good_;
    zeroed.replace(at, 512, std::string(512, '\0'));
    expect_exact_or_refused(zeroed, "zeros at " + std::to_string(at));
    std::string spliced = good_.substr(0, at) + other.substr(at);
    if (spliced != other) expect_exact_or_refused(spliced, "spliced at " + std::to_string(at));
    std::string moved = good_;
    moved.replace(at, 100, good_.substr((at * 7) % (good_.size() - 100), 100));
    if (moved != good_) expect_exact_or_refused(moved, "moved to " + std::to_string(at));
  }
  EXPECT_EQ(accepted_, 0);
}

// An archive whose compression and headers are in order but whose content is not.
class ForgedArchiveTest : public ArchiveDamageTest {
 protected:
  void add(const TarEntry& entry, const std::string& content, char type = 0) {
    TarBlock block = tar_header(entry, 0);
    if (type != 0) {
      const int change = type - block[156];
      block[156] = static_cast<std::uint8_t>(type);
      std::string digits(reinterpret_cast<const char*>(block.data()) + 148, 6);
      std::snprintf(digits.data(), 7, "%06o", std::stoi(digits, nullptr, 8) + change);
      std::copy(digits.begin(), digits.end(), block.begin() + 148);
    }
    tar_.append(reinterpret_cast<const char*>(block.data()), block.size());
    tar_ += content + std::string(tar_padding(content.size()), '\0');
  }
  void add_file(const std::string& name, const std::string& content) {
    add({name, false, content.size()}, content);
  }
  std::string compressed(bool with_end = true) {
    const std::string tar = tar_ + (with_end ? std::string(2 * kTarBlockBytes, '\0') : "");
    const auto file = files_.open("/d/forged", OpenMode::kCreate);
    file->truncate(0);
    ZstdWriter writer(*file);
    writer.write(as_byte_span(tar));
    writer.finish();
    const std::string bytes = files_.contents("/d/forged");
    files_.remove("/d/forged");
    return bytes;
  }
  void expect_refused(const std::string& what, const std::string& why = "") {
    files_.set_contents("/d/b", compressed());
    std::string message;
    EXPECT_EQ(code_of([&] { extract_archive(files_, "/d/b", "/d/out"); }, &message),
              ErrorCode::kCorruption)
        << what;
    EXPECT_NE(message.find(why), std::string::npos) << what << ": " << message;
    EXPECT_EQ(files_.list_dir("/d"), (std::vector<std::string>{"a", "b", "db"})) << what;
    tar_.clear();
  }

  std::string tar_;
};

TEST_F(ForgedArchiveTest, NothingIsWrittenOutsideTheTarget) {
  for (const char* name : {"../x", "/x", "a/../../x", "a//x", ".", "..", "./x", "a/."}) {
    add_file(name, "evil");
    expect_refused(name, "name of an entry");
  }
  for (const char type : {'1', '2', '3', '4', '6', 'x', 'g', 'L', '\x01'}) {
    add({"link", false, 0}, "", type);
    expect_refused(std::string("type ") + type, "no file or directory");
  }
  EXPECT_FALSE(files_.exists("/x"));
}

TEST_F(ForgedArchiveTest, ContentThatDoesNotAgreeWithItselfIsRefused) {
  const std::string sum = "e3069283 9 a\n";
  add_file("a", "123456789");
  add_file("CHECKSUMS", sum);
  files_.set_contents("/d/b", compressed());
  extract_archive(files_, "/d/b", "/d/out");
  EXPECT_EQ(contents_of(files_, "/d/out"), (Contents{{"a", "123456789"}}));
  remove_tree(files_, "/d/out");
  tar_.clear();

  add_file("a", "123456789");
  expect_refused("no checksums", "no CHECKSUMS");
  add_file("a", "123456780");
  add_file("CHECKSUMS", sum);
  expect_refused("other content", "not those of");
  add_file("CHECKSUMS", sum);
  expect_refused("a file missing", "not those of");
  add_file("a", "123456789");
  add_file("b", "");
  add_file("CHECKSUMS", sum);
  expect_refused("a file too many", "not those of");
  add_file("CHECKSUMS", sum);
  add_file("a", "123456789");
  expect_refused("checksums not last", "behind CHECKSUMS");
  add_file("a", "123456789");
  add_file("a", "123456789");
  add_file("CHECKSUMS", sum);
  expect_refused("twice", "two entries");
  add_file("a", "123456789");
  add_file("a/b", "1");
  add_file("CHECKSUMS", sum);
  expect_refused("file and directory", "directory too");
  for (const char* text : {"", "\n", " ", "x", "a b", "\0\0", "e3069283 9 a"}) {
    add_file("a", "123456789");
    add_file("CHECKSUMS", text);
    expect_refused("senseless checksums");
  }
  add({"a", false, std::uint64_t{1} << 61}, "123456789");
  expect_refused("a size beyond everything", "ends early");
  add_file("a", "123456789");
  add_file("CHECKSUMS", sum);
  files_.set_contents("/d/b", compressed(false));
  EXPECT_EQ(code_of([&] { extract_archive(files_, "/d/b", "/d/out"); }), ErrorCode::kCorruption);
}

// ---- failing disks ------------------------------------------------------------------------------

TEST(ArchiveFaultTest, AFullOrFailingDiskLeavesNothingBehind) {
  // Archives hold the time of their making, to the second.
  struct StandingClock {
    StandingClock() {
      replace_clock([] { return std::int64_t{1'900'000'000'000'000}; });
    }
    ~StandingClock() { replace_clock(nullptr); }
    StandingClock(const StandingClock&) = delete;
    StandingClock& operator=(const StandingClock&) = delete;
  } clock;
  for (const int error : {ENOSPC, EIO}) {
    for (std::uint64_t step = 0;; ++step) {
      SimulatedFiles files;
      files.make_dir("/d");
      make_tree(files, "/d/db", 1000);
      archive(files, "/d/db", "/d/a");
      const std::vector<std::string> before = files.list_dir("/d");
      const std::uint64_t start = files.operations();
      files.set_fault({start + step, error, false, 100});
      bool failed = false;
      try {
        archive(files, "/d/db", "/d/b");
        extract_archive(files, "/d/a", "/d/out");
      } catch (const Error& caught) {
        failed = true;
        EXPECT_EQ(caught.code(), ErrorCode::kStorage);
        EXPECT_EQ(caught.os_error(), error);
      }
      if (!failed) {
        EXPECT_GT(step, 10u);
        break;
      }
      files.set_fault({});
      // What is there is whole: a failed sync of the directory's names comes after the rename.
      if (files.exists("/d/b")) {
        EXPECT_EQ(files.contents("/d/b"), files.contents("/d/a"));
        files.remove("/d/b");
      }
      if (files.exists("/d/out")) {
        EXPECT_EQ(contents_of(files, "/d/out"), contents_of(files, "/d/db"));
        remove_tree(files, "/d/out");
      }
      EXPECT_EQ(files.list_dir("/d"), before) << "step " << step;
    }
  }
}

TEST(ArchivePowerTest, WhatBearsItsNameAfterAPowerCutIsWhole) {
  SimulatedFiles files;
  files.make_dir("/d");
  files.sync_dir("/");
  make_tree(files, "/d/db", 1000);
  const Contents expected = contents_of(files, "/d/db");
  archive(files, "/d/db", "/d/a");
  EXPECT_TRUE(files.crash(SimulatedFiles::Keep::kNothing)->exists("/d/a"));
  extract_archive(files, "/d/a", "/d/out");
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    const auto after = files.crash(SimulatedFiles::Keep::kSome, seed);
    EXPECT_EQ(contents_of(*after, "/d/out"), expected);
    EXPECT_EQ(after->contents("/d/a"), files.contents("/d/a"));
  }
}

// ---- headers ------------------------------------------------------------------------------------

TEST(TarTest, HeadersCarryLongNamesAndLargeSizes) {
  const std::string part(90, 'p');
  for (const std::string& name : {std::string("a"), part + "/" + part, std::string(100, 'x')}) {
    for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{511}, std::uint64_t{1} << 33,
                                      (std::uint64_t{1} << 33) - 1, std::uint64_t{1} << 50}) {
      const auto entry = parse_tar_header(tar_header({name, false, bytes}, 1'700'000'000));
      ASSERT_TRUE(entry);
      EXPECT_EQ(entry->name, name);
      EXPECT_EQ(entry->bytes, bytes);
      EXPECT_FALSE(entry->is_directory);
    }
  }
  EXPECT_TRUE(parse_tar_header(tar_header({part + "/d", true, 0}, 0))->is_directory);
  EXPECT_EQ(code_of([] {
              tar_header({std::string(101, 'x'), false, 0}, 0);
            }),
            ErrorCode::kInvalidInput);
  EXPECT_FALSE(parse_tar_header(TarBlock{}));
}

}  // namespace
}  // namespace srvdb
