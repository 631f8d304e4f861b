// What a call goes over: the rows of one moment, those that filters find, those that are left out.
//
// Plain values that share what they show; each is of one View.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "srvdb/database/filter_cache.h"
#include "srvdb/database/view.h"

namespace srvdb {

// What is to be read of rows, and of which.
struct RecordOptions {
  bool metadata = true;
  bool embedding = false;
  bool include_deleted = false;
  std::string_view where = {};  // only rows that match this filter; "": all
};

// The rows that filters find, all at one moment.
struct Matching {
  std::shared_ptr<const View> view;
  std::vector<FilterCache::Entry> filters;  // with answers
  const RowBitmap& rows(std::size_t filter = 0) const { return filters[filter].answer->matches; }
};

// How an answer is made from an older one.
struct FilterStep {
  RowBitmap known;
  Row from = 0;           // rows from here on are evaluated,
  std::size_t edits = 0;  // and those of so many of the last changes in place
};

// What a search looks at.
struct Scope {
  std::shared_ptr<const View> view;
  std::shared_ptr<const FilterExclusion> exclusion;  // of the filter; null without one
  const RowBitmap* excluded = nullptr;               // of `view` or `exclusion`
  std::size_t eligible() const noexcept { return view->rows - excluded->count(); }
};

}  // namespace srvdb
