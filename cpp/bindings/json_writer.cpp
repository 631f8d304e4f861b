#include "json_writer.h"

#include <array>
#include <charconv>
#include <cmath>
#include <memory>
#include <string_view>

#include "errors.h"

namespace py = pybind11;

namespace srvdb::bindings {
namespace {

// Bytes that may not stand in a JSON string as they are.
constexpr std::array<bool, 256> kEscaped = [] {
  std::array<bool, 256> table{};
  for (std::size_t i = 0; i < 0x20; ++i) table[i] = true;
  table['"'] = true;
  table['\\'] = true;
  return table;
}();

void append_escape(std::string& out, unsigned char byte) {
  constexpr std::string_view kHex = "0123456789abcdef";
  switch (byte) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    case '\f':
      out += "\\f";
      return;
    case '\b':
      out += "\\b";
      return;
    default:
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
  }
}

struct PyMemDeleter {
  void operator()(char* text) const { PyMem_Free(text); }
};

}  // namespace

void JsonWriter::write(PyObject* value, std::size_t item) {
  item_ = item;
  write_value(value, 0);
}

void JsonWriter::write_value(PyObject* value, int depth) {
  if (PyUnicode_Check(value)) return write_string(value);
  if (value == Py_True) {
    out_ += "true";
  } else if (value == Py_False) {
    out_ += "false";
  } else if (value == Py_None) {
    out_ += "null";
  } else if (PyLong_Check(value)) {
    write_int(value);
  } else if (PyFloat_Check(value)) {
    write_float(PyFloat_AS_DOUBLE(value));
  } else if (PyDict_Check(value)) {
    write_dict(value, depth + 1);
  } else if (PyList_Check(value) || PyTuple_Check(value)) {
    write_sequence(value, depth + 1);
  } else {
    write_other(value, depth);
  }
}

void JsonWriter::write_dict(PyObject* dict, int depth) {
  if (depth > kMaxDepth) refuse("metadata is nested too deep, or contains itself");
  out_ += '{';
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  Py_ssize_t position = 0;
  bool first = true;
  while (PyDict_Next(dict, &position, &key, &value) != 0) {
    if (!PyUnicode_Check(key)) refuse("metadata keys must be str, got " + describe(key));
    if (!first) out_ += ", ";
    first = false;
    write_string(key);
    out_ += ": ";
    write_value(value, depth);
  }
  out_ += '}';
}

void JsonWriter::write_sequence(PyObject* sequence, int depth) {
  if (depth > kMaxDepth) refuse("metadata is nested too deep, or contains itself");
  out_ += '[';
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence); ++i) {
    if (i != 0) out_ += ", ";
    write_value(PySequence_Fast_GET_ITEM(sequence, i), depth);
  }
  out_ += ']';
}

void JsonWriter::write_string(PyObject* string) {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(string, &size);
  if (text == nullptr) {
    PyErr_Clear();
    refuse("metadata holds a str that is not valid Unicode (a lone surrogate)");
  }
  out_ += '"';
  const char* const end = text + size;
  const char* run = text;
  for (const char* at = text; at != end; ++at) {
    const auto byte = static_cast<unsigned char>(*at);
    if (!kEscaped[byte]) continue;
    out_.append(run, at);
    append_escape(out_, byte);
    run = at + 1;
  }
  out_.append(run, end);
  out_ += '"';
}

void JsonWriter::write_int(PyObject* number) {
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
  std::array<char, 24> digits{};
  char* const end = digits.data() + digits.size();
  if (overflow == 0) {
    out_.append(digits.data(), std::to_chars(digits.data(), end, value).ptr);
    return;
  }
  const unsigned long long large = overflow > 0 ? PyLong_AsUnsignedLongLong(number) : 0;
  if (overflow < 0 || PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    refuse("metadata holds an integer of more than 64 bits; write it as str");
  }
  out_.append(digits.data(), std::to_chars(digits.data(), end, large).ptr);
}

void JsonWriter::write_float(double number) {
  if (!std::isfinite(number)) {
    refuse(std::string("metadata holds ") + (std::isnan(number) ? "NaN" : "infinity") +
           ", which JSON has no word for");
  }
  const std::unique_ptr<char, PyMemDeleter> text(
      PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, nullptr));
  if (!text) throw py::error_already_set();
  out_ += text.get();
}

// NumPy's scalars are not Python's numbers but stand for them: np.int64(3).item() == 3.
void JsonWriter::write_other(PyObject* value, int depth) {
  static PyObject* const generic =
      py::object(py::module_::import("numpy").attr("generic")).release().ptr();  // kept for good
  if (PyObject_IsInstance(value, generic) == 1) {
    const py::object item = py::handle(value).attr("item")();
    if (PyUnicode_Check(item.ptr()) || PyLong_Check(item.ptr()) || PyFloat_Check(item.ptr())) {
      return write_value(item.ptr(), depth);
    }
  }
  refuse("metadata holds " + describe(value) +
         "; JSON takes str, int, float, bool, None, list, tuple and dict");
}

void JsonWriter::refuse(const std::string& what) const {
  throw Error(ErrorCode::kInvalidInput, item_prefix(item_) + what);
}

}  // namespace srvdb::bindings
