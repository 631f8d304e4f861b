// A View: everything a search needs to know of one moment, immutable.
//
// The core swaps in a new View once a batch, so a search sees a batch wholly or not at all. A View
// keeps what it shows alive: the mappings of its files, its append buffer, its graph. Copying one
// costs a few reference counts; reading one needs no lock.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "srvdb/base/types.h"
#include "srvdb/database/row_buffer.h"
#include "srvdb/distance/metric.h"
#include "srvdb/index/row_bitmap.h"
#include "srvdb/index/rows.h"
#include "srvdb/storage/row_files.h"

namespace srvdb {

struct IndexView;    // index_view.h
struct Calibration;  // calibration.h

// The mapped rows of a generation, checked on first touch.
class FileRows final : public RowVerifier {
 public:
  explicit FileRows(RowFilesView files) : files_(std::move(files)) {}
  void verify(Row first, Row last) const override { files_.verify_range(first, last - first); }
  const RowFilesView& files() const noexcept { return files_; }

 private:
  RowFilesView files_;
};

class View {
 public:
  std::size_t dim = 0;  // 0: no batch yet
  Metric metric = Metric::kCosine;
  std::uint64_t generation = 0;
  Sequence sequence = 0;                 // of the last batch it shows
  Row rows = 0;                          // all of the generation
  RowBitmap gone;                        // removed, replaced or expired: nobody sees them
  RowBitmap soft;                        // soft-deleted, none of them gone
  RowBitmap hidden;                      // both: what a search leaves out unless told otherwise
  std::shared_ptr<const FileRows> file;  // rows [0, file->files().rows()); never null once dim > 0
  std::shared_ptr<const RowBuffer> buffer;  // the rows behind them; may be null when there are none
  std::shared_ptr<const IndexView> index;   // codes and graph; never null
  std::shared_ptr<const Calibration> calibration;  // of the graph; never null

  std::size_t live() const noexcept { return rows - hidden.count(); }
  // Rows that a search can return.
  std::size_t visible(bool include_deleted) const noexcept {
    return rows - (include_deleted ? gone : hidden).count();
  }
  // Rows of this view that lie in the mapped files.
  Row file_rows() const noexcept {
    const Row mapped = file ? file->files().rows() : 0;
    return mapped < rows ? mapped : rows;
  }

  RowsView rows_view() const noexcept {
    RowsView out;
    out.rows = rows;
    out.file_rows = file_rows();
    out.dim = dim;
    out.norm_step = sizeof(RowFix) / sizeof(float);
    if (file) {
      out.file = file->files().base();
      out.file_norms = file->files().vectors().values();
      out.verifier = file.get();
    }
    if (buffer) {
      out.buffer = buffer->rows();
      out.buffer_norms = &buffer->fixes()->value;
    }
    return out;
  }
  // The row's id; lives as long as the view. Throws Error(kCorruption).
  std::string_view id(Row row) const {
    return row < file_rows() ? file->files().id(row) : buffer->id(row);
  }
  void prefetch_id(Row row) const noexcept {
    if (row < file_rows()) file->files().prefetch_id(row);
  }
};

}  // namespace srvdb
