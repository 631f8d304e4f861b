// Searches and filters of a database, held against its rows one by one.

#include <cmath>
#include <map>
#include <random>

#include "soak/world.h"
#include "srvdb/filter/expression.h"

namespace srvdb::soak {
namespace {

std::vector<float> query_of(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> out(kDim);
  for (float& value : out) {
    value = (static_cast<float>(random() % 20001) - 10000.0f) / 1000.0f + 1e-3f;
  }
  return out;
}

double cosine(const std::vector<float>& query, const std::vector<float>& row) {
  double dot = 0, a = 0, b = 0;
  for (std::size_t i = 0; i < kDim; ++i) {
    dot += double{query[i]} * double{row[i]};
    a += double{query[i]} * double{query[i]};
    b += double{row[i]} * double{row[i]};
  }
  return dot / std::sqrt(a * b);
}

void check_hits(const SearchResult& found, const std::vector<float>& query, const Rows& rows,
                bool deleted_too, const char* how) {
  double last = 2;
  for (const Hit& hit : found.hits) {
    const auto at = rows.find(std::string(hit.id));
    if (at == rows.end() || (at->second.deleted && !deleted_too)) {
      throw Mismatch(std::string(how) + " finds " + std::string(hit.id));
    }
    if (std::abs(hit.score - cosine(query, at->second.row)) > 1e-9 || hit.score > last) {
      throw Mismatch(std::string(how) + " gives " + at->first + " a wrong score or place");
    }
    last = hit.score;
  }
}

}  // namespace

void check_searches(const Database& db, const Rows& rows, std::uint64_t seed) {
  const std::vector<float> query = query_of(seed);
  std::size_t live = 0;
  for (const auto& [id, stored] : rows) live += stored.deleted ? 0 : 1;
  const std::size_t k = rows.size() + 2;
  const auto exact = db.search(query.data(), kDim, {.k = k, .exact = true});
  check_hits(exact, query, rows, false, "an exact search");
  if (exact.hits.size() != live) throw Mismatch("an exact search misses rows");
  const auto all = db.search(query.data(), kDim, {.k = k, .include_deleted = true});
  check_hits(all, query, rows, true, "a search of deleted rows too");
  if (all.hits.size() != rows.size()) throw Mismatch("a search of deleted rows too misses rows");
  const std::size_t few = 1 + live / 2;
  const auto found = db.search(query.data(), kDim, {.k = few});
  check_hits(found, query, rows, false, "a search");
  if (found.hits.size() != std::min(few, live)) throw Mismatch("a search finds too few rows");
}

void check_filters(const Database& db, const Rows& rows, std::uint64_t seed) {
  std::mt19937_64 random(seed + 1);
  const std::string n = std::to_string(random() % 20);
  const std::string filters[] = {
      "{\"n\":" + n + "}",
      "{\"n\":{\"$gte\":" + n + "},\"on\":{\"$ne\":true}}",
      "{\"$or\":[{\"tags\":\"b" + std::to_string(random() % 4) +
          "\"},{\"who.name\":{\"$gt\":\"zz\"}}]}",
      R"({"long":{"$contains":"yyyy"}})",
      R"({"on":null})",
      R"({"who":{"$exists":false}})",
  };
  const std::vector<float> query = query_of(seed);
  for (const std::string& where : filters) {
    const auto expression = filter::Expression::parse(where);
    Rows matching;
    for (const auto& [id, stored] : rows) {
      if (!stored.deleted && expression->matches(id, stored.metadata)) matching[id] = stored;
    }
    if (db.count(where) != matching.size()) throw Mismatch("the count of " + where + " is wrong");
    if (random() % 3 != 0) continue;
    const auto found = db.search(query.data(), kDim, {.k = rows.size() + 1, .where = where});
    check_hits(found, query, matching, false, "a filtered search");
    if (found.hits.size() != matching.size()) throw Mismatch("a filtered search misses rows");
  }
  std::map<std::string, std::size_t> counts;
  for (const auto& [id, stored] : rows) {
    if (stored.deleted || !stored.metadata.starts_with("{\"n\":")) continue;
    const std::size_t end = stored.metadata.find_first_of(",}");
    ++counts[stored.metadata.substr(5, end - 5)];
  }
  for (const FacetValue& value : db.facet("n", {}, 1000)) {
    if (counts[value.value] != value.count)
      throw Mismatch("facets count " + value.value + " wrong");
    counts.erase(value.value);
  }
  if (!counts.empty()) throw Mismatch("facets miss " + counts.begin()->first);
}

}  // namespace srvdb::soak
