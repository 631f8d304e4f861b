// Core: reading the change log, and carrying it into another generation.

#include <algorithm>
#include <utility>

#include "srvdb/base/clock.h"
#include "srvdb/base/error.h"
#include "srvdb/database/core.h"

namespace srvdb {
namespace {

constexpr std::size_t kPieceEntries = 32u << 10;  // carried in one transaction
constexpr std::size_t kPieceText = 8u << 20;      // bytes of the same

using PendingLog = std::vector<std::pair<Sequence, std::string_view>>;

// Entries of a pending side above `after`.
std::span<const std::pair<Sequence, std::string_view>> entries_after(const PendingLog& log,
                                                                     Sequence after) {
  const auto first = std::upper_bound(
      log.begin(), log.end(), after, [](Sequence s, const auto& entry) { return s < entry.first; });
  return {first, log.end()};
}

}  // namespace

// Entries above `after` that have not been trimmed, in order, until visit() returns false. Store,
// frozen side and active side hold one order of sequences; what was just checkpointed may be in the
// store and still frozen. state_mutex_ is held.
void Core::each_log_entry(const MetaStore::ReadTxn& store, Sequence after,
                          const LogVisitor& visit) const {
  const Sequence trimmed = log_trimmed_before();
  if (trimmed > 0) after = std::max(after, trimmed - 1);
  const Sequence pending_from = first_pending_entry();
  bool more = true;
  store.for_each_log(after, [&](Sequence sequence, ByteSpan bytes) {
    if (sequence >= pending_from) return false;
    more = visit(sequence, bytes);
    return more;
  });
  const auto go_on = [&](const PendingLog& log) {
    for (const auto& [sequence, entry] : entries_after(log, after)) {
      if (!more) return;
      more = visit(sequence, as_byte_span(entry));
    }
  };
  if (frozen_) go_on(frozen_->changes.log());
  go_on(active_.log());
}

// The same, newest first.
void Core::each_log_entry_back(const MetaStore::ReadTxn& store, const LogVisitor& visit) const {
  const Sequence trimmed = log_trimmed_before();
  const auto go_on = [&](const PendingLog& log) {
    for (auto entry = log.rbegin(); entry != log.rend() && entry->first >= trimmed; ++entry) {
      if (!visit(entry->first, as_byte_span(entry->second))) return false;
    }
    return true;
  };
  if (!go_on(active_.log())) return;
  if (frozen_ && !go_on(frozen_->changes.log())) return;
  store.for_each_log_back(first_pending_entry(), [&](Sequence sequence, ByteSpan bytes) {
    return sequence >= trimmed && visit(sequence, bytes);
  });
}

Sequence Core::log_trimmed_before() const {
  return std::max(active_.log_trimmed_before(),
                  frozen_ ? frozen_->changes.log_trimmed_before() : 0);
}

Sequence Core::first_pending_entry() const {
  if (frozen_ && !frozen_->changes.log().empty()) return frozen_->changes.log().front().first;
  return active_.log().empty() ? ~Sequence{0} : active_.log().front().first;
}

std::vector<LogEntry> Core::change_log(const LogQuery& query) const {
  std::vector<LogEntry> out;
  if (query.limit == 0) return out;
  const std::string where = generation_path(view()->generation) + "/metadata.db";
  const std::shared_lock state(state_mutex_);
  // True while more are wanted.
  const auto take = [&](Sequence sequence, ByteSpan bytes) {
    if (query.operation && log_entry_operation(bytes, where) != *query.operation) return true;
    out.push_back(decode_log_entry(sequence, bytes, where));
    return out.size() < query.limit;
  };
  with_store([&](const MetaStore::ReadTxn& store) {
    if (query.since) {
      each_log_entry(store, *query.since, take);
    } else {
      each_log_entry_back(store, take);
    }
  });
  if (!query.since) std::reverse(out.begin(), out.end());
  return out;
}

std::uint64_t Core::count_log_before(Sequence before) const {
  const std::shared_lock state(state_mutex_);
  std::uint64_t count = 0;
  with_store([&](const MetaStore::ReadTxn& store) {
    each_log_entry(store, 0, [&](Sequence sequence, ByteSpan) {
      if (sequence < before) ++count;
      return sequence < before;
    });
  });
  return count;
}

Sequence Core::change_log_at(std::int64_t time_us) const {
  const std::string where = generation_path(view()->generation) + "/metadata.db";
  const std::shared_lock state(state_mutex_);
  Sequence found = view()->sequence + 1;
  with_store([&](const MetaStore::ReadTxn& store) {
    each_log_entry(store, 0, [&](Sequence sequence, ByteSpan bytes) {
      const bool earlier = log_entry_time(bytes, where) < time_us;
      if (!earlier) found = sequence;
      return earlier;
    });
  });
  return found;
}

// ---- into another generation -------------------------------------------------------------------

// In pieces, each in a transaction of its own; after each of them done() may throw to end it.
Sequence Core::carry_log(const MetaStore::ReadTxn& from, MetaStore& to, Sequence after,
                         const std::function<void()>& done) {
  std::vector<std::pair<Sequence, ByteSpan>> piece;
  std::size_t bytes = 0;
  const auto flush = [&] {
    if (piece.empty()) return;
    to.update([&](MetaStore::WriteTxn& txn) {
      for (const auto& [sequence, entry] : piece) txn.put_log(sequence, entry);
    });
    after = piece.back().first;
    piece.clear();
    bytes = 0;
    if (done) done();
  };
  from.for_each_log(after, [&](Sequence sequence, ByteSpan entry) {
    piece.emplace_back(sequence, entry);
    bytes += entry.size();
    if (piece.size() >= kPieceEntries || bytes >= kPieceText) flush();
    return true;
  });
  flush();
  return after;
}

// A state to be switched to goes on with the sequences and the change log of the present one, whose
// entries it holds already, and has one more, of what made it. Writers stand still.
void Core::continue_history(MetaStore::WriteTxn& to, const MetaStore::ReadTxn& present,
                            MetaState state, LogOperation operation,
                            std::string_view details) const {
  state.applied_sequence = view()->sequence + 1;
  Sequence first = state.applied_sequence;  // entries below have been trimmed
  present.for_each_log(0, [&](Sequence sequence, ByteSpan) {
    first = sequence;
    return false;
  });
  to.erase_log_before(first);
  to.put_log(state.applied_sequence,
             as_byte_span(encode_log_entry(now_us(), operation, details, {})));
  to.set_state(state);
}

}  // namespace srvdb
