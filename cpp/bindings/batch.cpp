#include "batch.h"

#include <algorithm>
#include <utility>

#include "errors.h"
#include "json_writer.h"

namespace py = pybind11;

namespace srvdb::bindings {
namespace {

// A copy of [start, end) that nobody else can change; a whole tuple needs none.
py::object own_slice(py::handle sequence, std::size_t start, std::size_t end) {
  const auto from = static_cast<Py_ssize_t>(start);
  const auto to = static_cast<Py_ssize_t>(end);
  PyObject* slice = PyList_Check(sequence.ptr()) ? PyList_GetSlice(sequence.ptr(), from, to)
                                                 : PyTuple_GetSlice(sequence.ptr(), from, to);
  if (slice == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(slice);
}

std::size_t length(py::handle sequence, const char* name) {
  if (!PyList_Check(sequence.ptr()) && !PyTuple_Check(sequence.ptr())) {
    throw Error(ErrorCode::kInvalidInput, std::string(name) + " must be a list or tuple, got " +
                                              Py_TYPE(sequence.ptr())->tp_name);
  }
  return static_cast<std::size_t>(PySequence_Fast_GET_SIZE(sequence.ptr()));
}

std::size_t window_end(py::handle ids, const Matrix& rows, const Window& window) {
  const std::size_t n = length(ids, "ids");
  if (rows.ndim() != 2 || static_cast<std::size_t>(rows.shape(0)) != n) {
    throw Error(ErrorCode::kInvalidInput,
                "expected one row of vectors for each of " + std::to_string(n) + " ids");
  }
  const std::size_t start = std::min(window.start, n);
  return start + std::min(window.max_rows, n - start);
}

}  // namespace

std::string_view id_view(py::handle id, const std::string& where) {
  if (!PyUnicode_Check(id.ptr())) {
    const bool number = PyLong_Check(id.ptr()) || PyIndex_Check(id.ptr());
    throw Error(ErrorCode::kInvalidInput, where + "an id must be str, got " + describe(id) +
                                              (number ? "; write str(i)" : ""));
  }
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(id.ptr(), &size);
  if (text == nullptr) {
    PyErr_Clear();
    throw Error(ErrorCode::kInvalidInput,
                where + "the id is not valid Unicode (a lone surrogate): " + describe(id));
  }
  return {text, static_cast<std::size_t>(size)};
}

IdList::IdList(py::handle ids, std::size_t start, std::size_t end, std::size_t first_item)
    : holder_((static_cast<void>(length(ids, "ids")), own_slice(ids, start, end))) {
  const auto n = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(holder_.ptr()));
  PyObject** items = PySequence_Fast_ITEMS(holder_.ptr());
  views_.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    Py_ssize_t size = 0;
    const char* text =
        PyUnicode_Check(items[i]) ? PyUnicode_AsUTF8AndSize(items[i], &size) : nullptr;
    if (text == nullptr) {
      PyErr_Clear();
      static_cast<void>(id_view(items[i], item_prefix(first_item + start + i)));  // throws
    }
    views_.emplace_back(text, static_cast<std::size_t>(size));
  }
}

MetadataList::MetadataList(py::handle metadata, std::size_t start, std::size_t end,
                           std::size_t first_item)
    : first_item_(first_item + start) {
  if (metadata.is_none()) return;
  if (length(metadata, "metadatas") < end) {
    throw Error(ErrorCode::kInvalidInput, "metadatas must have one entry for each id");
  }
  holder_ = own_slice(metadata, start, end);
  written_.reserve(end - start);
  views_.reserve(end - start);
}

std::size_t MetadataList::take(std::size_t i) {
  if (!holder_) return 0;
  PyObject* value = PySequence_Fast_GET_ITEM(holder_.ptr(), static_cast<Py_ssize_t>(i));
  views_.emplace_back();
  written_.push_back({0, kText});
  if (PyDict_Check(value)) {
    const std::size_t offset = arena_.size();
    JsonWriter(arena_).write(value, first_item_ + i);
    written_.back() = {offset, arena_.size() - offset};
    return written_.back().size;
  }
  if (PyUnicode_Check(value)) return take_text(value, i);
  if (value == Py_None) return 0;
  throw Error(ErrorCode::kInvalidInput,
              item_prefix(first_item_ + i) +
                  "metadata must be a dict, a JSON object as text or None, got " + describe(value));
}

std::size_t MetadataList::take_text(py::handle value, std::size_t i) {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(value.ptr(), &size);
  if (text == nullptr) {
    PyErr_Clear();
    throw Error(ErrorCode::kInvalidInput,
                item_prefix(first_item_ + i) + "metadata is not valid Unicode");
  }
  if (size == 0) {
    throw Error(ErrorCode::kInvalidInput, item_prefix(first_item_ + i) +
                                              "metadata must be a JSON object, got an empty str; "
                                              "leave it out or pass None for no metadata");
  }
  views_.back() = {text, static_cast<std::size_t>(size)};
  written_here_ = false;
  return views_.back().size();
}

void MetadataList::finish() {
  for (std::size_t i = 0; i < views_.size(); ++i) {
    if (written_[i].size == kText) continue;
    views_[i] = std::string_view(arena_).substr(written_[i].offset, written_[i].size);
  }
}

PyBatch::PyBatch(py::handle ids, const Matrix& rows, py::handle metadata,
                 const std::optional<Moments>& expires_at, const Window& window)
    : ids_(ids, window.start, window_end(ids, rows, window), window.first_item),
      rows_(rows),
      start_(window.start),
      metadata_(metadata, start_, start_ + size(), window.first_item),
      first_item_(window.first_item + window.start) {
  if (!metadata.is_none() && length(metadata, "metadatas") != length(ids, "ids")) {
    throw Error(ErrorCode::kInvalidInput, "metadatas must have one entry for each id");
  }
  ids_.truncate(rows_that_fit(window.max_bytes));
  take_moments(expires_at, length(ids, "ids"));
}

// How many rows of the window fit into max_bytes, one at least; reads their metadata.
std::size_t PyBatch::rows_that_fit(std::size_t max_bytes) {
  const std::size_t n = size();
  const std::size_t row_bytes = static_cast<std::size_t>(rows_.shape(1)) * sizeof(float);
  std::size_t bytes = 0;
  std::size_t fit = 0;
  while (fit < n) {
    bytes += ids_.views()[fit].size() + row_bytes + metadata_.take(fit);
    if (bytes > max_bytes && fit > 0) break;
    ++fit;
  }
  metadata_.finish();
  return fit;
}

void PyBatch::take_moments(const std::optional<Moments>& expires_at, std::size_t of) {
  if (!expires_at) return;
  const auto given = static_cast<std::size_t>(expires_at->size());
  if (given == 1) {
    moments_.assign(size(), *expires_at->data());
    return;
  }
  if (given != of) {
    throw Error(ErrorCode::kInvalidInput, "expires_at must have one entry for each id");
  }
  moments_.assign(expires_at->data() + start_, expires_at->data() + start_ + size());
}

Batch PyBatch::batch() const {
  Batch batch;
  batch.ids = ids_.views();
  batch.dim = static_cast<std::size_t>(rows_.shape(1));
  batch.rows = rows_.data() + start_ * batch.dim;
  batch.metadata = metadata_.views().first(std::min(size(), metadata_.views().size()));
  batch.metadata_is_valid = metadata_.written_here();
  batch.expires_at = moments_;
  batch.first_item = first_item_;
  return batch;
}

}  // namespace srvdb::bindings
