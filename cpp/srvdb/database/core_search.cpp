// Core: searching a View.

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/database/core.h"
#include "srvdb/index/flat.h"
#include "srvdb/index/graph_search.h"

namespace srvdb {
namespace {

constexpr std::size_t kManyQueries = 16;  // exact searches of such a batch share their reading
constexpr std::size_t kWideWalk = 2000;   // a walk of more candidates than this is compared with
constexpr std::size_t kWideShare = 32;    // a scan: it must keep fewer than this part of the rows
constexpr double kCodeRefine = 4;         // "sq8" rescores this many times k rows in full precision

// No answer is longer than the view has rows, and nothing is reserved for a longer one.
SearchOptions bounded(const View& view, SearchOptions options) {
  options.k = std::min<std::size_t>(options.k, view.rows);
  options.ef = std::min(options.ef, std::max<std::uint32_t>(view.rows, 1));
  return options;
}

FlatOptions flat_options(const RowBitmap& excluded, const SearchOptions& options,
                         Interrupt* interrupt) {
  FlatOptions out;
  out.k = options.k;
  out.excluded = excluded.empty() ? nullptr : &excluded;
  out.interrupt = interrupt;
  return out;
}

GraphSearchOptions graph_options(const View& view, const SearchOptions& options,
                                 const FlatOptions& flat) {
  GraphSearchOptions out;
  out.k = options.k;
  out.ef = options.ef;
  out.limit = std::min(view.index->linked(), view.rows);
  out.excluded = flat.excluded;
  out.sure = options.recall != 0;  // the width was measured without a filter
  out.short_codes = view.index->shorter();
  out.interrupt = flat.interrupt;
  return out;
}

}  // namespace

std::shared_ptr<const View> Core::view() const {
  const std::lock_guard lock(view_mutex_);
  return view_;
}

void Core::publish_index(std::uint64_t generation, std::shared_ptr<const IndexView> index) {
  update_view([&](View& view) {
    if (view.generation == generation) view.index = std::move(index);
  });
}

void Core::change_index(std::uint64_t generation, const std::function<void(IndexView&)>& change) {
  update_view([&](View& view) {
    if (view.generation != generation) return;
    auto index = std::make_shared<IndexView>(*view.index);
    change(*index);
    view.index = std::move(index);
  });
}

// A search met damage in what this view shows. Of a generation that is no more it matters to
// nobody.
void Core::drop_graph(const View& view) {
  const std::shared_ptr<Indexer> indexer = this->indexer();
  if (!indexer || indexer->generation() != view.generation) return;
  indexer->drop_graph("a node's checksum or links are wrong");
  index_job_->wake();
}

void Core::drop_codes(const View& view, const DerivedDamage& damage) {
  const std::shared_ptr<Indexer> indexer = this->indexer();
  if (!indexer || indexer->generation() != view.generation) return;
  indexer->drop_codes(damage);
  index_job_->wake();
}

void Core::check_query(const View& view, const float* queries, std::size_t n, std::size_t dim,
                       const SearchOptions& options) const {
  if (options.k == 0) throw Error(ErrorCode::kInvalidInput, "k must be at least 1, got 0");
  if (options.recall != 0) {
    check_recall(options.recall);
    if (options.ef != 0) {
      throw Error(ErrorCode::kInvalidInput, "give recall or ef, not both: got recall " +
                                                std::to_string(options.recall) + " and ef " +
                                                std::to_string(options.ef));
    }
  } else {
    check_ef(options.ef);
  }
  if (n != 0 && view.dim != 0 && dim != view.dim) {
    throw Error(ErrorCode::kDimension, "expected queries of dimension " + std::to_string(view.dim) +
                                           ", got " + std::to_string(dim));
  }
  for (std::size_t i = 0; i < n; ++i) {
    const RowCheck checked = check_row(queries + i * dim, dim);
    if (checked.first_bad < 0) continue;
    const auto at = static_cast<std::size_t>(checked.first_bad);
    throw Error(ErrorCode::kInvalidInput, "queries[" + std::to_string(i) + "]: component " +
                                              std::to_string(at) + " must be finite, got " +
                                              std::to_string(queries[i * dim + at]));
  }
}

// What a search of this view for so many queries at once does: kHnsw, kSq8 or kFlat.
Mode Core::searching(const View& view, const SearchOptions& options, std::size_t queries) const {
  if (options.exact) return Mode::kFlat;
  const Mode mode = mode_.load(std::memory_order_relaxed);
  if (mode == Mode::kSq8) return view.index->coded() > 0 ? Mode::kSq8 : Mode::kFlat;
  if (mode == Mode::kFlat || view.index->linked() == 0) return Mode::kFlat;
  const std::size_t width = std::max<std::size_t>(options.ef, options.k);
  if (mode == Mode::kAuto) {
    const Calibration& measured = *view.calibration;
    const double walk = measured.walk_ns(options.ef, options.k);
    const double row = queries < kManyQueries ? measured.scan_ns : measured.batch_scan_ns;
    if (walk > 0 && row > 0) {
      return row * view.index->linked() < walk ? Mode::kFlat : Mode::kHnsw;
    }
    if (view.rows < Indexer::auto_rows(view.dim)) return Mode::kFlat;
  }
  // A walk keeps its candidates sorted: beyond some width a scan is the faster by far.
  if (width > kWideWalk && width > view.rows / kWideShare) return Mode::kFlat;
  return Mode::kHnsw;
}

// Rows that graph or codes cover by them, the rest exactly: complete at every moment. Damage of
// derived data drops them and falls back to an exact scan.
std::vector<ScoredRow> Core::search_rows(const Scope& scope, const float* query,
                                         const SearchOptions& options, Interrupt* interrupt) {
  const View& view = *scope.view;
  const RowsView rows = view.rows_view();
  FlatOptions flat = flat_options(*scope.excluded, options, interrupt);
  const Mode mode = searching(view, options, 1);
  const IndexView& index = *view.index;
  try {
    std::vector<ScoredRow> found;
    if (mode == Mode::kFlat) {
      flat.threads = options.threads;
      return flat_search(rows, metric_, query, with_codes(index, flat));
    }
    if (mode == Mode::kSq8) {
      flat.last = std::min(index.coded(), view.rows);
      found = code_search(rows, index.codes->view(), *index.quantizer, metric_, query, kCodeRefine,
                          flat);
    } else {
      const GraphSearchOptions graph = graph_options(view, options, flat);
      return complete(
          scope, query, options, graph,
          graph_search(*index.graph, rows, index.codes->view(), *index.quantizer, query, graph));
    }
    if (flat.last >= view.rows) return found;
    flat.first = std::exchange(flat.last, kNoRow);
    return merge_best(std::move(found), flat_search(rows, metric_, query, with_codes(index, flat)),
                      options.k);
  } catch (const DerivedDamage& damage) {
    drop_codes(view, damage);
    return flat_search(rows, metric_, query, flat_options(*scope.excluded, options, interrupt));
  }
}

// The whole answer from what a graph has found: with the rows behind it, or, when it is damaged,
// without it.
std::vector<ScoredRow> Core::complete(const Scope& scope, const float* query,
                                      const SearchOptions& options, const GraphSearchOptions& graph,
                                      GraphResult&& result) {
  const View& view = *scope.view;
  const RowsView rows = view.rows_view();
  FlatOptions flat = flat_options(*scope.excluded, options, graph.interrupt);
  if (result.end == WalkEnd::kDamaged) {
    drop_graph(view);
    return flat_search(rows, metric_, query, with_codes(*view.index, flat));
  }
  flat.first = graph.limit;  // and not linked(), which may have grown since
  if (flat.first >= view.rows) return std::move(result.rows);
  return merge_best(std::move(result.rows),
                    flat_search(rows, metric_, query, with_codes(*view.index, flat)), options.k);
}

// Searches over the graph, several in turns.
void Core::search_turns(const Scope& scope, std::span<const float> queries,
                        const SearchOptions& options, std::span<SearchResult> out) {
  const std::size_t dim = queries.size() / out.size();
  const std::shared_ptr<const View>& view = scope.view;
  const IndexView& index = *view->index;
  const GraphSearchOptions graph =
      graph_options(*view, options, flat_options(*scope.excluded, options, nullptr));
  std::vector<GraphResult> found(out.size());
  try {
    graph_search_batch(*index.graph, view->rows_view(), index.codes->view(), *index.quantizer,
                       queries.data(), out.size(), graph, found.data());
    for (std::size_t i = 0; i < out.size(); ++i) {
      const float* const query = queries.data() + i * dim;
      out[i] = finish_search(view, complete(scope, query, options, graph, std::move(found[i])));
    }
  } catch (const DerivedDamage&) {  // which search_rows copes with
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = finish_search(view, search_rows(scope, queries.data() + i * dim, options, nullptr));
    }
  }
}

