// One row on its way from Python to the core, for callers who add rows one by one.
//
// `_core.Database.write_one(ids, rows, metadatas, replace)` takes what needs no conversion to
// speak of: lists or tuples of one, the row as a C-contiguous float32 array of shape (1, dim) or a
// list of Python's own numbers. It writes it as `write` does and returns the number of rows, or
// returns None, having done nothing, when the arguments are of any other form: then the way that
// takes everything, and words every refusal, is gone. A method made with the C API, because
// pybind11's dispatch and NumPy's conversions would cost more than the write itself.
#pragma once

#include "database.h"

namespace srvdb::bindings {

void register_one_row(HandleClass& database);

}  // namespace srvdb::bindings
