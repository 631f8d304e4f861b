// Python lists → one srvdb::Batch: ids and metadata as views, vectors in place.
//
// Strings are read where Python keeps them; references to every item are held, so that another
// thread which changes the caller's list does no harm. Dicts are written as JSON into one arena.
// Errors are Error(kInvalidInput) that name the item by its number in the caller's list. Build it
// and drop it with the GIL held; batch() may be used without.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/database/database.h"

namespace srvdb::bindings {

using Matrix = pybind11::array_t<float, pybind11::array::c_style>;  // n × dim, taken without a copy

// The piece of a large input that one call writes. It ends early where max_bytes is reached, but
// never before its first row.
struct Window {
  std::size_t start = 0;
  std::size_t max_rows = std::numeric_limits<std::size_t>::max();
  std::size_t max_bytes = std::numeric_limits<std::size_t>::max();
  std::size_t first_item = 0;  // number of the list's first item in messages
};

// Ids (list or tuple of str) from [start, end), as views into `holder`.
class IdList {
 public:
  IdList(pybind11::handle ids, std::size_t start, std::size_t end, std::size_t first_item);
  std::span<const std::string_view> views() const noexcept { return views_; }
  void truncate(std::size_t n) { views_.resize(n); }

 private:
  pybind11::object holder_;  // a list or tuple of our own
  std::vector<std::string_view> views_;
};

// Metadata (None, or a list or tuple of dict, JSON text or None) from [start, end), as JSON text.
class MetadataList {
 public:
  MetadataList(pybind11::handle metadata, std::size_t start, std::size_t end,
               std::size_t first_item);
  // Reads entry `i` of the range and returns its bytes; call it for 0, 1, … in turn, then finish.
  std::size_t take(std::size_t i);
  void finish();
  // One for each entry that was taken, "" for None; no views at all when there is no metadata.
  std::span<const std::string_view> views() const noexcept { return views_; }
  bool written_here() const noexcept {
    return written_here_;
  }  // no text of the caller's among them

 private:
  // Where a dict's JSON is in the arena, which may still move while it grows.
  struct Extent {
    std::size_t offset;
    std::size_t size;  // kText: the view is the caller's text already
  };
  static constexpr std::size_t kText = std::numeric_limits<std::size_t>::max();

  std::size_t take_text(pybind11::handle text, std::size_t i);

  pybind11::object holder_;  // a list or tuple of our own; null without metadata
  std::size_t first_item_;
  std::string arena_;  // JSON of the dicts
  std::vector<Extent> written_;
  std::vector<std::string_view> views_;
  bool written_here_ = true;
};

using Moments = pybind11::array_t<std::int64_t, pybind11::array::c_style>;  // ms since the epoch

class PyBatch {
 public:
  // ids: list or tuple of str; rows: len(ids) × dim; metadata: None, or a list or tuple as long as
  // ids, of dict, JSON text or None; expires_at: a moment for each id, one for all, or none.
  PyBatch(pybind11::handle ids, const Matrix& rows, pybind11::handle metadata,
          const std::optional<Moments>& expires_at, const Window& window);

  Batch batch() const;
  std::size_t size() const noexcept { return ids_.views().size(); }

 private:
  std::size_t rows_that_fit(std::size_t max_bytes);
  void take_moments(const std::optional<Moments>& expires_at, std::size_t of);

  IdList ids_;
  Matrix rows_;
  std::size_t start_;
  MetadataList metadata_;
  std::vector<std::int64_t> moments_;
  std::size_t first_item_;
};

// The text of one id argument; an int gets the hint to write str(i). `where` begins the message.
std::string_view id_view(pybind11::handle id, const std::string& where);

}  // namespace srvdb::bindings