// Ids for rows; equal scores in id order.
SearchResult Core::finish_search(std::shared_ptr<const View> view,
                                 std::span<const ScoredRow> rows) const {
  SearchResult out;
  out.hits.reserve(rows.size());
  for (const ScoredRow& row : rows) view->prefetch_id(row.row);
  bool ties = false;
  for (const ScoredRow& row : rows) {
    ties = ties || (!out.hits.empty() && out.hits.back().score == row.score);
    out.hits.push_back({row.row, row.score, view->id(row.row)});
  }
  if (ties) {
    std::sort(out.hits.begin(), out.hits.end(), [](const Hit& a, const Hit& b) {
      return a.score != b.score ? a.score > b.score : a.id < b.id;
    });
  }
  out.view = std::move(view);
  return out;
}

SearchResult Core::search(const float* query, std::size_t dim, const SearchOptions& options) {
  expire_due();
  const Scope scope = this->scope(options.where, options.include_deleted);
  check_query(*scope.view, query, 1, dim, options);
  if (scope.eligible() == 0) return finish_search(scope.view, {});
  note_queries(query, 1, dim);
  const std::vector<ScoredRow> rows =
      search_rows(scope, query, bounded(*scope.view, tuned(*scope.view, options)), nullptr);
  return finish_search(scope.view, rows);
}

