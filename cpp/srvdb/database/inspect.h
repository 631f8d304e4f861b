// The files of one generation as they lie there, whatever their condition: what verify() and
// repair() look through.
//
// Nothing here trusts a length or a header that was not checked, and nothing throws on damage: a
// file that is absent or too short has fewer rows. Mappings live as long as the object. Errors:
// kStorage.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/base/bytes.h"
#include "srvdb/base/types.h"
#include "srvdb/storage/file.h"
#include "srvdb/storage/id_files.h"
#include "srvdb/storage/manifest.h"
#include "srvdb/storage/meta_store.h"
#include "srvdb/storage/strided_file.h"

namespace srvdb {

// A whole file, mapped; empty when there is none.
class MappedFile {
 public:
  MappedFile(FileSystem& files, const std::string& path);
  bool exists() const noexcept { return exists_; }
  ByteSpan bytes() const noexcept { return bytes_; }
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  std::shared_ptr<const Mapping> mapping_;
  ByteSpan bytes_;
  bool exists_ = false;
};

// vectors.bin and rows.fix, or codes.i8 and codes.fix, by a stride that is known from elsewhere.
class RawRows {
 public:
  RawRows(FileSystem& files, const std::string& data_path, const std::string& fix_path,
          std::size_t stride);

  Row rows() const noexcept { return rows_; }  // that both files hold whole
  std::size_t stride() const noexcept { return stride_; }
  const MappedFile& data() const noexcept { return data_; }
  const MappedFile& fixes() const noexcept { return fixes_; }
  ByteSpan row(Row row) const noexcept;
  RowFix fix(Row row) const noexcept;
  bool is_good(Row row) const noexcept;
  std::uint64_t row_offset(Row row) const noexcept;
  static std::uint64_t fix_offset(Row row) noexcept;

 private:
  MappedFile data_;
  MappedFile fixes_;
  std::size_t stride_;
  Row rows_ = 0;
};

// ids.bin and ids.fix.
class RawIds {
 public:
  RawIds(FileSystem& files, const std::string& directory);

  Row rows() const noexcept { return rows_; }  // that ids.fix holds whole
  const MappedFile& bytes() const noexcept { return bytes_; }
  const MappedFile& fixes() const noexcept { return fixes_; }
  IdFix fix(Row row) const noexcept;
  // Nothing when the checksum does not hold.
  std::optional<std::string_view> id(Row row) const noexcept;

 private:
  MappedFile bytes_;
  MappedFile fixes_;
  Row rows_ = 0;
};

// A set of rows, one bit each.
class RowBits {
 public:
  explicit RowBits(std::uint64_t rows) : bits_(static_cast<std::size_t>(rows)) {}
  std::uint64_t rows() const noexcept { return bits_.size(); }
  bool test(Row row) const noexcept { return row < bits_.size() && bits_[row]; }
  void set(Row row, bool value = true) {
    if (row < bits_.size()) bits_[row] = value;
  }
  std::uint64_t count() const noexcept;
  // Takes over a chunk of the store; returns the first bit beyond the rows, if there is one.
  std::optional<std::uint64_t> set_chunk(std::uint32_t number, ByteSpan bits);
  // The chunks as the store keeps them, those without a bit left out.
  void for_each_chunk(const std::function<void(std::uint32_t number, ByteSpan bits)>& chunk) const;

 private:
  std::vector<bool> bits_;
};

// What can be said of a database whose manifest cannot be read, from the headers of its files.
struct GuessedManifest {
  Manifest manifest;
  bool metric_known = false;
};
// Nothing when no generation directory has a file that tells the dimension.
std::optional<GuessedManifest> guess_manifest(FileSystem& files, const std::string& path);

}  // namespace srvdb
