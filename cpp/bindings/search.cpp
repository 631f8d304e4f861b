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
  return HitMaker(self.shared(), self.metric(), include).make(result, details);
}

struct BatchAnswer {
  std::vector<SearchResult> results;
  std::vector<std::vector<HitDetails>> details;
};

// Without the GIL.
BatchAnswer with_details(const Handle& self, std::vector<SearchResult> results, Include include,
                         Interrupt* interrupt) {
  BatchAnswer out{std::move(results), {}};
  out.details.reserve(out.results.size());
  for (const SearchResult& result : out.results) {
    if (include.any()) check(interrupt);
    out.details.push_back(read_details(self.core(), result, include));
  }
  return out;
}

// For each query (hits, the JSON text of each one's group).
py::list search_groups(const Handle& self, const Matrix& queries, std::size_t k, std::uint32_t ef,
                       bool exact, bool metadata, bool embedding, std::size_t threads,
                       StopFlag* stop, bool include_deleted, double recall, std::string_view where,
                       const std::vector<std::string_view>& wheres, std::string_view group_by,
                       std::size_t group_size, const std::vector<std::vector<std::string>>& among) {
  const SearchOptions options{.k = k,
                              .ef = ef,
                              .recall = recall,
                              .exact = exact,
                              .include_deleted = include_deleted,
                              .threads = threads,
                              .where = where,
                              .group_by = group_by,
                              .group_size = group_size};
  const Include include{metadata, embedding};
  const float* data = queries.data();
  const auto n = static_cast<std::size_t>(queries.shape(0));
  const auto dim = static_cast<std::size_t>(queries.shape(1));
  CallInterrupt signals;
  Interrupt* interrupt = stop != nullptr ? &stop->interrupt : signals.get();
  const BatchAnswer answer = signals.call([&] {
    return with_details(self,
                        self.core().search_groups(data, n, dim, options, interrupt, wheres, among),
                        include, interrupt);
  });
  py::list lists(answer.results.size());
  HitMaker hits(self.shared(), self.metric(), include);
  for (std::size_t i = 0; i < answer.results.size(); ++i) {
    const SearchResult& result = answer.results[i];
    py::tuple pair = py::make_tuple(hits.make(result, answer.details[i]), result.groups);
    PyList_SET_ITEM(lists.ptr(), static_cast<Py_ssize_t>(i), pair.release().ptr());
  }
  return lists;
}

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
    return with_details(self, self.core().search_batch(data, n, dim, options, interrupt, wheres),
                        include, interrupt);
  });
  py::list lists(answer.results.size());
  HitMaker hits(self.shared(), self.metric(), include);
  for (std::size_t i = 0; i < answer.results.size(); ++i) {
    PyList_SET_ITEM(lists.ptr(), static_cast<Py_ssize_t>(i),
                    hits.make(answer.results[i], answer.details[i]).release().ptr());
  }
  return lists;
}

}  // namespace

void register_search(HandleClass& database) {
  database
      .def("search", &search, py::arg("query").noconvert(), py::arg("k"), py::arg("ef"),
           py::arg("exact"), py::arg("metadata"), py::arg("embedding"),
           py::arg("include_deleted") = false, py::arg("recall") = 0.0, py::arg("where") = "")
      .def("search_groups", &search_groups, py::arg("queries").noconvert(), py::arg("k"),
           py::arg("ef"), py::arg("exact"), py::arg("metadata"), py::arg("embedding"),
           py::arg("threads"), py::arg("stop"), py::arg("include_deleted"), py::arg("recall"),
           py::arg("where"), py::arg("wheres"), py::arg("group_by"), py::arg("group_size"),
           py::arg("among"))
      .def("search_batch", &search_batch, py::arg("queries").noconvert(), py::arg("k"),
           py::arg("ef"), py::arg("exact"), py::arg("metadata"), py::arg("embedding"),
           py::arg("threads"), py::arg("stop") = nullptr, py::arg("include_deleted") = false,
           py::arg("recall") = 0.0, py::arg("where") = "",
           py::arg("wheres") = std::vector<std::string_view>());
}

}  // namespace srvdb::bindings
