// How a search among partly excluded rows is done: by walking the graph along the eligible ones, or
// by scanning their codes.
//
// A walk looks at more links the more rows are excluded, a scan at fewer rows, so there is a point
// where they cost the same. The costs are those of a model (search_plan.cpp) whose constants were
// measured; the model assumes that excluded rows lie anywhere. A walk that takes longer than
// foreseen has a budget, what it may see for the price of the scan, and is given up beyond it. So a
// search never costs much more than twice the cheaper of the two.
//
// Where hardly any row is excluded, as after a few changes, a walk goes through them as through all
// others, and they are left out of what it found. Where that leaves too little, because excluded
// rows lie where the query is, it was in vain, and one around them follows.
#pragma once

#include <cstddef>

namespace srvdb {

struct PlanInput {
  std::size_t rows = 0;      // that the graph covers
  std::size_t eligible = 0;  // of them, not excluded
  std::size_t ef = 0;        // width of the walk
  std::size_t k = 0;         // of the answer
  std::size_t bound = 32;    // links of a row, at most
  std::size_t code_bytes = 0;
};

struct SearchPlan {
  bool walk = false;       // else scan
  bool through = false;    // of the walk: through excluded rows; also where there are none
  bool far = false;        // of the walk (WalkOptions)
  std::size_t budget = 0;  // likewise
};

SearchPlan plan_search(const PlanInput& input) noexcept;

// Whether hardly any of the rows are excluded.
bool goes_through(std::size_t rows, std::size_t excluded) noexcept;
// How many excluded rows may be nearer than the k-th of the others for what is left to do.
std::size_t most_left_out(std::size_t ef, std::size_t k) noexcept;

}  // namespace srvdb
