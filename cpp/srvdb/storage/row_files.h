// The append-only files of one generation directory: vectors.bin + rows.fix and ids.bin + ids.fix.
//
// Threads and errors as in strided_file.h. A batch usually goes through append(); a large one calls
// write_rows() first (before its log record) and append_ids() afterwards.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "srvdb/base/types.h"
#include "srvdb/storage/file.h"
#include "srvdb/storage/id_files.h"
#include "srvdb/storage/strided_file.h"

namespace srvdb {

// What LMDB publishes: the lengths that recovery trusts.
struct PublishedRows {
  Row rows = 0;
  std::uint64_t id_bytes = 0;
};

// Rows [0, rows()), mapped. Cheap to copy.
class RowFilesView {
 public:
  RowFilesView() = default;
  RowFilesView(StridedView vectors, IdView ids)
      : vectors_(std::move(vectors)), ids_(std::move(ids)) {}

  Row rows() const noexcept { return vectors_.rows(); }
  std::size_t dimension() const noexcept { return vectors_.stride() / sizeof(float); }
  // Not verified: call verify first. Row-major, rows of `dimension` floats without padding.
  const float* row(Row r) const noexcept { return reinterpret_cast<const float*>(vectors_.at(r)); }
  const float* base() const noexcept { return reinterpret_cast<const float*>(vectors_.base()); }
  float norm(Row r) const noexcept { return vectors_.value(r); }
  std::string_view id(Row r) const { return ids_.id(r); }
  void prefetch_id(Row r) const noexcept { ids_.prefetch(r); }

  void verify(Row r) const { vectors_.verify(r); }
  void verify_range(Row first, Row count) const { vectors_.verify_range(first, count); }
  const StridedView& vectors() const noexcept { return vectors_; }

 private:
  StridedView vectors_;
  IdView ids_;
};

class RowFiles {
 public:
  // Makes the four files in `directory`, which exists. Nothing is synced, not even the directory.
  static std::unique_ptr<RowFiles> create(FileSystem& files, const std::string& directory,
                                          const Uuid& uuid, std::uint64_t generation,
                                          std::uint32_t dimension);
  // Opens them and checks lengths and header: uuid, generation and dimension must be the given
  // ones. Longer files are left as they are: truncate_to() or replay decides.
  static std::unique_ptr<RowFiles> open(FileSystem& files, const std::string& directory,
                                        const Uuid& uuid, std::uint64_t generation,
                                        std::uint32_t dimension, PublishedRows published,
                                        bool read_only);

  // Writes rows, fixes and ids at first_row == rows().
  void append(Row first_row, std::span<const float> rows, std::span<const RowFix> fixes,
              std::span<const std::string_view> ids);
  // Vectors and fixes only, at any row >= the published ones; ids follow by append_ids.
  void write_rows(Row first_row, std::span<const float> rows, std::span<const RowFix> fixes);
  void append_ids(Row first_row, std::span<const std::string_view> ids);
  // See StridedFile::direct_crc.
  std::optional<std::uint32_t> direct_crc(Row first_row, Row count);

  void start_sync() noexcept { vectors_->start_sync(); }  // of the large ones; see File::start_sync
  void sync();                                            // all four files
  void truncate_to(PublishedRows published);
  // Opened read-only: more has been published since; never less.
  void advance_to(PublishedRows published);
  // Rows that have their ids: [0, rows()).
  Row rows() const noexcept { return ids_->rows(); }
  std::uint64_t id_bytes() const noexcept { return ids_->id_bytes(); }
  Row file_rows() const { return vectors_->file_rows(); }
  // Rows [0, rows) of vectors.bin and rows.fix, which must have been written, with ids or without.
  StridedView written(Row rows) { return vectors_->view(rows); }
  RowFilesView view();  // of rows(); called by the writer's thread

 private:
  RowFiles(std::unique_ptr<StridedFile> vectors, std::unique_ptr<IdFiles> ids)
      : vectors_(std::move(vectors)), ids_(std::move(ids)) {}
  std::unique_ptr<StridedFile> vectors_;
  std::unique_ptr<IdFiles> ids_;
};

}  // namespace srvdb
