// The one place where errors and notices of the core become Python's.
//
// Python hands its exception classes over at import (`_core.install`), so that the extension
// imports nothing of the package. Until then every error is a RuntimeError. Call everything with
// the GIL held.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "srvdb/base/error.h"

namespace srvdb::bindings {

void register_errors(pybind11::module_& module);

// Sets the Python exception that stands for the error.
void set_python_error(const Error& error);

// Hands the core's events to Python, which warns or logs. The call they belong to has succeeded, so
// what Python raises (a warning turned into an exception) goes to sys.unraisablehook; only what is
// no Exception (KeyboardInterrupt) is thrown. One relaxed atomic read when there is nothing to
// report.
void report_events();

// "item 3: " in front of what is wrong with one element of a batch.
std::string item_prefix(std::size_t item);

// "int (7)": type and shortened repr of a value, for messages.
std::string describe(pybind11::handle value);

}  // namespace srvdb::bindings
