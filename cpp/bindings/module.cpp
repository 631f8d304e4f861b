// The extension module srvdb._core. What users see of it is in python/srvdb; see calls.h for how
// calls enter the core, errors.h for how errors leave it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calls.h"
#include "database.h"
#include "errors.h"
#include "hit.h"
#include "json_writer.h"
#include "srvdb/base/clock.h"
#include "srvdb/filter/expression.h"
#include "srvdb/filter/json.h"

#ifndef SRVDB_VERSION  // the build sets it
#define SRVDB_VERSION "0"
#endif

namespace py = pybind11;

namespace {

// The text that a metadata dict is stored as.
py::str dump_metadata(const py::dict& metadata, std::size_t item) {
  std::string text;
  srvdb::bindings::JsonWriter(text).write(metadata.ptr(), item);
  return text;
}

// What is wrong with metadata text, as the core would say; None when nothing is.
std::optional<std::string> metadata_problem(const std::string& text) {
  return srvdb::bindings::call_core([&] { return srvdb::filter::json_object_problem(text); });
}

std::atomic<std::int64_t> set_time_us = 0;

// The time of day that all databases of the process see, until None is given.
void set_clock_for_tests(std::optional<std::int64_t> time_us) {
  set_time_us = time_us.value_or(0);
  srvdb::replace_clock(time_us ? [] { return set_time_us.load(); } : srvdb::Clock(nullptr));
}

// Which rows a filter matches, row by row: for tests of the language itself.
std::vector<bool> filter_matches_for_tests(std::string_view where,
                                           const std::vector<std::string>& ids,
                                           const std::vector<std::string>& metadatas) {
  return srvdb::bindings::call_core([&] {
    const auto expression = srvdb::filter::Expression::parse(where);
    std::vector<bool> answers(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      answers[i] = expression->matches(ids[i], metadatas.at(i));
    }
    return answers;
  });
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  py::dtype::of<float>();  // loads NumPy's interface, which the first search had to wait for
  srvdb::bindings::register_errors(module);
  srvdb::bindings::register_stop_flag(module);
  srvdb::bindings::register_hit(module);
  srvdb::bindings::register_database(module);
  srvdb::bindings::register_maintenance(module);
  module.attr("__version__") = SRVDB_VERSION;
  module.def("metadata_problem", &metadata_problem, py::arg("text"));
  module.def("now_us", &srvdb::now_us);
  module.def("_set_clock_for_tests", &set_clock_for_tests, py::arg("time_us"));
  module.def("_filter_matches_for_tests", &filter_matches_for_tests, py::arg("where"),
             py::arg("ids"), py::arg("metadatas"));
  module.def("dump_metadata", &dump_metadata, py::arg("metadata"), py::arg("item") = 0);
}
