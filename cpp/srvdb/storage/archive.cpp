#include "srvdb/storage/archive.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <span>
#include <utility>

#include "srvdb/base/clock.h"
#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/storage/tar.h"
#include "srvdb/storage/zstd_stream.h"

namespace srvdb {

namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxChecksumsBytes = std::size_t{64} << 20;
constexpr const char* kChecksumsName = "CHECKSUMS";

std::string checksum_line(std::uint32_t crc, std::uint64_t bytes, const std::string& name) {
  char digits[16];
  std::snprintf(digits, sizeof digits, "%08x", static_cast<unsigned>(crc));
  return std::string(digits) + " " + std::to_string(bytes) + " " + name + "\n";
}

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// ---- writing ------------------------------------------------------------------------------------

class ArchiveWriter {
 public:
  ArchiveWriter(FileSystem& files, File& to, std::uint64_t total_bytes,
                const ArchiveProgress& progress, Interrupt* interrupt)
      : files_(files),
        out_(to),
        total_bytes_(total_bytes),
        progress_(progress),
        interrupt_(interrupt),
        time_s_(now_us() / 1'000'000) {}

  void add(const ArchiveMember& member) {
    if (member.name == kChecksumsName) {
      throw Error(ErrorCode::kInvalidInput, "an archive's own file: " + member.name);
    }
    if (member.is_directory) return put_header({member.name, true, 0});
    put_header({member.name, false, member.bytes});
    const auto file = files_.open(member.path, OpenMode::kRead);
    std::uint32_t crc = 0;
    for (std::uint64_t done = 0; done < member.bytes;) {
      check(interrupt_);
      const auto piece =
          static_cast<std::size_t>(std::min<std::uint64_t>(member.bytes - done, kPieceBytes));
      file->pread_exactly(buffer_.data(), piece, done);
      crc = crc32c(buffer_.data(), piece, crc);
      out_.write({buffer_.data(), piece});
      done += piece;
      info_.bytes += piece;
      if (progress_) progress_(info_.bytes, total_bytes_);
    }
    put_padding(member.bytes);
    checksums_ += checksum_line(crc, member.bytes, member.name);
    ++info_.files;
  }

  ArchiveInfo finish() {
    put_header({kChecksumsName, false, checksums_.size()});
    out_.write(as_byte_span(checksums_));
    put_padding(checksums_.size());
    const TarBlock end{};
    out_.write(end);
    out_.write(end);
    out_.finish();
    info_.archive_bytes = out_.file_bytes();
    return info_;
  }

 private:
  void put_header(const TarEntry& entry) { out_.write(tar_header(entry, time_s_)); }
  void put_padding(std::uint64_t bytes) {
    const TarBlock zeros{};
    out_.write(std::span(zeros).first(tar_padding(bytes)));
  }

  FileSystem& files_;
  ZstdWriter out_;
  std::uint64_t total_bytes_;
  const ArchiveProgress& progress_;
  Interrupt* interrupt_;
  std::int64_t time_s_;
  std::vector<std::uint8_t> buffer_ = std::vector<std::uint8_t>(kPieceBytes);
  std::string checksums_;
  ArchiveInfo info_;
};

void list_members(FileSystem& files, const std::string& path, const std::string& prefix,
                  std::vector<ArchiveMember>& members) {
  for (const std::string& name : files.list_dir(path)) {
    const std::string inner = path + "/" + name;
    const auto found = files.info(inner);
    if (!found) continue;
    if (found->is_directory) {
      members.push_back({prefix + name, inner, 0, true});
      if (!found->is_link) list_members(files, inner, prefix + name + "/", members);
    } else {
      members.push_back({prefix + name, inner, found->size, false});
    }
  }
}

// ---- reading ------------------------------------------------------------------------------------

class ArchiveReader {
 public:
  ArchiveReader(FileSystem& files, const std::string& archive_path, std::string target,
                const ArchiveProgress& progress, Interrupt* interrupt)
      : files_(files),
        file_(files.open(archive_path, OpenMode::kRead)),
        in_(*file_),
        target_(std::move(target)),
        total_bytes_(file_->size()),
        progress_(progress),
        interrupt_(interrupt) {}

  ArchiveInfo extract() {
    TarBlock block;
    for (;;) {
      read_exactly(block.data(), block.size());
      const auto entry = parse(block);
      if (!entry) break;
      if (checksums_seen_) damaged("an entry behind " + std::string(kChecksumsName));
      if (entry->name == kChecksumsName) {
        read_checksums(*entry);
      } else if (entry->is_directory) {
        make_dirs(entry->name);
      } else {
        read_member(*entry);
      }
    }
    read_exactly(block.data(), block.size());
    if (parse(block)) damaged("an entry behind the end");
    in_.expect_end();
    if (!checksums_seen_) damaged("no " + std::string(kChecksumsName));
    if (found_ != expected_) damaged("its files are not those of " + std::string(kChecksumsName));
    info_.archive_bytes = total_bytes_;
    return info_;
  }

 private:
  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(ErrorCode::kCorruption, file_->path() + ": damaged archive: " + what);
  }
  std::optional<TarEntry> parse(const TarBlock& block) const {
    try {
      return parse_tar_header(block);
    } catch (const Error& error) {
      throw Error(error.code(), file_->path() + ": " + error.what());
    }
  }
  void read_exactly(void* to, std::size_t bytes) {
    if (in_.read(to, bytes) != bytes) damaged("the content ends early");
  }
  void skip_padding(std::uint64_t bytes) {
    TarBlock zeros;
    read_exactly(zeros.data(), tar_padding(bytes));
  }

