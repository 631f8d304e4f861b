// `srvdb.Hit`: one search result, a tuple of two (id, score) that knows more.
//
// The type is made with the C API, as a search makes k of them: a subclass of tuple whose objects
// have room behind the two visible items (as os.stat_result does) for distance, metadata, embedding
// and the way back to the row. Metadata and embedding are read on first use, through a weak
// reference to the database handle and the View that was searched; a Hit never keeps a database
// open.
//
// All functions with the GIL held.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "srvdb/database/database.h"

namespace srvdb::bindings {

// What `include=` asked for, read by the same call as the search.
struct HitDetails {
  std::optional<std::string> metadata;
  std::vector<float> embedding;
};

struct Include {
  bool metadata = false;
  bool embedding = false;
  bool any() const noexcept { return metadata || embedding; }
};

// Details of every hit, or none when nothing is asked for. Without the GIL.
std::vector<HitDetails> read_details(const Database& database, const SearchResult& result,
                                     Include include);

// A list of Hit, in the order of the result. `details` is empty or as long as the hits.
pybind11::list make_hits(const SearchResult& result, const std::shared_ptr<Database>& database,
                         Metric metric, const std::vector<HitDetails>& details, Include include);

void register_hit(pybind11::module_& module);

}  // namespace srvdb::bindings
