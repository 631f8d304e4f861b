// Core: the best rows of each of the best groups.
//
// A search for more rows than groups are wanted usually meets enough of them. Where it does not,
// all rows of the groups it has met are left out, and so on, so that every round finds groups that
// are new; a group that has fewer hits than it may have is searched by itself. Everything is looked
// at in one moment.

#include <algorithm>
#include <map>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/base/scheduler.h"
#include "srvdb/database/core.h"
#include "srvdb/database/facet_count.h"
#include "srvdb/database/row_documents.h"
#include "srvdb/database/row_filter.h"
#include "srvdb/filter/values_expression.h"

namespace srvdb {
namespace {

constexpr std::size_t kRowsPerGroup = 4;  // looked for at first
constexpr std::size_t kLeastRows = 32;

struct Groups {
  std::vector<std::string> values;  // JSON text, best first
  std::map<std::string, std::vector<ScoredRow>> rows;
  std::map<Row, std::string> of_row;
};

// Rows that may be in a group.
std::string filter_for_grouped(std::string_view path) {
  std::string out = "{";
  return out.append(json_text(filter::Value::string(path))).append(": {\"$exists\": true}}");
}

void check_one_each(std::string_view what, std::size_t given, std::size_t n) {
  if (given == 0 || given == n) return;
  throw Error(ErrorCode::kInvalidInput, "expected a " + std::string(what) + " for each of " +
                                            std::to_string(n) + " queries, got " +
                                            std::to_string(given));
}

}  // namespace

// One search in which more and more rows are left out.
class Core::GroupSearch {
 public:
  GroupSearch(Core& core, const RowDocuments& documents, const float* query,
              const SearchOptions& options, Interrupt* interrupt)
      : core_(core),
        documents_(documents),
        query_(query),
        options_(options),
        interrupt_(interrupt) {}

  // `left`: the rows that may be found.
  void run(RowBitmap left) {
    std::size_t factor = kRowsPerGroup;
    while (groups_.values.size() < options_.k && !left.empty()) {
      check(interrupt_);
      const std::size_t known = groups_.values.size();
      const std::size_t most =
          std::max(kLeastRows, (options_.k - known) * options_.group_size * factor);
      const std::vector<ScoredRow> found = search(left, std::min(most, left.count()));
      const std::vector<Row> strays = sort_in(found);
      if (found.empty() || left.count() <= most) return;  // that was all
      factor *= 2;
      const std::span<const std::string> fresh = std::span(groups_.values).subspan(known);
      complete(fresh, left);
      if (!strays.empty()) left = left.without_rows(strays);
      if (!fresh.empty() && groups_.values.size() < options_.k)
        left = left - rows_of_groups(fresh, left);
    }
  }

  // What was found; groups go with hits by row.
  std::vector<ScoredRow> rows() const {
    std::vector<ScoredRow> out;
    for (const auto& [value, rows] : groups_.rows) out.insert(out.end(), rows.begin(), rows.end());
    std::sort(out.begin(), out.end(), better);
    return out;
  }
  const std::string& group_of(Row row) const { return groups_.of_row.at(row); }

 private:
  std::vector<ScoredRow> search(const RowBitmap& rows, std::size_t k) {
    const View& view = documents_.view();
    const RowBitmap excluded = RowBitmap().with_all_but(rows, view.rows);
    Scope scope;
    scope.view = documents_.shared_view();
    scope.excluded = &excluded;
    SearchOptions options = options_;
    options.k = k;
    options.ef = static_cast<std::uint32_t>(
        std::min<std::size_t>(std::max<std::size_t>(options.ef, k), view.rows));
    return core_.search_rows(scope, query_, options, interrupt_);
  }

  std::optional<std::string> group(Row row) const {
    return scalar_at(options_.group_by, documents_.metadata(row));
  }

  // Puts rows, best first, with their groups; returns those that are in none.
  std::vector<Row> sort_in(std::span<const ScoredRow> found) {
    std::vector<Row> strays;
    for (const ScoredRow& row : found) {
      const std::optional<std::string> value = group(row.row);
      if (!value) {
        strays.push_back(row.row);
        continue;
      }
      const bool is_new = !groups_.rows.contains(*value);
      if (is_new && groups_.values.size() == options_.k) continue;
      if (is_new) groups_.values.push_back(*value);
      std::vector<ScoredRow>& rows = groups_.rows[*value];
      if (rows.size() == options_.group_size) continue;
      rows.push_back(row);
      groups_.of_row[row.row] = *value;
    }
    return strays;
  }

