// Snapshots, backups, and moving a reader on.
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "calls.h"
#include "database.h"

namespace py = pybind11;

namespace srvdb::bindings {
namespace {

// (name, microseconds since the epoch, vectors, deleted, own bytes, automatic)
py::tuple to_tuple(const SnapshotInfo& snapshot) {
  return py::make_tuple(snapshot.name, snapshot.time_us, snapshot.vectors, snapshot.deleted,
                        snapshot.own_bytes, snapshot.automatic);
}

py::list list_snapshots(const Handle& self) {
  py::list answer;
  for (const SnapshotInfo& snapshot : call_core([&] { return self.core().list_snapshots(); })) {
    answer.append(to_tuple(snapshot));
  }
  return answer;
}

py::object path_of(const Handle& self, const std::string& name) {
  const std::string path = call_core([&] { return self.core().snapshot_path(name); });
  return py::reinterpret_steal<py::object>(
      PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size())));
}

void backup(const Handle& self, const py::bytes& path, bool compressed) {
  const std::string target = path;
  call_core([&] { self.core().backup(target, compressed); });
}

void restore_backup(const py::bytes& file, const py::bytes& path) {
  const std::string from = file;
  const std::string to = path;
  call_core([&] { Database::restore_backup(from, to); });
}

}  // namespace

void register_lifecycle(HandleClass& database) {
  database
      .def(
          "create_snapshot",
          [](const Handle& self, const std::string& name) {
            return to_tuple(call_core([&] { return self.core().create_snapshot(name); }));
          },
          py::arg("name"))
      .def("list_snapshots", &list_snapshots)
      .def(
          "drop_snapshot",
          [](const Handle& self, const std::string& name) {
            call_core([&] { self.core().drop_snapshot(name); });
          },
          py::arg("name"))
      .def(
          "restore_snapshot",
          [](const Handle& self, const std::string& name, bool keep_current) {
            call_core([&] { self.core().restore_snapshot(name, keep_current); });
          },
          py::arg("name"), py::arg("keep_current"))
      .def("snapshot_path", &path_of, py::arg("name"))
      .def("backup", &backup, py::arg("path"), py::arg("compressed"))
      .def("refresh",
           [](const Handle& self) { return call_core([&] { return self.core().refresh(); }); })
      .def_static("restore_backup", &restore_backup, py::arg("file"), py::arg("path"));
}

}  // namespace srvdb::bindings