  // Makes the directory and those above it, below the target.
  void make_dirs(const std::string& name) {
    for (std::size_t at = 0; at != std::string::npos;) {
      at = name.find('/', at + 1);
      const std::string part = name.substr(0, at);
      if (found_.contains(part)) damaged("a file that is a directory too: " + part);
      if (directories_.insert(part).second) files_.make_dir(target_ + "/" + part);
    }
  }

  void read_member(const TarEntry& entry) {
    if (found_.contains(entry.name) || directories_.contains(entry.name)) {
      damaged("two entries of one name: " + entry.name);
    }
    if (entry.name.find('/') != std::string::npos) make_dirs(parent_of(entry.name));
    const auto to = files_.open(target_ + "/" + entry.name, OpenMode::kCreateNew);
    std::uint32_t crc = 0;
    for (std::uint64_t done = 0; done < entry.bytes;) {
      check(interrupt_);
      const auto piece =
          static_cast<std::size_t>(std::min<std::uint64_t>(entry.bytes - done, kPieceBytes));
      read_exactly(buffer_.data(), piece);
      crc = crc32c(buffer_.data(), piece, crc);
      to->pwrite(buffer_.data(), piece, done);
      done += piece;
      info_.bytes += piece;
      if (progress_) progress_(in_.file_bytes(), total_bytes_);
    }
    skip_padding(entry.bytes);
    found_[entry.name] = checksum_line(crc, entry.bytes, entry.name);
    ++info_.files;
  }

  void read_checksums(const TarEntry& entry) {
    if (entry.is_directory || entry.bytes > kMaxChecksumsBytes) damaged(entry.name);
    std::string text(static_cast<std::size_t>(entry.bytes), '\0');
    read_exactly(text.data(), text.size());
    skip_padding(entry.bytes);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
      const std::string line = text.substr(at, end - at);
      const std::size_t first_space = std::min(line.find(' '), line.size());
      const std::size_t second_space = std::min(line.find(' ', first_space + 1), line.size() - 1);
      const std::string name = line.substr(second_space + 1);
      expected_[name.substr(0, name.find('\n'))] = line;
      at = end;
    }
    checksums_seen_ = true;
  }

  FileSystem& files_;
  std::unique_ptr<File> file_;
  ZstdReader in_;
  std::string target_;
  std::uint64_t total_bytes_;
  const ArchiveProgress& progress_;
  Interrupt* interrupt_;
  std::vector<std::uint8_t> buffer_ = std::vector<std::uint8_t>(kPieceBytes);
  std::map<std::string, std::string> found_;     // name → line that CHECKSUMS must have
  std::map<std::string, std::string> expected_;  // name → line that it has
  std::set<std::string> directories_;
  bool checksums_seen_ = false;
  ArchiveInfo info_;
};

// A new directory beside the target. Another one of that name is left alone.
std::string make_temporary_dir(FileSystem& files, const std::string& target) {
  std::string path = target + ".partial";
  for (int i = 1; !files.make_dir(path); ++i) path = target + ".partial" + std::to_string(i);
  return path;
}

// A new file beside the archive, by the same rule.
std::unique_ptr<File> make_temporary_file(FileSystem& files, const std::string& target) {
  std::string path = target + ".partial";
  for (int i = 1; files.exists(path); ++i) path = target + ".partial" + std::to_string(i);
  return files.open(path, OpenMode::kCreateNew);
}

void forget(FileSystem& files, const std::string& path) noexcept {
  try {
    remove_tree(files, path);
  } catch (...) {  // the error that led here is the one to report
  }
}

}  // namespace

std::vector<ArchiveMember> archive_members(FileSystem& files, const std::string& directory) {
  std::vector<ArchiveMember> members;
  list_members(files, directory, "", members);
  return members;
}

ArchiveInfo write_archive(FileSystem& files, const std::vector<ArchiveMember>& members,
                          const std::string& archive_path, const ArchiveProgress& progress,
                          Interrupt* interrupt) {
  if (files.exists(archive_path)) {
    throw Error(ErrorCode::kInvalidInput, archive_path + " exists; an archive replaces nothing");
  }
  std::uint64_t total = 0;
  for (const ArchiveMember& member : members) total += member.bytes;
  std::unique_ptr<File> file = make_temporary_file(files, archive_path);
  const std::string temporary = file->path();
  try {
    ArchiveWriter writer(files, *file, total, progress, interrupt);
    for (const ArchiveMember& member : members) writer.add(member);
    const ArchiveInfo info = writer.finish();
    file->sync_data();
    file.reset();
    files.rename(temporary, archive_path);
    files.sync_dir(parent_of(archive_path));
    return info;
  } catch (...) {
    file.reset();
    forget(files, temporary);
    throw;
  }
}

ArchiveInfo extract_archive(FileSystem& files, const std::string& archive_path,
                            const std::string& directory, const ArchiveProgress& progress,
                            Interrupt* interrupt) {
  const std::string target = without_trailing_slashes(directory);
  if (const auto found = files.info(target)) {
    if (!found->is_directory || !files.list_dir(target).empty()) {
      throw Error(ErrorCode::kInvalidInput,
                  target + " must be absent or an empty directory to be restored to");
    }
  }
  const auto archive = files.info(archive_path);
  if (!archive || archive->is_directory) {
    throw Error(ErrorCode::kInvalidInput, archive_path + " is not an archive");
  }
  const std::string temporary = make_temporary_dir(files, target);
  try {
    const ArchiveInfo info =
        ArchiveReader(files, archive_path, temporary, progress, interrupt).extract();
    sync_tree(files, temporary);
    files.rename(temporary, target);
    files.sync_dir(parent_of(target));
    return info;
  } catch (...) {
    forget(files, temporary);
    throw;
  }
}

}  // namespace srvdb