  // A search of their own for groups that may have more rows than were met.
  void complete(std::span<const std::string> values, const RowBitmap& left) {
    for (const std::string& value : values) {
      std::vector<ScoredRow>& rows = groups_.rows[value];
      if (rows.size() == options_.group_size) continue;
      const RowBitmap own = rows_of_groups({&value, 1}, left);
      rows.clear();
      // Rows in arrays are strays.
      for (std::size_t k = options_.group_size; rows.size() < options_.group_size; k *= 4) {
        rows.clear();
        const std::vector<ScoredRow> found = search(own, std::min(k, own.count()));
        for (const ScoredRow& row : found) {
          if (rows.size() == options_.group_size) break;
          if (group(row.row) != value) continue;
          rows.push_back(row);
          groups_.of_row[row.row] = value;
        }
        if (k >= own.count()) break;
      }
    }
  }

  RowBitmap rows_of_groups(std::span<const std::string> values, const RowBitmap& left) {
    const auto expression = filter::expression_for_values(options_.group_by, values);
    return RowFilter(*expression, documents_, interrupt_).among(left);
  }

  Core& core_;
  const RowDocuments& documents_;
  const float* query_;
  const SearchOptions& options_;
  Interrupt* interrupt_;
  Groups groups_;
};

// One query, at one moment.
SearchResult Core::best_groups(const float* query, std::size_t dim, const SearchOptions& options,
                               Interrupt* interrupt) {
  // A filter of its own, so that the caller's may be as large as any.
  const std::string grouped = filter_for_grouped(options.group_by);
  std::vector<std::string_view> filters{grouped};
  if (!options.where.empty()) filters.push_back(options.where);
  match(filters, interrupt);  // from earlier answers, where there are any
  note_queries(query, 1, dim);
  SearchResult out;
  with_documents([&](const RowDocuments& documents) {
    const View& view = documents.view();
    check_query(view, query, 1, dim, options);
    RowBitmap rows = match_in(grouped, documents, interrupt).answer->matches -
                     (options.include_deleted ? view.gone : view.hidden);
    if (!options.where.empty()) {
      rows = rows & match_in(options.where, documents, interrupt).answer->matches;
    }
    if (!options.among.empty()) {
      const auto groups = filter::expression_for_values(options.group_by, options.among);
      rows = RowFilter(*groups, documents, interrupt).among(rows);
    }
    SearchOptions one = tuned(view, options);
    one.k = std::min<std::size_t>(options.k, view.rows);
    one.group_size = std::min<std::size_t>(options.group_size, view.rows);
    GroupSearch search(*this, documents, query, one, interrupt);
    search.run(rows);
    out = finish_search(documents.shared_view(), search.rows());
    for (const Hit& hit : out.hits) out.groups.push_back(search.group_of(hit.row));
  });
  return out;
}

std::vector<SearchResult> Core::search_groups(const float* queries, std::size_t n, std::size_t dim,
                                              const SearchOptions& options,
                                              std::span<const std::string_view> wheres,
                                              std::span<const std::vector<std::string>> among,
                                              Interrupt* interrupt) {
  if (options.group_by.empty() || options.group_size == 0) {
    throw Error(ErrorCode::kInvalidInput,
                "expected the name of a field to group by and at least 1 "
                "hit of a group");
  }
  check_one_each("filter", wheres.size(), n);
  check_one_each("list of groups", among.size(), n);
  expire_due();
  check_query(*view(), queries, n, dim, options);
  std::vector<SearchResult> out(n);
  const std::size_t threads =
      std::min(n, options.threads == 0 ? default_threads() : options.threads);
  parallel_for(n, 1, threads, interrupt, [&](std::size_t i, std::size_t) {
    SearchOptions one = options;
    one.threads = 1;
    if (!wheres.empty()) one.where = wheres[i];
    if (!among.empty()) one.among = among[i];
    // Other threads than the caller's are stopped between queries.
    out[i] = best_groups(queries + i * dim, dim, one, threads > 1 ? nullptr : interrupt);
  });
  return out;
}

}  // namespace srvdb
