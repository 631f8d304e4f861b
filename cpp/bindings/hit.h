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

// Makes the hits of one call. While it lives the cyclic garbage collector rests: hits are no part
// of a cycle, yet every few hundred of them would have it look through all young objects. So keep
// the GIL, and do nothing else.
class HitMaker {
 public:
  HitMaker(std::shared_ptr<Database> database, Metric metric, Include include);
  ~HitMaker();
  HitMaker(const HitMaker&) = delete;
  HitMaker& operator=(const HitMaker&) = delete;

  // A list of Hit, in the order of the result. `details` is empty or as long as the hits.
  pybind11::list make(const SearchResult& result, const std::vector<HitDetails>& details);

 private:
  const std::shared_ptr<Database> database_;
  const Metric metric_;
  const Include include_;
  const bool collecting_;    // before
  pybind11::object origin_;  // of the hits made last
};

void register_hit(pybind11::module_& module);

}  // namespace srvdb::bindings
