// Changing what is there, undoing it, and the log of what was changed.
#include <pybind11/stl.h>

#include <utility>
#include <vector>

#include "batch.h"
#include "calls.h"
#include "database.h"

namespace py = pybind11;

namespace srvdb::bindings {
namespace {

// What `update` takes, with everything that it points to.
class PyUpdates {
 public:
  // rows: m × dim; at: for each id its row's number, or -1 for none; metadata: None for those that
  // keep theirs; expires_at: -1 for those that keep theirs, or none at all.
  PyUpdates(py::handle ids, const Matrix& rows, const Moments& at, py::handle metadata,
            const std::optional<Moments>& expires_at)
      : ids_(ids, 0, py::len(ids), 0), rows_(rows), metadata_(metadata, 0, size(), 0) {
    if (static_cast<std::size_t>(at.size()) != size() ||
        (expires_at && static_cast<std::size_t>(expires_at->size()) != size())) {
      throw Error(ErrorCode::kInvalidInput, "expected one entry for each id");
    }
    for (std::size_t i = 0; i < size(); ++i) metadata_.take(i);
    metadata_.finish();
    for (std::size_t i = 0; i < size(); ++i) {
      Update update{.id = ids_.views()[i]};
      const std::int64_t row = at.data()[i];
      if (row >= rows.shape(0))
        throw Error(ErrorCode::kInvalidInput, "a row's number is too large");
      if (row >= 0) update.row = rows_.data() + static_cast<std::size_t>(row) * dim();
      if (!metadata_.views().empty() && !metadata_.views()[i].empty()) {
        update.metadata = metadata_.views()[i];
      }
      if (expires_at && expires_at->data()[i] >= 0) update.expires_at = expires_at->data()[i];
      updates_.push_back(update);
    }
  }

  std::span<const Update> updates() const noexcept { return updates_; }
  std::size_t dim() const noexcept { return static_cast<std::size_t>(rows_.shape(1)); }

 private:
  std::size_t size() const noexcept { return ids_.views().size(); }

  IdList ids_;
  Matrix rows_;
  MetadataList metadata_;
  std::vector<Update> updates_;
};

std::size_t update(const Handle& self, const py::object& ids, const Matrix& rows, const Moments& at,
                   const py::object& metadatas, const std::optional<Moments>& expires_at) {
  if (rows.ndim() != 2) throw Error(ErrorCode::kInvalidInput, "rows must have two dimensions");
  const PyUpdates updates(ids, rows, at, metadatas, expires_at);
  return call_core([&] { return self.core().update(updates.updates(), updates.dim()); });
}

std::size_t soft_delete(const Handle& self, const py::object& ids) {
  const IdList list(ids, 0, py::len(ids), 0);
  return call_core([&] { return self.core().soft_delete(list.views()); });
}

std::size_t restore(const Handle& self, const py::object& ids) {
  const IdList list(ids, 0, py::len(ids), 0);
  return call_core([&] { return self.core().restore(list.views()); });
}

// (sequence, time in microseconds, operation, tuple of ids, JSON text)
py::tuple to_tuple(const LogEntry& entry) {
  py::tuple ids(entry.ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = py::str(entry.ids[i]);
  return py::make_tuple(entry.sequence, entry.time_us, operation_name(entry.operation), ids,
                        py::str(entry.details));
}

py::list change_log(const Handle& self, std::size_t limit, std::optional<Sequence> since,
                    const std::optional<std::string>& operation) {
  LogQuery query{.limit = limit, .since = since};
  if (operation) query.operation = parse_operation(*operation);
  const auto found = call_core([&] { return self.core().change_log(query); });
  py::list answer;
  for (const LogEntry& entry : found) answer.append(to_tuple(entry));
  return answer;
}

std::int64_t compact(const Handle& self, const py::object& progress) {
  CallInterrupt interrupt;
  const Progress report = progress_to(progress, interrupt);
  return interrupt.call([&] { return self.core().compact(report, interrupt.get()); });
}

}  // namespace

void register_changes(HandleClass& database) {
  database
      .def("update", &update, py::arg("ids"), py::arg("rows").noconvert(),
           py::arg("at").noconvert(), py::arg("metadatas"), py::arg("expires_at").noconvert())
      .def("soft_delete", &soft_delete, py::arg("ids"))
      .def("restore", &restore, py::arg("ids"))
      .def("deleted_ids",
           [](const Handle& self) { return call_core([&] { return self.core().deleted_ids(); }); })
      .def("change_log", &change_log, py::arg("limit"), py::arg("since"), py::arg("operation"))
      .def(
          "change_log_at",
          [](const Handle& self, std::int64_t time_us) {
            return call_core([&] { return self.core().change_log_at(time_us); });
          },
          py::arg("time_us"))
      .def(
          "trim_change_log",
          [](const Handle& self, Sequence before) {
            return call_core([&] { return self.core().trim_change_log(before); });
          },
          py::arg("before"))
      .def("compact", &compact, py::arg("progress"));
}

}  // namespace srvdb::bindings
