// Searching: ids and scores of all hits come out of the core in one call.
#include <pybind11/stl.h>

#include <string_view>
#include <utility>
#include <vector>

#include "batch.h"
#include "calls.h"
#include "database.h"
#include "hit.h"

namespace py = pybind11;

namespace srvdb::bindings {
namespace {

using Vector = py::array_t<float, py::array::c_style>;

py::list search(const Handle& self, const Vector& query, std::size_t k, std::uint32_t ef,
                bool exact, bool metadata, bool embedding, bool include_deleted, double recall,
                std::string_view where) {
  const SearchOptions options{.k = k,
                              .ef = ef,
                              .recall = recall,
                              .exact = exact,
                              .include_deleted = include_deleted,
                              .threads = 1,
                              .where = where};
  const Include include{metadata, embedding};
  const float* data = query.data();
  const auto dim = static_cast<std::size_t>(query.size());
  std::vector<HitDetails> details;
  const SearchResult result = call_core([&] {
    SearchResult found = self.core().search(data, dim, options);
    details = read_details(self.core(), found, include);
    return found;
  });
  return make_hits(result, self.shared(), self.metric(), details, include);
}

// (hits, the JSON text of each one's group)
py::tuple search_groups(const Handle& self, const Vector& query, std::size_t k, std::uint32_t ef,
                        bool exact, bool metadata, bool embedding, bool include_deleted,
                        double recall, std::string_view where, std::string_view group_by,
                        std::size_t group_size) {
  const SearchOptions options{.k = k,
                              .ef = ef,
                              .recall = recall,
                              .exact = exact,
                              .include_deleted = include_deleted,
                              .threads = 1,
                              .where = where,
                              .group_by = group_by,
                              .group_size = group_size};
  const Include include{metadata, embedding};
  const float* data = query.data();
  const auto dim = static_cast<std::size_t>(query.size());
  std::vector<HitDetails> details;
  CallInterrupt interrupt;
  const SearchResult result = interrupt.call([&] {
    SearchResult found = self.core().search_groups(data, dim, options, interrupt.get());
    details = read_details(self.core(), found, include);
    return found;
  });
  return py::make_tuple(make_hits(result, self.shared(), self.metric(), details, include),
                        result.groups);
}

struct BatchAnswer {
  std::vector<SearchResult> results;
  std::vector<std::vector<HitDetails>> details;
};

py::list search_batch(const Handle& self, const Matrix& queries, std::size_t k, std::uint32_t ef,
                      bool exact, bool metadata, bool embedding, std::size_t threads,
                      StopFlag* stop, bool include_deleted, double recall, std::string_view where,
                      const std::vector<std::string_view>& wheres) {
  const SearchOptions options{.k = k,
                              .ef = ef,
                              .recall = recall,
                              .exact = exact,
                              .include_deleted = include_deleted,
                              .threads = threads,
                              .where = where};
  const Include include{metadata, embedding};
  const float* data = queries.data();
  const auto n = static_cast<std::size_t>(queries.shape(0));
  const auto dim = static_cast<std::size_t>(queries.shape(1));
  CallInterrupt signals;
  Interrupt* interrupt = stop != nullptr ? &stop->interrupt : signals.get();
  const BatchAnswer answer = signals.call([&] {
    BatchAnswer found;
    found.results = self.core().search_batch(data, n, dim, options, interrupt, wheres);
    found.details.reserve(found.results.size());
    for (const SearchResult& result : found.results) {
      if (include.any()) check(interrupt);
      found.details.push_back(read_details(self.core(), result, include));
    }
    return found;
  });
  py::list lists(answer.results.size());
  for (std::size_t i = 0; i < answer.results.size(); ++i) {
    py::list hits =
        make_hits(answer.results[i], self.shared(), self.metric(), answer.details[i], include);
    PyList_SET_ITEM(lists.ptr(), static_cast<Py_ssize_t>(i), hits.release().ptr());
  }
  return lists;
}

}  // namespace

void register_search(HandleClass& database) {
  database
      .def("search", &search, py::arg("query").noconvert(), py::arg("k"), py::arg("ef"),
           py::arg("exact"), py::arg("metadata"), py::arg("embedding"),
           py::arg("include_deleted") = false, py::arg("recall") = 0.0, py::arg("where") = "")
      .def("search_groups", &search_groups, py::arg("query").noconvert(), py::arg("k"),
           py::arg("ef"), py::arg("exact"), py::arg("metadata"), py::arg("embedding"),
           py::arg("include_deleted"), py::arg("recall"), py::arg("where"), py::arg("group_by"),
           py::arg("group_size"))
      .def("search_batch", &search_batch, py::arg("queries").noconvert(), py::arg("k"),
           py::arg("ef"), py::arg("exact"), py::arg("metadata"), py::arg("embedding"),
           py::arg("threads"), py::arg("stop") = nullptr, py::arg("include_deleted") = false,
           py::arg("recall") = 0.0, py::arg("where") = "",
           py::arg("wheres") = std::vector<std::string_view>());
}

}  // namespace srvdb::bindings
