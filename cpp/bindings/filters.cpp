// What goes by a filter alone: counting, facets, changes of all rows that match. Filters come as
// the JSON text that Python has made of them; "" is none.
#include <pybind11/stl.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "batch.h"
#include "calls.h"
#include "database.h"

namespace py = pybind11;

namespace srvdb::bindings {
namespace {

std::size_t count(const Handle& self, std::string_view where) {
  if (where.empty()) return call_core([&] { return self.core().count(); });
  CallInterrupt interrupt;
  return interrupt.call([&] { return self.core().count(where, interrupt.get()); });
}

// [(JSON text of the value, rows)]
py::list facet(const Handle& self, std::string_view field, std::string_view where,
               std::size_t limit) {
  CallInterrupt interrupt;
  const std::vector<FacetValue> found =
      interrupt.call([&] { return self.core().facet(field, where, limit, interrupt.get()); });
  py::list answer(found.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    answer[i] = py::make_tuple(py::str(found[i].value), found[i].count);
  }
  return answer;
}

// ([(field, has a column)], live rows, rows whose documents are read, matching rows, is that exact,
// is the answer known from before)
py::tuple explain(const Handle& self, std::string_view where) {
  CallInterrupt interrupt;
  const Explanation found =
      interrupt.call([&] { return self.core().explain(where, interrupt.get()); });
  py::list fields;
  for (const Explanation::Field& field : found.fields) {
    fields.append(py::make_tuple(py::str(field.path), field.indexed));
  }
  return py::make_tuple(fields, found.rows, found.documents, found.matching, found.exact,
                        found.cached);
}

// metadatas: a list of one, None where the metadata stay; expires_at: milliseconds since the epoch,
// -1: stays.
std::size_t update_where(const Handle& self, std::string_view where, const py::object& metadatas,
                         std::int64_t expires_at) {
  MetadataList metadata(metadatas, 0, 1, 0);
  metadata.take(0);
  metadata.finish();
  Update update;
  if (!metadata.views()[0].empty()) update.metadata = metadata.views()[0];
  if (expires_at >= 0) update.expires_at = expires_at;
  return call_core([&] { return self.core().update_where(where, update); });
}

}  // namespace

void register_filters(HandleClass& database) {
  database.def("count", &count, py::arg("where") = "")
      .def("facet", &facet, py::arg("field"), py::arg("where"), py::arg("limit"))
      .def("explain", &explain, py::arg("where"))
      .def(
          "remove_where",
          [](const Handle& self, std::string_view where) {
            return call_core([&] { return self.core().remove_where(where); });
          },
          py::arg("where"))
      .def(
          "soft_delete_where",
          [](const Handle& self, std::string_view where) {
            return call_core([&] { return self.core().soft_delete_where(where); });
          },
          py::arg("where"))
      .def("update_where", &update_where, py::arg("where"), py::arg("metadatas"),
           py::arg("expires_at") = -1);
}

}  // namespace srvdb::bindings
