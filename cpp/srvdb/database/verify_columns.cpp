// verify(): columns of metadata against the metadata.
//
// Blocks come by field, documents by row, so each side is summed up: for each field and block of
// rows a sum of hashes, one for each row with its values. Rows that are gone do not count, nor do
// those that a block calls opaque, of which it says nothing.

#include <algorithm>
#include <compare>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "srvdb/base/error.h"
#include "srvdb/database/field_catalogue.h"
#include "srvdb/database/verify_parts.h"
#include "srvdb/filter/column.h"
#include "srvdb/filter/document.h"

namespace srvdb {

using filter::ColumnView;
using filter::Value;

namespace {

// What hashes of a row's values are made of; two values have the same bytes when they are equal.
void put_value(std::string& out, const Value& full) {
  const Value value = full.shortened();
  put_all(out, static_cast<std::uint8_t>(value.kind()),
          static_cast<std::uint8_t>(value.element() ? 1 : 0),
          static_cast<std::uint8_t>(value.cut() ? 1 : 0), value.as_uint(), value.hash()[0],
          value.hash()[1]);
  put_text(out, value.text());
}

std::uint64_t hash_row(Row row, const std::string& values) {
  std::string bytes;
  put(bytes, row);
  return filter::hash_text(bytes.append(values))[0];
}

// A document's values by field, each once and in order.
class FieldsOfDocument final : public filter::DocumentSink {
 public:
  explicit FieldsOfDocument(const FieldCatalogue& fields) : fields_(fields) {}

  void read(std::string_view text) {
    by_field_.clear();
    unknown_.clear();
    filter::read_document(text, *this);
  }
  void value(std::string_view path, const Value& value) override {
    if (const auto field = fields_.number(path)) {
      std::string bytes;
      put_value(bytes, value);
      by_field_[*field].insert(std::move(bytes));
    } else if (fields_.coverage(path) == FieldCoverage::kNowhere) {
      unknown_ = path;
    }
  }

  const std::map<std::uint32_t, std::set<std::string>>& by_field() const { return by_field_; }
  // A field that should have a column and has none; empty: none such.
  const std::string& unknown() const { return unknown_; }

 private:
  const FieldCatalogue& fields_;
  std::map<std::uint32_t, std::set<std::string>> by_field_;
  std::string unknown_;
};

std::string values_text(const std::set<std::string>& values) {
  std::string out;
  for (const std::string& value : values) out.append(value);
  return out;
}

}  // namespace

class ColumnCheck {
 public:
  ColumnCheck(const FieldCatalogue& fields, const RowBits& gone, Row rows)
      : fields_(fields), gone_(gone), rows_(rows) {}

  // What is wrong with the block by itself; nothing: it is sound.
  std::string add_block(ColumnKey key, ByteSpan bytes, std::uint64_t offset);
  std::string add_document(Row row, std::string_view text);
  // Calls told(offset, what) for each block that says something else than the documents.
  template <typename Told>
  void compare(Told&& told) const;

 private:
  struct Sums {
    std::uint64_t blocks = 0;
    std::uint64_t documents = 0;
    std::uint64_t offset = 0;  // of the block
  };
  using Place = std::pair<std::uint32_t, std::uint32_t>;  // field, block

  const FieldCatalogue& fields_;
  const RowBits& gone_;
  const Row rows_;
  std::map<Place, Sums> sums_;
  std::map<std::uint32_t, std::set<Row>> opaque_;  // by field
};

std::string ColumnCheck::add_block(ColumnKey key, ByteSpan bytes, std::uint64_t offset) {
  if (key.field >= fields_.size()) return "a block of a column belongs to no field";
  const Row first = key.chunk << filter::kColumnShift;
  if (first >= rows_) return "a block of a column is of rows that do not exist";
  Sums& sums = sums_[{key.field, key.chunk}];
  sums.offset = offset;
  try {
    const ColumnView view(bytes);
    std::vector<std::string> values;
    for (std::uint32_t i = 0; i < view.values(); ++i) {
      if (i > 0 && std::is_gteq(dictionary_order(view.value(i - 1), view.value(i)))) {
        return "the values of a block of a column are out of order";
      }
      put_value(values.emplace_back(), view.value(i));
    }
    bool beyond = false;
    view.for_each_row([&](std::uint32_t at, std::uint32_t code) {
      const Row row = first + at;
      beyond = beyond || row >= rows_;
      if (gone_.test(row)) return;
      if (view.is_opaque(code)) {
        opaque_[key.field].insert(row);
        return;
      }
      std::set<std::string> of_row;
      view.for_each_member(code, [&](std::uint32_t index) { of_row.insert(values[index]); });
      sums.blocks += hash_row(row, values_text(of_row));
    });
    if (beyond) return "a block of a column knows rows that do not exist";
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruption) throw;
    return error.what();
  }
  return {};
}

