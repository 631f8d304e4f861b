// Filters that were asked lately: their expressions, read once, and the rows that matched.
//
// An answer belongs to one moment (generation, sequence, rows). A later moment takes it over and
// evaluates only the rows that came since and those whose metadata changed since (core_filter.cpp).
// What a search leaves out because of a filter is kept with the answer, as long as the rows that
// are hidden stay the same. The least recently asked ones are dropped when all of them take more
// than the limit; an answer that is larger by itself is not kept.
//
// Thread-safe. What find() and keep() hand out is immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "srvdb/base/types.h"
#include "srvdb/filter/expression.h"
#include "srvdb/index/row_bitmap.h"

namespace srvdb {

// The rows that match an expression at a moment, among those that were not gone then.
struct FilterAnswer {
  std::uint64_t generation = 0;
  Sequence sequence = 0;
  Row rows = 0;  // of the generation
  RowBitmap matches;
};

// What a search is to leave out, and for which hidden rows that was worked out.
struct FilterExclusion {
  RowBitmap hidden;
  RowBitmap excluded;
};

class FilterCache {
 public:
  static constexpr std::size_t kDefaultBytes = 16u << 20;

  struct Entry {
    std::shared_ptr<const filter::Expression> expression;
    std::shared_ptr<const FilterAnswer> answer;        // null: none yet
    std::shared_ptr<const FilterExclusion> exclusion;  // of this answer; null: none yet
  };

  explicit FilterCache(std::size_t max_bytes = kDefaultBytes) : max_bytes_(max_bytes) {}

  // What is known of a filter; an expression at least. Throws Error(kFilter).
  Entry find(std::string_view where);
  // Keeps an answer unless a newer one is there.
  void keep(std::string_view where, std::shared_ptr<const FilterAnswer> answer);
  // Keeps what belongs to the answer, when that is still the one kept.
  void keep(std::string_view where, const std::shared_ptr<const FilterAnswer>& answer,
            std::shared_ptr<const FilterExclusion> exclusion);

  std::size_t bytes() const;
  std::size_t size() const;

 private:
  struct Kept {
    std::string where;
    Entry entry;
    std::size_t bytes = 0;
  };
  using Order = std::list<Kept>;  // the most recently asked first

  Kept* touch(std::string_view where);
  void measure(Kept& kept);
  void trim();

  const std::size_t max_bytes_;
  mutable std::mutex mutex_;  // guards what follows
  Order order_;
  std::unordered_map<std::string_view, Order::iterator> by_text_;  // keys are Kept::where
  std::size_t bytes_ = 0;
};

}  // namespace srvdb
