// Core: which rows match a filter, at one moment, and changing those rows.
//
// An answer is kept (filter_cache.h) and brought forward: of a later moment of the same generation
// only the rows that came since are evaluated, and those whose metadata changed in place since. The
// core remembers the last such changes (recent_edits_); what is older than they reach is evaluated
// anew. Rows that went need nothing: whoever uses an answer leaves them out.
//
// View, pending changes and store are taken together under state_mutex_, so that a batch counts
// wholly or not at all; what takes long is done after the lock is given back, on copies.

#include <algorithm>
#include <utility>

#include "srvdb/base/planted_bugs.h"
#include "srvdb/database/batch_check.h"
#include "srvdb/database/core.h"
#include "srvdb/database/row_documents.h"
#include "srvdb/database/row_filter.h"

namespace srvdb {
namespace {

constexpr std::size_t kRememberedEdits = 65'536;
constexpr std::size_t kPieceRows = 50'000;      // of a change by filter
constexpr std::size_t kPieceBytes = 16u << 20;  // of its ids and metadata

// A change of all rows must be asked for by a filter that matches all.
void refuse_no_filter(std::string_view where) {
  if (!where.empty()) return;
  throw Error(ErrorCode::kFilter, "expected a filter, got an empty text");
}

bool is_of(const FilterCache::Entry& filter, const View& view) {
  const FilterAnswer* const answer = filter.answer.get();
  return answer != nullptr && answer->generation == view.generation &&
         answer->sequence == view.sequence && answer->rows == view.rows;
}

}  // namespace

void Core::note_edit(Sequence sequence, Row row) {
  if (planted(Bug::kKeepStaleAnswers)) return;
  recent_edits_.emplace_back(sequence, row);
  if (recent_edits_.size() <= kRememberedEdits) return;
  edits_after_ = recent_edits_.front().first;
  recent_edits_.pop_front();
}

std::shared_ptr<const PendingChanges> Core::frozen_changes() const {
  return frozen_ ? std::shared_ptr<const PendingChanges>(frozen_, &frozen_->changes) : nullptr;
}

FilterStep Core::filter_step(const FilterCache::Entry& filter, const View& view) const {
  FilterStep step;
  const FilterAnswer* const answer = filter.answer.get();
  if (answer == nullptr || answer->generation != view.generation ||
      answer->sequence < edits_after_ || answer->sequence > view.sequence) {
    return step;
  }
  step.known = answer->matches;
  step.from = std::min(answer->rows, view.rows);
  const auto edit = std::upper_bound(recent_edits_.begin(), recent_edits_.end(), answer->sequence,
                                     [](Sequence after, const auto& e) { return after < e.first; });
  step.edits = static_cast<std::size_t>(recent_edits_.end() - edit);
  return step;
}

// The rows of the last n changes in place, the oldest first.
std::vector<Row> Core::last_edits(std::size_t n) const {
  std::vector<Row> rows;
  rows.reserve(n);
  for (auto edit = recent_edits_.end() - static_cast<std::ptrdiff_t>(n);
       edit != recent_edits_.end(); ++edit) {
    rows.push_back(edit->second);
  }
  return rows;
}

Matching Core::match(std::span<const std::string_view> wheres, Interrupt* interrupt) {
  Matching out;
  for (const std::string_view where : wheres) out.filters.push_back(filters_.find(where));
  out.view = view();
  const auto fits = [&](const FilterCache::Entry& filter) { return is_of(filter, *out.view); };
  if (std::ranges::all_of(out.filters, fits)) return out;

  std::shared_lock state(state_mutex_);
  out.view = view();
  std::vector<FilterStep> steps;
  Row from = kNoRow;
  std::size_t edits = 0;
  for (const FilterCache::Entry& filter : out.filters) {
    steps.push_back(filter_step(filter, *out.view));
    from = std::min(from, steps.back().from);
    edits = std::max(edits, steps.back().edits);
  }
  const std::vector<Row> edited = last_edits(edits);
  PendingTexts pending;
  pending.take(frozen_changes(), active_, from, edited);
  with_store([&](const MetaStore::ReadTxn& store) {
    state.unlock();
    pending.finish();
    const RowDocuments documents(out.view, store, pending);
    for (std::size_t i = 0; i < wheres.size(); ++i) {
      FilterCache::Entry& filter = out.filters[i];
      if (fits(filter)) continue;
      RowFilter evaluation(*filter.expression, documents, interrupt);
      const FilterStep& step = steps[i];
      filter.answer = std::make_shared<const FilterAnswer>(FilterAnswer{
          out.view->generation, out.view->sequence, out.view->rows,
          evaluation.matches(step.known, step.from, std::span(edited).last(step.edits))});
      filter.exclusion = nullptr;
      filters_.keep(wheres[i], filter.answer);
    }
  });
  return out;
}

// Runs look(documents) on all rows of a moment.
void Core::with_documents(const std::function<void(const RowDocuments& documents)>& look) const {
  std::shared_lock state(state_mutex_);
  const std::shared_ptr<const View> view = this->view();
  PendingTexts pending;
  pending.take(frozen_changes(), active_, 0, {});
  with_store([&](const MetaStore::ReadTxn& store) {
    state.unlock();
    pending.finish();
    look(RowDocuments(view, store, pending));
  });
}

// The answer of a filter for a moment that is being looked at.
FilterCache::Entry Core::match_in(std::string_view where, const RowDocuments& documents,
                                  Interrupt* interrupt) {
  const View& view = documents.view();
  FilterCache::Entry filter = filters_.find(where);
  if (is_of(filter, view)) return filter;
  RowFilter evaluation(*filter.expression, documents, interrupt);
  filter.answer = std::make_shared<const FilterAnswer>(
      FilterAnswer{view.generation, view.sequence, view.rows, evaluation.matches()});
  filter.exclusion = nullptr;
  filters_.keep(where, filter.answer);
  return filter;
}

// The same for one filter while the lock is held, for those who go on to look at pending changes.
FilterCache::Entry Core::match_now(std::string_view where, const std::shared_ptr<const View>& view,
                                   const MetaStore::ReadTxn& store) {
  FilterCache::Entry filter = filters_.find(where);
  if (is_of(filter, *view)) return filter;
  const FilterStep step = filter_step(filter, *view);
  PendingTexts pending;
  const std::vector<Row> edited = last_edits(step.edits);
  pending.take(frozen_changes(), active_, step.from, edited);
  pending.finish();
  const RowDocuments documents(view, store, pending);
  RowFilter evaluation(*filter.expression, documents);
  filter.answer = std::make_shared<const FilterAnswer>(
      FilterAnswer{view->generation, view->sequence, view->rows,
                   evaluation.matches(step.known, step.from, edited)});
  filter.exclusion = nullptr;
  filters_.keep(where, filter.answer);
  return filter;
}

Scope Core::scope(std::string_view where, bool include_deleted, Interrupt* interrupt) {
  if (!where.empty()) return scope(match({&where, 1}, interrupt), 0, where, include_deleted);
  Scope out;
  out.view = view();
  out.excluded = include_deleted ? &out.view->gone : &out.view->hidden;
  return out;
}

Scope Core::scope(const Matching& matching, std::size_t filter, std::string_view where,
                  bool include_deleted) {
  Scope out;
  out.view = matching.view;
  const RowBitmap& hidden = include_deleted ? out.view->gone : out.view->hidden;
  const FilterCache::Entry& entry = matching.filters[filter];
  if (entry.exclusion && entry.exclusion->hidden.shares_all(hidden)) {
    out.exclusion = entry.exclusion;
  } else {
    out.exclusion = std::make_shared<const FilterExclusion>(
        FilterExclusion{hidden, hidden.with_all_but(entry.answer->matches, out.view->rows)});
    filters_.keep(where, entry.answer, out.exclusion);
  }
  out.excluded = &out.exclusion->excluded;
  return out;
}

// ---- changes by filter -------------------------------------------------------------------------

// Views into the matching's View.
std::vector<std::string_view> Core::matching_ids(const Matching& matching) const {
  std::vector<std::string_view> ids;
  for (const Row row : (matching.rows() - matching.view->hidden).rows()) {
    ids.push_back(matching.view->id(row));
  }
  return ids;
}

std::size_t Core::change_where(RecordType type, std::string_view where) {
  refuse_no_filter(where);
  expire_due();
  const Matching matching = match({&where, 1});
  const std::vector<std::string_view> ids = matching_ids(matching);
  std::size_t changed = 0;
  for (std::size_t first = 0; first < ids.size(); first += kMaxBatchRows) {
    const std::size_t n = std::min(kMaxBatchRows, ids.size() - first);
    changed += write_targets(type, std::span(ids).subspan(first, n), where);
  }
  return changed;
}

std::size_t Core::update_where(std::string_view where, const Update& update) {
  refuse_no_filter(where);
  Update one = update;
  one.id = "x";  // so that only what is to be set is checked
  one.row = nullptr;
  check_updates({&one, 1}, 0);
  expire_due();
  const Matching matching = match({&where, 1});
  const std::vector<std::string_view> ids = matching_ids(matching);
  const std::size_t size = kMaxIdBytes + (update.metadata ? update.metadata->size() : 0);
  const std::size_t piece = std::clamp<std::size_t>(kPieceBytes / size, 1, kPieceRows);
  std::size_t changed = 0;
  for (std::size_t first = 0; first < ids.size(); first += piece) {
    const auto part = std::span(ids).subspan(first, std::min(piece, ids.size() - first));
    std::unique_lock lock = writer_turn(part);
    const Matching now = match({&where, 1});
    std::vector<Update> updates;
    for (const Target& target : find_targets(part)) {
      if (target.soft || !now.rows().test(target.row)) continue;
      one.id = part[target.index];
      updates.push_back(one);
    }
    if (updates.empty()) continue;
    write_update(updates, 0, lock);
    changed += updates.size();
  }
  return changed;
}

}  // namespace srvdb
