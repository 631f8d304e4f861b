// Row -> id: ids.bin (the id bytes, one after another) and ids.fix (16 bytes a row: where, how
// long, CRC).
//
// The CRC covers (row u32, offset u64, length u16, bytes), so a row can never show another row's
// id. It is checked on every look-up. Rows are appended in order without a gap; writing the same
// rows again after truncate_to gives the same bytes. Threads and errors as in strided_file.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "srvdb/base/prefetch.h"
#include "srvdb/base/types.h"
#include "srvdb/storage/file.h"
#include "srvdb/storage/growing_map.h"

namespace srvdb {

struct IdFix {
  std::uint64_t offset = 0;  // of the first byte in ids.bin
  std::uint32_t crc = 0;
  std::uint16_t length = 0;  // bytes, 1..kMaxIdBytes
  std::uint16_t zero = 0;
};
static_assert(sizeof(IdFix) == 16);

IdFix make_id_fix(Row row, std::uint64_t offset, std::string_view id) noexcept;

class IdView {
 public:
  IdView() = default;
  Row rows() const noexcept { return rows_; }
  // Points into the mapping: valid while a copy of this view lives. Throws Error(kCorruption), or
  // Error(kInvalidInput) for a row at or above rows().
  std::string_view id(Row row) const;
  // Asks the memory for what id() reads first. row < rows().
  void prefetch(Row row) const noexcept {
    prefetch_line(fixes_->data() + static_cast<std::size_t>(row) * sizeof(IdFix));
  }

 private:
  friend class IdFiles;
  std::shared_ptr<const Mapping> bytes_;
  std::shared_ptr<const Mapping> fixes_;
  std::shared_ptr<const std::string> path_;  // of ids.fix
  std::uint64_t id_bytes_ = 0;
  Row rows_ = 0;
};

class IdFiles {
 public:
  static std::unique_ptr<IdFiles> create(FileSystem& files, const std::string& bytes_path,
                                         const std::string& fix_path);
  // Both files must hold at least the given rows and bytes; appending goes on from there.
  static std::unique_ptr<IdFiles> open(FileSystem& files, const std::string& bytes_path,
                                       const std::string& fix_path, Row rows,
                                       std::uint64_t id_bytes, bool read_only);

  Row rows() const noexcept { return rows_; }                    // the writer's thread
  std::uint64_t id_bytes() const noexcept { return id_bytes_; }  // the writer's thread

  // first_row == rows(), else Error(kInvalidInput). On failure rows() and id_bytes() stay.
  void append(Row first_row, std::span<const std::string_view> ids);
  void sync();
  void truncate_to(Row rows, std::uint64_t id_bytes);
  // Rows that somebody else appended; both files must hold them.
  void advance_to(Row rows, std::uint64_t id_bytes);
  IdView view();  // of all rows appended so far; called by the writer's thread

 private:
  IdFiles(std::unique_ptr<File> bytes, std::unique_ptr<File> fixes);

  std::unique_ptr<File> bytes_;
  std::unique_ptr<File> fixes_;
  GrowingMap bytes_map_;
  GrowingMap fix_map_;
  std::shared_ptr<const std::string> path_;
  Row rows_ = 0;
  std::uint64_t id_bytes_ = 0;
};

}  // namespace srvdb
