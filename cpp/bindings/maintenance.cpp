// verify and repair. Texts about damaged files may hold any bytes: what is no UTF-8 is replaced.
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>

#include "calls.h"
#include "database.h"
#include "srvdb/database/repair.h"
#include "srvdb/database/verify.h"

namespace py = pybind11;

namespace srvdb::bindings {
namespace {

py::object shown(const std::string& text) {
  return py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

const char* kind_name(Problem::Kind kind) noexcept {
  switch (kind) {
    case Problem::Kind::kDamage:
      return "damage";
    case Problem::Kind::kDerived:
      return "derived";
    case Problem::Kind::kUnfinished:
      return "unfinished";
  }
  return "damage";
}

py::list problem_list(const std::vector<Problem>& problems) {
  py::list list;
  for (const Problem& problem : problems) {
    list.append(py::make_tuple(shown(problem.file), problem.offset, shown(problem.what),
                               kind_name(problem.kind)));
  }
  return list;
}

// (problems, omitted, rows, files, snapshots)
py::tuple verify_files(const py::bytes& path, bool deep, const py::object& progress) {
  CallInterrupt interrupt;
  VerifyOptions options;
  options.deep = deep;
  options.progress = progress_to(progress, interrupt);
  options.interrupt = interrupt.get();
  const std::string directory = path;
  const VerifyReport report = interrupt.call([&] { return verify(directory, options); });
  return py::make_tuple(problem_list(report.problems), report.omitted, report.rows, report.files,
                        report.snapshots);
}

// (saved, deleted, sequence, items, omitted, problems); an item is (kind, id, row, what)
py::tuple repair_files(const py::bytes& path, const py::bytes& target,
                       const std::optional<std::string>& metric, const py::object& progress) {
  CallInterrupt interrupt;
  RepairOptions options;
  if (metric) options.metric = parse_metric(*metric);
  options.progress = progress_to(progress, interrupt);
  options.interrupt = interrupt.get();
  const std::string from = path;
  const std::string to = target;
  const RepairReport report = interrupt.call([&] { return repair(from, to, options); });
  py::list items;
  for (const RepairItem& item : report.items) {
    const py::object id = item.id.empty() ? py::none() : shown(item.id);
    const py::object row = item.row == kNoRow ? py::none() : py::object(py::int_(item.row));
    const char* const kind = item.kind == RepairItem::Kind::kLost ? "lost" : "doubtful";
    items.append(py::make_tuple(kind, id, row, shown(item.what)));
  }
  return py::make_tuple(report.saved, report.deleted, report.sequence, items, report.omitted,
                        problem_list(report.problems));
}

}  // namespace

void register_maintenance(py::module_& module) {
  module.def("verify", &verify_files, py::arg("path"), py::arg("deep"), py::arg("progress"));
  module.def("repair", &repair_files, py::arg("path"), py::arg("target"), py::arg("metric"),
             py::arg("progress"));
}

}  // namespace srvdb::bindings
