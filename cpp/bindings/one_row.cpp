#include "one_row.h"

#include <pybind11/numpy.h>

#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calls.h"
#include "json_writer.h"

namespace py = pybind11;

namespace srvdb::bindings {
namespace {

// Integers up to here are float64 exactly, whatever else is in the list.
constexpr long long kExactInteger = 1LL << 53;
constexpr std::size_t kMostSpareBytes = 64u
                                        << 10;  // of memory that a thread keeps for its next row

// The only item of a list or tuple, borrowed; null for anything else.
PyObject* only_item(PyObject* list) noexcept {
  if (!PyList_CheckExact(list) && !PyTuple_CheckExact(list)) return nullptr;
  return PySequence_Fast_GET_SIZE(list) == 1 ? PySequence_Fast_GET_ITEM(list, 0) : nullptr;
}

// False when the string has no UTF-8 form; no Python error is left.
bool read_text(PyObject* string, std::string_view& out) noexcept {
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(string, &size);
  if (text == nullptr) {
    PyErr_Clear();
    return false;
  }
  out = {text, static_cast<std::size_t>(size)};
  return true;
}

// A number as NumPy would read it in a list of numbers; false when that is NumPy's to say.
bool read_number(PyObject* number, float& out) noexcept {
  if (PyFloat_CheckExact(number)) {
    out =
        static_cast<float>(PyFloat_AS_DOUBLE(number));  // too large: infinity, refused by the core
    return true;
  }
  if (!PyLong_CheckExact(number)) return false;
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
  if (overflow != 0 || value > kExactInteger || value < -kExactInteger) return false;
  out = static_cast<float>(static_cast<double>(value));
  return true;
}

// What one write needs, and what keeps it alive while the GIL is released. Memory for text and
// numbers is handed from one row of a thread to the next.
class OneRow {
 public:
  OneRow() noexcept : memory_(std::move(spare_)) {}
  ~OneRow() {
    if (memory_.text.capacity() > kMostSpareBytes) return;
    if (memory_.row.capacity() > kMostSpareBytes) return;
    memory_.text.clear();
    spare_ = std::move(memory_);
  }
  OneRow(const OneRow&) = delete;
  OneRow& operator=(const OneRow&) = delete;

  // False when the arguments are not of the plain form.
  bool take(PyObject* ids, PyObject* rows, PyObject* metadatas) {
    return take_id(ids) && (take_array(rows) || take_list(rows)) && take_metadata(metadatas);
  }
  Batch batch() const noexcept {
    Batch batch;
    batch.ids = {&id_, 1};
    batch.rows = row_;
    batch.dim = dim_;
    if (has_metadata_) batch.metadata = {&metadata_, 1};
    batch.metadata_is_valid = written_here_;
    return batch;
  }

 private:
  struct Memory {
    std::string text;  // JSON of a dict
    std::vector<float> row;
  };

  bool take_id(PyObject* ids) {
    PyObject* const id = only_item(ids);
    if (id == nullptr || !PyUnicode_Check(id)) return false;
    id_holder_ = py::reinterpret_borrow<py::object>(id);
    return read_text(id, id_);
  }

  bool take_array(PyObject* rows) {
    namespace np = py::detail;
    static PyTypeObject* const array_type = np::npy_api::get().PyArray_Type_;
    static PyObject* const float32 = py::dtype::of<float>().release().ptr();  // kept for good
    if (Py_TYPE(rows) != array_type) return false;
    const auto* const array = np::array_proxy(rows);
    constexpr int kPlain = np::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | np::npy_api::NPY_ARRAY_ALIGNED_;
    if (array->nd != 2 || array->dimensions[0] != 1 || array->dimensions[1] == 0) return false;
    if (array->descr != float32 || (array->flags & kPlain) != kPlain) return false;
    row_holder_ = py::reinterpret_borrow<py::object>(rows);
    row_ = reinterpret_cast<const float*>(array->data);
    dim_ = static_cast<std::size_t>(array->dimensions[1]);
    return true;
  }

  bool take_list(PyObject* rows) {
    PyObject* const row = only_item(rows);
    if (row == nullptr || (!PyList_CheckExact(row) && !PyTuple_CheckExact(row))) return false;
    dim_ = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(row));
    if (dim_ == 0) return false;
    memory_.row.resize(dim_);
    PyObject* const* const items = PySequence_Fast_ITEMS(row);
    for (std::size_t i = 0; i < dim_; ++i) {  // runs nothing of the caller's
      if (!read_number(items[i], memory_.row[i])) return false;
    }
    row_ = memory_.row.data();
    return true;
  }

  bool take_metadata(PyObject* metadatas) {
    if (metadatas == Py_None) return true;
    PyObject* const value = only_item(metadatas);
    if (value == nullptr) return false;
    has_metadata_ = true;
    if (value == Py_None) return true;
    metadata_holder_ = py::reinterpret_borrow<py::object>(value);
    if (PyDict_Check(value)) {
      JsonWriter(memory_.text).write(value, 0);
      metadata_ = memory_.text;
      return true;
    }
    written_here_ = false;
    return PyUnicode_Check(value) && read_text(value, metadata_) && !metadata_.empty();
  }

  static thread_local Memory spare_;

  Memory memory_;
  py::object id_holder_, row_holder_, metadata_holder_;
  std::string_view id_, metadata_;
  const float* row_ = nullptr;
  std::size_t dim_ = 0;
  bool has_metadata_ = false;
  bool written_here_ = true;  // the metadata is not the caller's text
};

thread_local OneRow::Memory OneRow::spare_;

PyObject* write_one(PyObject* self, PyObject* const* args, Py_ssize_t count) noexcept {
  if (count != 4) {
    PyErr_Format(PyExc_TypeError, "write_one() takes 4 arguments, got %zd", count);
    return nullptr;
  }
  try {
    const auto& handle = py::handle(self).cast<const Handle&>();
    OneRow row;
    if (!row.take(args[0], args[1], args[2])) Py_RETURN_NONE;
    const Batch batch = row.batch();
    const bool replace = args[3] == Py_True;
    call_core([&] {
      if (replace) {
        handle.core().upsert(batch);
      } else {
        handle.core().add(batch);
      }
    });
    return PyLong_FromLong(1);
  } catch (const Error& error) {
    set_python_error(error);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

}  // namespace

void register_one_row(HandleClass& database) {
  static PyMethodDef method = {
      "write_one", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&write_one)),
      METH_FASTCALL,
      "write_one($self, ids, rows, metadatas, replace, /)\n--\n\n"
      "Write one row; None, and nothing done, when only write() can read the arguments."};
  auto* const type = reinterpret_cast<PyTypeObject*>(database.ptr());
  const auto descriptor = py::reinterpret_steal<py::object>(PyDescr_NewMethod(type, &method));
  if (!descriptor) throw py::error_already_set();
  database.attr("write_one") = descriptor;
}

}  // namespace srvdb::bindings
