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

// Offset and length in an arena that may still move while it grows.
struct Extent {
  std::size_t offset;
  std::size_t size;
};

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

PyBatch::PyBatch(py::handle ids, const Matrix& rows, py::handle metadata, const Window& window)
    : ids_(ids, window.start, window_end(ids, rows, window), window.first_item),
      rows_(rows),
      start_(window.start),
      first_item_(window.first_item + window.start) {
  if (!metadata.is_none()) {
    if (length(metadata, "metadatas") != length(ids, "ids")) {
      throw Error(ErrorCode::kInvalidInput, "metadatas must have one entry for each id");
    }
    metadata_holder_ = own_slice(metadata, start_, start_ + size());
  }
  ids_.truncate(take_metadata(metadata_holder_, window));
}

std::size_t PyBatch::text_size(std::size_t i) const {
  return ids_.views()[i].size() + static_cast<std::size_t>(rows_.shape(1)) * sizeof(float);
}

// Fills metadata_ and returns how many rows of the window fit into max_bytes.
std::size_t PyBatch::take_metadata(py::handle metadata, const Window& window) {
  const std::size_t n = size();
  std::vector<Extent> written;  // size kText: the view in metadata_ is the caller's text
  constexpr std::size_t kText = std::numeric_limits<std::size_t>::max();
  if (metadata) {
    metadata_.resize(n);
    written.resize(n, Extent{0, kText});
  }
  JsonWriter writer(arena_);
  std::size_t bytes = 0;
  std::size_t i = 0;
  for (; i < n; ++i) {
    bytes += text_size(i);
    if (metadata) {
      PyObject* value = PySequence_Fast_GET_ITEM(metadata.ptr(), static_cast<Py_ssize_t>(i));
      if (PyDict_Check(value)) {
        const std::size_t offset = arena_.size();
        writer.write(value, first_item_ + i);
        written[i] = {offset, arena_.size() - offset};
        bytes += written[i].size;
      } else if (PyUnicode_Check(value)) {
        Py_ssize_t size = 0;
        const char* text = PyUnicode_AsUTF8AndSize(value, &size);
        if (text == nullptr) {
          PyErr_Clear();
          throw Error(ErrorCode::kInvalidInput,
                      item_prefix(first_item_ + i) + "metadata is not valid Unicode");
        }
        if (size == 0) {
          throw Error(ErrorCode::kInvalidInput,
                      item_prefix(first_item_ + i) +
                          "metadata must be a JSON object, got an empty str; leave it out or "
                          "pass None for no metadata");
        }
        metadata_[i] = {text, static_cast<std::size_t>(size)};
        written_here_ = false;
        bytes += metadata_[i].size();
      } else if (value != Py_None) {
        throw Error(ErrorCode::kInvalidInput, item_prefix(first_item_ + i) +
                                                  "metadata must be a dict, a JSON object as "
                                                  "text or None, got " +
                                                  describe(value));
      }
    }
    if (bytes > window.max_bytes && i > 0) break;
  }
  metadata_.resize(metadata ? i : 0);
  for (std::size_t j = 0; j < metadata_.size(); ++j) {
    if (written[j].size != kText) {
      metadata_[j] = std::string_view(arena_).substr(written[j].offset, written[j].size);
    }
  }
  return i;
}

Batch PyBatch::batch() const {
  Batch batch;
  batch.ids = ids_.views();
  batch.dim = static_cast<std::size_t>(rows_.shape(1));
  batch.rows = rows_.data() + start_ * batch.dim;
  batch.metadata = metadata_;
  batch.metadata_is_valid = written_here_;
  batch.first_item = first_item_;
  return batch;
}

}  // namespace srvdb::bindings
