// `srvdb._core.Database`: the façade as Python calls it. The Python class srvdb.Database checks
// arguments and converts arrays; here they are only translated. Every call into the core runs
// without the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <memory>

#include "srvdb/database/database.h"

namespace srvdb::bindings {

// What a Python object holds. The last reference closes the database, without the GIL.
class Handle {
 public:
  explicit Handle(std::shared_ptr<Database> database);
  ~Handle();
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  Database& core() const noexcept { return *database_; }
  const std::shared_ptr<Database>& shared() const noexcept { return database_; }
  Metric metric() const noexcept { return metric_; }

 private:
  std::shared_ptr<Database> database_;
  Metric metric_;  // fixed when the database is created
};

// Rows that one or more writes have applied; exact even when a signal ends the caller between them.
struct Counter {
  std::size_t rows = 0;
};

// A callable (done, total), or None, as the core calls it; what it raises stops the call. Both
// arguments must outlive the result.
class CallInterrupt;
Progress progress_to(const pybind11::object& callable, CallInterrupt& interrupt);

using HandleClass = pybind11::class_<Handle>;

void register_database(pybind11::module_& module);  // opening, writing, life
void register_changes(HandleClass& database);       // update, soft delete, change log, compaction
void register_filters(HandleClass& database);    // what takes a filter: counting, facets, changes
void register_lifecycle(HandleClass& database);  // snapshots, backups, refresh
void register_maintenance(pybind11::module_& module);  // verify, repair
void register_search(HandleClass& database);           // search, search_batch
void register_reading(HandleClass& database);          // metadata, records, scroll, count, stats

}  // namespace srvdb::bindings
