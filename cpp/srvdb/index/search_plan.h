// How a search among partly excluded rows is done: by walking the graph through excluded rows, or
// by scanning the codes of the eligible ones.
//
// A walk sees more rows the more are excluded, a scan fewer, so there is a point where they cost
// the same. The costs are those of a model (search_plan.cpp) whose constants were measured; the
// model assumes that excluded rows lie anywhere. Where they lie around the query, a walk takes
// longer than foreseen: it has a budget, the rows it may see for the price of the scan, and is
// given up beyond it. So a search never costs much more than twice the cheaper of the two.
#pragma once

#include <cstddef>

namespace srvdb {

struct PlanInput {
  std::size_t rows = 0;      // that the graph covers
  std::size_t eligible = 0;  // of them, not excluded
  std::size_t ef = 0;        // width of the walk
  std::size_t k = 0;         // of the answer
  std::size_t code_bytes = 0;
};

struct SearchPlan {
  bool walk = false;       // else scan
  std::size_t wanted = 0;  // of the walk (WalkOptions)
  std::size_t spare = 0;   // likewise
  std::size_t budget = 0;  // rows that the walk may see
};

SearchPlan plan_search(const PlanInput& input) noexcept;

}  // namespace srvdb
