// Counts how many rows have each value of a field, and orders the values by that.
//
// Values are those of documents and dictionaries (filter/value.h): containers are not counted, and
// a row counts once for a value, however often an array repeats it. Not thread-safe.
#pragma once

#include <compare>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "srvdb/database/database.h"
#include "srvdb/database/row_documents.h"
#include "srvdb/filter/value.h"

namespace srvdb {

// JSON text of a scalar that is not cut; the shortest that reads back as the same.
std::string json_text(const filter::Value& value);

// The scalar that a document has at a path, as JSON text: its only value there, and no element of
// an array.
std::optional<std::string> scalar_at(std::string_view path, std::string_view metadata);

class FacetCount {
 public:
  // Rows more that have the value, a scalar that is not cut; its text is copied.
  void add(const filter::Value& value, std::size_t rows);
  // One row, by its document.
  void add_row(std::string_view path, std::string_view metadata);
  // The column's rows, of which `rows` are to be counted, by their documents where the column does
  // not tell. Returns false, having counted nothing, where a row may have one value twice.
  bool add_block(const filter::ColumnView& column, Row first, std::string_view path,
                 filter::ConstColumnBits rows, const RowDocuments& documents);
  // The most frequent values first, then in the order of values.
  std::vector<FacetValue> most_frequent(std::size_t limit) const;

 private:
  struct Hash {
    std::size_t operator()(const filter::Value& value) const noexcept;
  };
  struct Equal {
    bool operator()(const filter::Value& a, const filter::Value& b) const noexcept {
      return std::is_eq(filter::order(a, b));
    }
  };
  std::unordered_map<filter::Value, std::size_t, Hash, Equal> counts_;
  TextArena texts_;
};

}  // namespace srvdb
