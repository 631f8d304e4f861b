// Bugs on purpose, to prove that the tests can fail. A build with -DSRVDB_PLANTED_BUGS=ON has the
// one that the environment variable SRVDB_PLANTED_BUG names; in every other build planted() is
// false at compile time, and nothing of this is left. `make planted` shows what catches each.
//
// A place that can be broken is one readable line: if (!planted(Bug::kSkipRowSync)) sync_rows();
#pragma once

#include <array>
#include <cstddef>

namespace srvdb {

enum class Bug : unsigned char {
  kSkipRowSync,
  kSkipLogSync,
  kAcknowledgeBeforeSync,
  kSkipManifestDirectorySync,
  kSkipLogDirectorySync,
  kPublishUnsyncedGeneration,
  kSkipStoreSync,
  kSkipChecksumFileSync,
  kIgnoreRowChecksum,
  kIgnoreIdChecksum,
  kIgnoreRecordChecksum,
  kIgnorePageChecksum,
  kLoseTombstone,
  kForgetSoftDeletes,
  kForgetLogEntry,
  kDropLogEarly,
  kSkipARecord,
  kShowHalfABatch,
  kMixUpRows,
  kKeepRefusedRows,
  kIgnoreLogTail,
  kForgetColumnUpdate,
  kKeepStaleAnswers,
};

inline constexpr std::array kBugNames = {
    "skip_row_sync",
    "skip_log_sync",
    "acknowledge_before_sync",
    "skip_manifest_directory_sync",
    "skip_log_directory_sync",
    "publish_unsynced_generation",
    "skip_store_sync",
    "skip_checksum_file_sync",
    "ignore_row_checksum",
    "ignore_id_checksum",
    "ignore_record_checksum",
    "ignore_page_checksum",
    "lose_tombstone",
    "forget_soft_deletes",
    "forget_log_entry",
    "drop_log_early",
    "skip_a_record",
    "show_half_a_batch",
    "mix_up_rows",
    "keep_refused_rows",
    "ignore_log_tail",
    "forget_column_update",
    "keep_stale_answers",
};
static_assert(kBugNames.size() == static_cast<std::size_t>(Bug::kKeepStaleAnswers) + 1);

#ifdef SRVDB_PLANTED_BUGS
bool planted(Bug bug) noexcept;
#else
constexpr bool planted(Bug) noexcept {
  return false;
}
#endif

}  // namespace srvdb
