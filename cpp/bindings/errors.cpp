#include "errors.h"

#include <array>
#include <exception>

#include "srvdb/base/events.h"

namespace py = pybind11;

namespace srvdb::bindings {
namespace {

constexpr std::array kCodes = {
    ErrorCode::kInvalidInput, ErrorCode::kDimension, ErrorCode::kDuplicateId,
    ErrorCode::kNotFound,     ErrorCode::kFilter,    ErrorCode::kLocked,
    ErrorCode::kReadOnly,     ErrorCode::kClosed,    ErrorCode::kCorruption,
    ErrorCode::kVersion,      ErrorCode::kStorage,   ErrorCode::kInterrupted,
};

// Borrowed for the life of the process: never released, so that no destructor runs after Python is
// gone.
struct Hooks {
  std::array<PyObject*, kCodes.size()> classes{};
  PyObject* report = nullptr;
};

Hooks& hooks() {
  static Hooks instance;
  return instance;
}

// errors: name of the code ("invalid input") → class, one for each code.
// report(is_warning, message) is called for each event.
void install(const py::dict& errors, const py::object& report) {
  Hooks& target = hooks();
  for (std::size_t i = 0; i < kCodes.size(); ++i) {
    const py::object type = errors[error_code_name(kCodes[i])];
    Py_XDECREF(target.classes[i]);
    target.classes[i] = type.inc_ref().ptr();
  }
  Py_XDECREF(target.report);
  target.report = report.inc_ref().ptr();
}

PyObject* class_of(ErrorCode code) {
  for (std::size_t i = 0; i < kCodes.size(); ++i) {
    if (kCodes[i] == code && hooks().classes[i] != nullptr) return hooks().classes[i];
  }
  return PyExc_RuntimeError;
}

}  // namespace

void set_python_error(const Error& error) {
  PyObject* type = class_of(error.code());
  const std::string message = error.what();
  py::object text = py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(
      message.data(), static_cast<Py_ssize_t>(message.size()), "backslashreplace"));
  if (!text) return;
  if (error.code() == ErrorCode::kStorage && error.os_error() != 0) {
    text = py::make_tuple(error.os_error(), text);
  }
  const auto* const missing = dynamic_cast<const MissingIdsError*>(&error);
  if (missing == nullptr) {
    PyErr_SetObject(type, text.ptr());
    return;
  }
  const auto raised = py::reinterpret_steal<py::object>(PyObject_CallOneArg(type, text.ptr()));
  if (!raised) return;
  py::tuple ids(missing->ids().size());
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = py::str(missing->ids()[i]);
  raised.attr("ids") = ids;
  PyErr_SetObject(type, raised.ptr());
}

void report_events() {
  if (!has_events()) return;
  const py::handle report = hooks().report;
  if (!report) return;
  for (const Event& event : drain_events()) {
    try {
      report(event.level == Event::Level::kWarning, event.message);
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_Exception)) throw;
      error.restore();
      PyErr_WriteUnraisable(report.ptr());
    }
  }
}

std::string item_prefix(std::size_t item) {
  return "item " + std::to_string(item) + ": ";
}

std::string describe(py::handle value) {
  std::string text = Py_TYPE(value.ptr())->tp_name;
  const py::object repr = py::reinterpret_steal<py::object>(PyObject_Repr(value.ptr()));
  if (!repr) {
    PyErr_Clear();
    return text;
  }
  const char* shown = PyUnicode_AsUTF8(repr.ptr());
  if (shown == nullptr) {
    PyErr_Clear();
    return text;
  }
  constexpr std::size_t kLongest = 60;
  const std::string whole = shown;
  return text + (whole.size() <= kLongest ? " (" + whole + ")" : "");
}

void register_errors(py::module_& module) {
  module.def("install", &install, py::arg("errors"), py::arg("report"));
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const Error& error) {
      set_python_error(error);
    }
  });
}

}  // namespace srvdb::bindings
