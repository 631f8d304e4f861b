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
#include <limits>
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

class PyBatch {
 public:
  // ids: list or tuple of str; rows: len(ids) × dim; metadata: None, or a list or tuple as long as
  // ids, of dict, JSON text or None.
  PyBatch(pybind11::handle ids, const Matrix& rows, pybind11::handle metadata,
          const Window& window);

  Batch batch() const;
  std::size_t size() const noexcept { return ids_.views().size(); }

 private:
  std::size_t take_metadata(pybind11::handle metadata, const Window& window);
  std::size_t text_size(std::size_t i) const;

  IdList ids_;
  Matrix rows_;
  std::size_t start_;
  pybind11::object metadata_holder_;
  std::string arena_;  // JSON of the dicts
  std::vector<std::string_view> metadata_;
  bool written_here_ = true;  // no text of the caller's among them
  std::size_t first_item_;
};

// The text of one id argument; an int gets the hint to write str(i). `where` begins the message.
std::string_view id_view(pybind11::handle id, const std::string& where);

}  // namespace srvdb::bindings
