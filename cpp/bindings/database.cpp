#include "database.h"

#include <pybind11/stl.h>

#include <utility>

#include "batch.h"
#include "calls.h"
#include "one_row.h"

namespace py = pybind11;

namespace srvdb::bindings {
namespace {

using OptionalText = std::optional<std::string>;

std::unique_ptr<Handle> open(
    const py::bytes& path, std::optional<std::size_t> dimension, const OptionalText& metric,
    const OptionalText& mode, std::optional<std::uint32_t> m,
    std::optional<std::uint32_t> ef_construction, std::uint32_t ef, const std::string& durability,
    bool read_only, bool create, std::size_t buffer_bytes, std::size_t flush_rows, bool background,
    double auto_compact_share, std::uint64_t auto_compact_bytes, std::int64_t snapshot_every_ms,
    std::size_t snapshot_keep, double recall, std::uint64_t memory_limit, bool prefault,
    bool lock_memory, std::size_t filter_cache_bytes, bool index_all_fields,
    const std::optional<std::vector<std::string>>& indexed_fields) {
  OpenOptions options;
  options.dimension = dimension;
  if (metric) options.metric = parse_metric(*metric);
  if (mode) options.mode = parse_mode(*mode);
  options.m = m;
  options.ef_construction = ef_construction;
  options.ef = ef;
  options.durability = parse_durability(durability);
  options.read_only = read_only;
  options.create = create;
  options.buffer_bytes = buffer_bytes;
  options.flush_rows = flush_rows;
  options.background = background;
  options.auto_compact_share = auto_compact_share;
  options.auto_compact_bytes = auto_compact_bytes;
  options.snapshot_every_ms = snapshot_every_ms;
  options.snapshot_keep = snapshot_keep;
  options.recall = recall;
  options.memory_limit = memory_limit;
  options.filter_cache_bytes = filter_cache_bytes;
  options.prefault = prefault;
  options.lock_memory = lock_memory;
  if (index_all_fields) options.indexed_fields = IndexedFields{};
  if (indexed_fields) options.indexed_fields = IndexedFields{false, *indexed_fields};
  const std::string directory = path;
  return std::make_unique<Handle>(call_core([&] { return Database::open(directory, options); }));
}

// Writes the part of the input that the window names and returns its rows; `counter` learns of them
// before Python can be interrupted.
std::size_t write(const Handle& self, const py::object& ids, const Matrix& rows,
                  const py::object& metadatas, bool replace,
                  const std::optional<Moments>& expires_at, const Window& window,
                  Counter* counter) {
  const PyBatch batch(ids, rows, metadatas, expires_at, window);
  const Batch core_batch = batch.batch();
  std::size_t written = 0;
  call_core([&] {
    written = replace ? self.core().upsert(core_batch) : self.core().add(core_batch);
    if (counter != nullptr) counter->rows += batch.size();
  });
  return replace ? batch.size() : written;
}

std::size_t write_all(const Handle& self, const py::object& ids, const Matrix& rows,
                      const py::object& metadatas, bool replace,
                      const std::optional<Moments>& expires_at) {
  return write(self, ids, rows, metadatas, replace, expires_at, Window{}, nullptr);
}

std::size_t write_window(const Handle& self, const py::object& ids, const Matrix& rows,
                         const py::object& metadatas, bool replace, std::size_t start,
                         std::size_t max_rows, std::size_t max_bytes, std::size_t first_item,
                         Counter& counter, const std::optional<Moments>& expires_at) {
  const Window window{start, max_rows, max_bytes, first_item};
  return write(self, ids, rows, metadatas, replace, expires_at, window, &counter);
}

std::size_t remove(const Handle& self, const py::object& ids) {
  const IdList list(ids, 0, py::len(ids), 0);
  return call_core([&] { return self.core().remove(list.views()); });
}

void optimize(const Handle& self, std::size_t threads, const py::object& progress) {
  CallInterrupt interrupt;
  const Progress report = progress_to(progress, interrupt);
  interrupt.call([&] { self.core().optimize(threads, report, interrupt.get()); });
}

}  // namespace

Progress progress_to(const py::object& callable, CallInterrupt& interrupt) {
  if (callable.is_none()) return {};
  return [&](std::size_t done, std::size_t total) {
    const py::gil_scoped_acquire acquired;
    try {
      callable(done, total);
    } catch (py::error_already_set& error) {
      error.restore();
      interrupt.capture();
    }
  };
}

Handle::Handle(std::shared_ptr<Database> database)
    : database_(std::move(database)), metric_(call_core([this] { return database_->metric(); })) {}

Handle::~Handle() {
  const Released released;
  database_.reset();
}

void register_database(py::module_& module) {
  py::class_<Counter>(module, "Counter").def(py::init<>()).def_readwrite("rows", &Counter::rows);

  HandleClass database(module, "Database");
  database
      .def_static("open", &open, py::arg("path"), py::kw_only(), py::arg("dimension"),
                  py::arg("metric"), py::arg("mode"), py::arg("m"), py::arg("ef_construction"),
                  py::arg("ef"), py::arg("durability"), py::arg("read_only"), py::arg("create"),
                  py::arg("buffer_bytes"), py::arg("flush_rows"), py::arg("background"),
                  py::arg("auto_compact_share") = OpenOptions{}.auto_compact_share,
                  py::arg("auto_compact_bytes") = OpenOptions{}.auto_compact_bytes,
                  py::arg("snapshot_every_ms") = 0, py::arg("snapshot_keep") = 24,
                  py::arg("recall") = 0.0, py::arg("memory_limit") = 0, py::arg("prefault") = false,
                  py::arg("lock_memory") = false,
                  py::arg("filter_cache_bytes") = OpenOptions{}.filter_cache_bytes,
                  py::arg("index_all_fields") = false, py::arg("indexed_fields") = py::none())
      .def("write", &write_all, py::arg("ids"), py::arg("rows").noconvert(), py::arg("metadatas"),
           py::arg("replace"), py::arg("expires_at").noconvert() = py::none())
      .def("write_window", &write_window, py::arg("ids"), py::arg("rows").noconvert(),
           py::arg("metadatas"), py::arg("replace"), py::arg("start"), py::arg("max_rows"),
           py::arg("max_bytes"), py::arg("first_item"), py::arg("counter"),
           py::arg("expires_at").noconvert() = py::none())
      .def(
          "chunk_rows",
          [](const Handle& self, std::size_t dim) {
            return call_core([&] { return self.core().chunk_rows(dim); });
          },
          py::arg("dim"))
      .def("remove", &remove, py::arg("ids"))
      .def("persist", [](const Handle& self) { call_core([&] { self.core().persist(); }); })
      .def("close", [](const Handle& self) { call_core([&] { self.core().close(); }); })
      .def("optimize", &optimize, py::arg("threads"), py::arg("progress"))
      .def(
          "set_mode",
          [](const Handle& self, const std::string& name) {
            const Mode mode = parse_mode(name);
            call_core([&] { self.core().set_mode(mode); });
          },
          py::arg("mode"))
      .def(
          "set_ef",
          [](const Handle& self, std::uint32_t ef) { call_core([&] { self.core().set_ef(ef); }); },
          py::arg("ef"))
      .def(
          "set_recall",
          [](const Handle& self, double recall) {
            call_core([&] { self.core().set_recall(recall); });
          },
          py::arg("recall"));
  register_one_row(database);
  register_changes(database);
  register_lifecycle(database);
  register_search(database);
  register_reading(database);
  register_filters(database);
}

}  // namespace srvdb::bindings