std::vector<SearchResult> Core::search_batch(const float* queries, std::size_t n, std::size_t dim,
                                             const SearchOptions& options,
                                             std::span<const std::string_view> wheres,
                                             Interrupt* interrupt) {
  expire_due();
  std::vector<SearchResult> out(n);
  const std::span<const float> all(queries, n * dim);
  if (wheres.empty()) {
    const Scope scope = this->scope(options.where, options.include_deleted, interrupt);
    check_query(*scope.view, queries, n, dim, options);
    search_scope(scope, all, options, out, interrupt);
    return out;
  }
  if (wheres.size() != n) {
    throw Error(ErrorCode::kInvalidInput, "expected a filter for each of " + std::to_string(n) +
                                              " queries, got " + std::to_string(wheres.size()));
  }
  std::map<std::string_view, std::vector<std::size_t>> items;  // of each filter
  for (std::size_t i = 0; i < n; ++i) items[wheres[i]].push_back(i);
  std::vector<std::string_view> distinct;
  distinct.reserve(items.size());
  for (const auto& [where, list] : items) distinct.push_back(where);
  const Matching matching = match(distinct, interrupt);
  check_query(*matching.view, queries, n, dim, options);
  // Many filters are shared out among the threads, the queries of few filters are.
  const std::size_t threads = options.threads == 0 ? default_threads() : options.threads;
  const bool many = distinct.size() >= threads;
  SearchOptions one = options;
  one.threads = many ? 1 : threads;
  const auto search_one = [&](std::size_t f, Interrupt* stop) {
    const std::vector<std::size_t>& list = items.at(distinct[f]);
    std::vector<float> some;
    for (const std::size_t i : list) {
      some.insert(some.end(), queries + i * dim, queries + (i + 1) * dim);
    }
    std::vector<SearchResult> results(list.size());
    search_scope(scope(matching, f, distinct[f], options.include_deleted), some, one, results,
                 stop);
    for (std::size_t i = 0; i < list.size(); ++i) out[list[i]] = std::move(results[i]);
  };
  if (many) {
    parallel_for(distinct.size(), 1, threads, interrupt,
                 [&](std::size_t f, std::size_t) { search_one(f, nullptr); });
  } else {
    for (std::size_t f = 0; f < distinct.size(); ++f) search_one(f, interrupt);
  }
  return out;
}

// Searches one scope for several queries that were checked.
void Core::search_scope(const Scope& scope, std::span<const float> queries,
                        const SearchOptions& options, std::span<SearchResult> out,
                        Interrupt* interrupt) {
  const std::shared_ptr<const View>& view = scope.view;
  for (SearchResult& result : out) result.view = view;
  if (scope.eligible() == 0 || out.empty()) return;
  const std::size_t n = out.size();
  const std::size_t dim = queries.size() / n;
  note_queries(queries.data(), n, dim);
  const std::size_t threads = options.threads == 0 ? default_threads() : options.threads;
  SearchOptions one = bounded(*view, tuned(*view, options));
  one.threads = 1;
  const Mode mode = searching(*view, one, n);
  if (mode == Mode::kFlat) {
    FlatOptions flat = flat_options(*scope.excluded, one, interrupt);
    flat.threads = threads;
    const RowsView stored = view->rows_view();
    std::vector<std::vector<ScoredRow>> rows;
    try {
      rows = flat_search_batch(stored, metric_, queries.data(), n, with_codes(*view->index, flat));
    } catch (const DerivedDamage& damage) {
      drop_codes(*view, damage);
      rows = flat_search_batch(stored, metric_, queries.data(), n, flat);
    }
    for (std::size_t i = 0; i < n; ++i) out[i] = finish_search(view, rows[i]);
    return;
  }
  if (mode == Mode::kHnsw) {
    // Pieces large enough for turns, and enough of them for every thread to be busy to the end.
    const std::size_t piece = std::clamp(n / (threads * 4), kSearchesAtOnce, 32 * kSearchesAtOnce);
    const std::size_t size = std::min(piece, (n + threads - 1) / threads);
    parallel_for((n + size - 1) / size, 1, threads, interrupt, [&](std::size_t i, std::size_t) {
      const std::size_t first = i * size;
      const std::size_t count = std::min(size, n - first);
      search_turns(scope, queries.subspan(first * dim, count * dim), one,
                   out.subspan(first, count));
    });
    return;
  }
  parallel_for(n, 1, threads, interrupt, [&](std::size_t i, std::size_t) {
    out[i] = finish_search(view, search_rows(scope, queries.data() + i * dim, one, nullptr));
  });
}

}  // namespace srvdb