std::string ColumnCheck::add_document(Row row, std::string_view text) {
  if (gone_.test(row) || row >= rows_) return {};
  FieldsOfDocument document(fields_);
  try {
    document.read(text);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruption) throw;
    return error.what();
  }
  for (const auto& [field, values] : document.by_field()) {
    const auto opaque = opaque_.find(field);
    if (opaque != opaque_.end() && opaque->second.contains(row)) continue;
    sums_[{field, row >> filter::kColumnShift}].documents += hash_row(row, values_text(values));
  }
  if (document.unknown().empty()) return {};
  return "the field '" + document.unknown() + "' of row " + std::to_string(row) + " has no column";
}

template <typename Told>
void ColumnCheck::compare(Told&& told) const {
  for (const auto& [place, sums] : sums_) {
    if (sums.blocks == sums.documents) continue;
    const Row first = place.second << filter::kColumnShift;
    told(sums.offset, "the column of '" + fields_.path(place.first) +
                          "' does not say what the metadata say of rows " + std::to_string(first) +
                          " to " +
                          std::to_string(std::min(first + filter::kColumnRows, rows_) - 1));
  }
}

void GenerationCheck::check_columns(PageWalk& walk) {
  const std::string store = path("metadata.db");
  FieldCatalogue fields;
  const auto decode = [&](const PageWalk::Entry& entry, auto&& step) {
    try {
      step();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorruption) throw;
      problems_.add(store, entry.offset, error.what());
    }
  };
  walk.walk("s", [&](const PageWalk::Entry& entry) {
    if (as_text(entry.key) != kColumnStateKey) return;
    decode(entry, [&] { fields.decode_state(entry.bytes); });
  });
  walk.walk("f", [&](const PageWalk::Entry& entry) {
    const bool good = entry.key.size() == sizeof(std::uint32_t);
    const auto number = good ? load<std::uint32_t>(entry.key.data()) : ~std::uint32_t{0};
    decode(entry, [&] { fields.decode_field(number, entry.bytes); });
  });
  ColumnCheck columns(fields, gone_, state_.published_rows);
  const auto tell = [&](const PageWalk::Entry& entry, const std::string& what) {
    if (!what.empty()) problems_.add(store, entry.offset, what);
  };
  walk.walk("c", [&](const PageWalk::Entry& entry) {
    check(options_.interrupt);
    if (entry.key.size() != 8) return tell(entry, "a block of a column has a key that cannot be");
    ColumnKey key;
    for (std::size_t i = 0; i < 4; ++i) {
      key.field = key.field << 8 | entry.key[i];
      key.chunk = key.chunk << 8 | entry.key[4 + i];
    }
    tell(entry, columns.add_block(key, entry.bytes, entry.offset));
  });
  if (!walk.is_sound() || !fields.is_complete()) return;
  walk.walk("m", [&](const PageWalk::Entry& entry) {
    check(options_.interrupt);
    if (entry.key.size() != sizeof(Row)) return;  // told elsewhere
    tell(entry, columns.add_document(load<Row>(entry.key.data()), as_text(entry.bytes)));
  });
  columns.compare(
      [&](std::uint64_t offset, const std::string& what) { problems_.add(store, offset, what); });
}

}  // namespace srvdb
