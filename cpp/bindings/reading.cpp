// Reading by id, and what the database says of itself.
#include <pybind11/stl.h>

#include <utility>
#include <vector>

#include "batch.h"
#include "calls.h"
#include "database.h"
#include "srvdb/database/calibration.h"

namespace py = pybind11;

namespace srvdb::bindings {
namespace {

// (id, metadata text or None, float32 array or None, ms of expiry or 0, soft-deleted)
py::tuple to_tuple(const Record& record, bool with_metadata, bool with_embedding) {
  py::object metadata = py::none();
  if (with_metadata) metadata = py::str(record.metadata);
  py::object embedding = py::none();
  if (with_embedding) {
    embedding = py::array_t<float>(static_cast<py::ssize_t>(record.embedding.size()),
                                   record.embedding.data());
  }
  return py::make_tuple(py::str(record.id), metadata, embedding, record.expires_at, record.deleted);
}

py::list records(const Handle& self, const py::object& ids, bool with_metadata, bool with_embedding,
                 bool include_deleted, std::string_view where) {
  const IdList list(ids, 0, py::len(ids), 0);
  const auto found = call_core([&] {
    return self.core().records(list.views(), with_embedding, include_deleted, where, with_metadata);
  });
  py::list answer;
  for (const std::optional<Record>& record : found) {
    if (record) {
      answer.append(to_tuple(*record, with_metadata, with_embedding));
    } else {
      answer.append(py::none());
    }
  }
  return answer;
}

py::list scroll(const Handle& self, const py::str& after, std::size_t limit, bool with_metadata,
                bool with_embedding, std::string_view where, bool include_deleted) {
  const std::string_view start = id_view(after, "after: ");
  const auto found = call_core([&] {
    return self.core().scroll(start, limit, with_metadata, with_embedding, where, include_deleted);
  });
  py::list answer;
  for (const Record& record : found) {
    answer.append(to_tuple(record, with_metadata, with_embedding));
  }
  return answer;
}

py::list scroll_ids(const Handle& self, const py::str& after, std::size_t limit) {
  const std::string_view start = id_view(after, "after: ");
  const auto found = call_core([&] { return self.core().scroll(start, limit, false, false); });
  py::list answer(found.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    answer[i] = py::str(found[i].id);
  }
  return answer;
}

py::object metadata(const Handle& self, const py::object& id) {
  const std::string_view name = id_view(id, "");
  const std::optional<std::string> text = call_core([&] { return self.core().metadata(name); });
  if (!text) return py::none();
  return py::str(*text);
}

bool contains(const Handle& self, const py::object& id) {
  const std::string_view name = id_view(id, "");
  return call_core([&] { return self.core().contains(name); });
}

py::dict calibration(const Stats& stats) {
  const Calibration& measured = *stats.calibration;
  py::dict d;
  d["state"] = tuning_name(stats.tuning);
  d["rows"] = measured.rows;
  d["time_us"] = measured.time_us;
  d["seconds"] = 1e-6 * static_cast<double>(measured.cost_us);
  d["hardness"] = measured.hardness;
  d["scan_ns"] = measured.scan_ns;
  d["batch_scan_ns"] = measured.batch_scan_ns;
  py::dict curves;
  for (const RecallCurve& curve : measured.curves) {
    py::list points;
    for (const CurvePoint& point : curve.points) {
      points.append(py::make_tuple(point.ef, point.recall, point.bound, point.walk_ns * 1e-3F));
    }
    py::dict one;
    one["queries"] = curve.queries;
    one["of"] = curve.of_searches ? "searches" : "rows";
    one["curve"] = points;
    curves[py::int_(curve.k)] = one;
  }
  d["curves"] = curves;
  return d;
}

py::dict stats(const Handle& self) {
  const Stats s = call_core([&] { return self.core().stats(); });
  py::dict d;
  d["path"] = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeFSDefaultAndSize(s.path.data(), static_cast<Py_ssize_t>(s.path.size())));
  d["dimension"] = s.dimension;
  d["metric"] = std::string(metric_name(s.metric));
  d["mode"] = mode_name(s.mode);
  d["searching"] = mode_name(s.searching);
  d["durability"] = durability_name(s.durability);
  d["read_only"] = s.read_only;
  d["m"] = s.m;
  d["ef_construction"] = s.ef_construction;
  if (s.indexed_fields) {
    d["indexed_fields"] = *s.indexed_fields;
  } else {
    d["indexed_fields"] = "all";
  }
  d["ef"] = s.ef;
  d["recall"] = s.recall == 0 ? py::object(py::none()) : py::object(py::float_(s.recall));
  d["calibration"] = calibration(s);
  d["buffer_size"] = s.buffer_bytes;
  d["auto_flush_threshold"] = s.flush_rows;
  d["generation"] = s.generation;
  d["sequence"] = s.sequence;
  d["checkpointed"] = s.checkpointed;
  d["count"] = s.live;
  d["rows"] = s.rows;
  d["soft_deleted"] = s.soft_deleted;
  d["gone"] = s.gone;
  d["buffered_rows"] = s.buffered_rows;
  d["coded_rows"] = s.coded_rows;
  d["short_coded_rows"] = s.short_coded_rows;
  d["linked_rows"] = s.linked_rows;
  d["graph_saved_rows"] = s.graph_saved_rows;
  d["wal_bytes"] = s.wal_bytes;
  d["disk_bytes"] = s.disk_bytes;
  d["graph_memory_bytes"] = s.graph_memory_bytes;
  d["memory"] = py::dict(
      py::arg("limit") = s.memory.limit == 0 ? py::object(py::none()) : py::int_(s.memory.limit),
      py::arg("links") = s.memory.links, py::arg("working_files") = s.memory.working_files,
      py::arg("buffers") = s.memory.buffers, py::arg("pending") = s.memory.pending,
      py::arg("queries") = s.memory.queries, py::arg("filters") = s.memory.filters);
  d["simd"] = s.simd;
  d["oldest_reader_sequence"] = s.oldest_reader_sequence;
  d["background_error"] = s.background_error;
  return d;
}

}  // namespace

void register_reading(HandleClass& database) {
  database
      .def("records", &records, py::arg("ids"), py::arg("with_metadata"), py::arg("with_embedding"),
           py::arg("include_deleted") = false, py::arg("where") = "")
      .def("scroll", &scroll, py::arg("after"), py::arg("limit"), py::arg("with_metadata"),
           py::arg("with_embedding"), py::arg("where") = "", py::arg("include_deleted") = false)
      .def("scroll_ids", &scroll_ids, py::arg("after"), py::arg("limit"))
      .def("metadata", &metadata, py::arg("id"))
      .def("contains", &contains, py::arg("id"))
      .def("metric", [](const Handle& self) { return std::string(metric_name(self.metric())); })
      .def("stats", &stats);
}

}  // namespace srvdb::bindings
