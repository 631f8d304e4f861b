// Core: reading the change log.

#include <algorithm>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/database/core.h"

namespace srvdb {
namespace {

using PendingLog = std::vector<std::pair<Sequence, std::string_view>>;

// Entries of a pending side above `after`.
std::span<const std::pair<Sequence, std::string_view>> entries_after(const PendingLog& log,
                                                                     Sequence after) {
  const auto first = std::upper_bound(
      log.begin(), log.end(), after, [](Sequence s, const auto& entry) { return s < entry.first; });
  return {first, log.end()};
}

}  // namespace

// Store, frozen side, active side: one order of sequences.
std::vector<LogEntry> Core::change_log(const LogQuery& query) const {
  std::vector<LogEntry> out;
  if (query.limit == 0) return out;
  const std::string where = generation_path(view()->generation) + "/metadata.db";
  const std::shared_lock state(state_mutex_);
  const PendingLog none;
  const PendingLog& frozen = frozen_ ? frozen_->changes.log() : none;
  const Sequence trimmed =
      std::max(active_.log_trimmed_before(), frozen_ ? frozen_->changes.log_trimmed_before() : 0);
  const Sequence pending_from = !frozen.empty()          ? frozen.front().first
                                : !active_.log().empty() ? active_.log().front().first
                                                         : ~Sequence{0};
  // True while more are wanted.
  const auto take = [&](Sequence sequence, ByteSpan bytes) {
    if (sequence < trimmed) return true;
    if (query.operation && log_entry_operation(bytes, where) != *query.operation) return true;
    out.push_back(decode_log_entry(sequence, bytes, where));
    return out.size() < query.limit;
  };
  with_store([&](const MetaStore::ReadTxn& store) {
    if (query.since) {
      bool more = true;
      store.for_each_log(*query.since, [&](Sequence sequence, ByteSpan bytes) {
        more = sequence < pending_from && take(sequence, bytes);
        return more;
      });
      more = out.size() < query.limit;
      for (const PendingLog* const log : {&frozen, &active_.log()}) {
        for (const auto& [sequence, entry] : entries_after(*log, *query.since)) {
          if (!more) return;
          more = take(sequence, as_byte_span(entry));
        }
      }
      return;
    }
    for (const PendingLog* const log : {&active_.log(), &frozen}) {
      for (auto entry = log->rbegin(); entry != log->rend(); ++entry) {
        if (!take(entry->first, as_byte_span(entry->second))) return;
      }
    }
    store.for_each_log_back(pending_from, take);
  });
  if (!query.since) std::reverse(out.begin(), out.end());
  return out;
}

std::uint64_t Core::count_log_before(Sequence before) const {
  const std::shared_lock state(state_mutex_);
  std::uint64_t count = 0;
  const Sequence trimmed =
      std::max(active_.log_trimmed_before(), frozen_ ? frozen_->changes.log_trimmed_before() : 0);
  const auto look = [&](Sequence sequence, ByteSpan) {
    if (sequence < before && sequence >= trimmed) ++count;
    return sequence < before;
  };
  with_store([&](const MetaStore::ReadTxn& store) {
    store.for_each_log(0, [&](Sequence sequence, ByteSpan bytes) {
      const bool pending = frozen_ && !frozen_->changes.log().empty() &&
                           sequence >= frozen_->changes.log().front().first;
      return !pending && look(sequence, bytes);  // just checkpointed, and still frozen
    });
  });
  if (frozen_) {
    for (const auto& [sequence, entry] : frozen_->changes.log()) look(sequence, {});
  }
  for (const auto& [sequence, entry] : active_.log()) look(sequence, {});
  return count;
}

Sequence Core::change_log_at(std::int64_t time_us) const {
  const std::string where = generation_path(view()->generation) + "/metadata.db";
  const std::shared_lock state(state_mutex_);
  Sequence found = 0;
  const auto look = [&](Sequence sequence, ByteSpan bytes) {
    if (log_entry_time(bytes, where) >= time_us) found = sequence;
    return found == 0;
  };
  with_store([&](const MetaStore::ReadTxn& store) { store.for_each_log(0, look); });
  if (found != 0) return found;
  if (frozen_) {
    for (const auto& [sequence, entry] : frozen_->changes.log()) {
      if (!look(sequence, as_byte_span(entry))) return found;
    }
  }
  for (const auto& [sequence, entry] : active_.log()) {
    if (!look(sequence, as_byte_span(entry))) return found;
  }
  return view()->sequence + 1;
}

}  // namespace srvdb
