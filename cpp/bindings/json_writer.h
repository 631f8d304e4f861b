// Python dict → JSON text, the bytes that json.dumps(value, ensure_ascii=False) would give.
//
// Takes str, int, float, bool, None, list, tuple, dict and NumPy scalars; everything else, NaN,
// infinity, integers of more than 64 bits, keys that are not str, lone surrogates and more than
// kMaxDepth levels are Error(kInvalidInput) naming the item. Call with the GIL held.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <string>

namespace srvdb::bindings {

class JsonWriter {
 public:
  static constexpr int kMaxDepth = 200;

  // Appends to `out`, which must outlive the writer.
  explicit JsonWriter(std::string& out) : out_(out) {}

  // `item` is the number that error messages name.
  void write(PyObject* value, std::size_t item);

 private:
  void write_value(PyObject* value, int depth);
  void write_dict(PyObject* dict, int depth);
  void write_sequence(PyObject* sequence, int depth);
  void write_string(PyObject* string);
  void write_int(PyObject* number);
  void write_float(double number);
  void write_other(PyObject* value, int depth);
  [[noreturn]] void refuse(const std::string& what) const;

  std::string& out_;
  std::size_t item_ = 0;
};

}  // namespace srvdb::bindings
