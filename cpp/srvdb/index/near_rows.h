// Near rows of every row, found by comparing all rows with all others inside small overlapping
// parts of the collection. Internal to the index layer.
//
// Rows go to the parts of their nearest pivots, which are rows taken at random; a part that is too
// large is cut up in the same way. Inside a part all distances are computed at once (code_pairs.h),
// and each row is offered its nearest ones. (Several parts for a row:
// Chen et al., SPANN, 2021; comparing all pairs in parts: Munoz et al., HCNNG, 2019.)
//
// The outcome depends on the codes alone, not on the number of threads.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "srvdb/base/interrupt.h"
#include "srvdb/index/code_pairs.h"
#include "srvdb/index/near_lists.h"
#include "srvdb/index/rows.h"

namespace srvdb {

struct NearRowsOptions {
  std::size_t threads = 1;  // workers
  Interrupt* interrupt = nullptr;
};

inline constexpr std::size_t kPivotsOfRow = 10;  // parts that a row is in

// Fills the lists of the rows 0, step, … below `rows` with rows of the same step. Where `pivots` is
// given, it gets the kPivotsOfRow nearest pivots of each of these rows, kNoRow where there were
// fewer: rows from farther around than those of the lists. `codes` are verified and the terms of
// `pairs` made for all rows; one of `pairs` for each thread. Takes 4 * 2 * kPivotsOfRow bytes for
// each of the rows and a little more. Throws Error(kInterrupted) and std::bad_alloc; then the
// lists are incomplete.
void find_near_rows(const CodesView& codes, Row rows, std::span<CodePairs> pairs,
                    const NearRowsOptions& options, NearLists& lists, std::vector<Row>* pivots);

}  // namespace srvdb
