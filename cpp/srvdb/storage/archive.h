// A directory as one file: a tar archive in one zstd frame, so that `tar --zstd -xf` opens it too.
//
// The last entry, CHECKSUMS, has a line for each file: CRC-32C in 8 hex digits, length in bytes,
// name. What is read back has passed the checksum of the frame, that of each tar header, and the
// line of its file; nothing is left at the target unless all of it did. Layout: cpp/FORMAT.md.
//
// Memory is bounded whatever the archive says. Thread safety: free functions over files nobody else
// changes; work in progress lies beside its target under a new name, ".partial" or ".partial<n>",
// which only a crash leaves behind. Errors: kStorage from the file system, kCorruption for a
// damaged archive (path, offset or entry), kInterrupted; after any of them neither function leaves
// anything behind.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "srvdb/base/interrupt.h"
#include "srvdb/storage/file.h"

namespace srvdb {

// One thing to archive. Of a file the first `bytes` bytes are taken: files that are being appended
// to are archived up to the length that is published.
struct ArchiveMember {
  std::string name;  // in the archive, relative
  std::string path;  // where it lies
  std::uint64_t bytes = 0;
  bool is_directory = false;
};

struct ArchiveInfo {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;          // of their content
  std::uint64_t archive_bytes = 0;  // of the archive
};

// Called between pieces: bytes of content done and in all (extracting: bytes of the archive).
using ArchiveProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

// Every file and directory below `directory`, as it is now.
std::vector<ArchiveMember> archive_members(FileSystem& files, const std::string& directory);

// Writes the members to `archive_path`, which must not exist (kInvalidInput): to a temporary name
// beside it, synced, renamed. A file that is shorter than its member says is kCorruption.
ArchiveInfo write_archive(FileSystem& files, const std::vector<ArchiveMember>& members,
                          const std::string& archive_path, const ArchiveProgress& progress = {},
                          Interrupt* interrupt = nullptr);

// Unpacks into `directory`, which must be absent or empty (kInvalidInput): into a temporary
// directory beside it, checked whole, synced, renamed.
ArchiveInfo extract_archive(FileSystem& files, const std::string& archive_path,
                            const std::string& directory, const ArchiveProgress& progress = {},
                            Interrupt* interrupt = nullptr);

}  // namespace srvdb
