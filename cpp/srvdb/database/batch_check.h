// What can be said of a batch without looking at the database: sizes, ids, metadata, components.
//
// Every refusal is an Error that names the item (its number counts from Batch::first_item), what
// was expected and what came. Pure functions, safe from any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/database/database.h"
#include "srvdb/storage/strided_file.h"

namespace srvdb {

// "item 3: ", to begin a message about one item of the batch.
std::string item_prefix(const Batch& batch, std::size_t index);
// The id in quotes, cut when it is long.
std::string quoted(std::string_view id);

// kDimension: a dimension no database has. kInvalidInput: lists of different lengths, a bad id,
// metadata that is not a JSON object, a batch beyond the limits.
void check_batch(const Batch& batch);
// kInvalidInput: a component of a row that is not finite.
void check_finite(const Batch& batch);
// Norm and checksum of the copy of an item's row that is about to be stored: the caller's memory
// may be changed by another thread, and what is acknowledged must be what was checked. Throws as
// above.
RowFix fix_row(const Batch& batch, std::size_t index, const float* copy);
// kInvalidInput: an update of nothing, a bad id, an id twice, metadata that is not a JSON object, a
// component that is not finite, a moment before the epoch, more than one call takes. kDimension: a
// dimension no database has.
void check_updates(std::span<const Update> updates, std::size_t dim);
// Marks the items that a later one with the same id replaces; empty when there are none. Unless it
// is an upsert the second of two equal ids is kDuplicateId. `order`: the items in byte order of
// their ids, as sort_ids() gives it.
std::vector<bool> check_duplicates(const Batch& batch, std::span<const std::uint32_t> order,
                                   bool upsert);

// A batch without the marked items, in memory of its own.
class KeptItems {
 public:
  KeptItems(const Batch& batch, const std::vector<bool>& drop);
  Batch batch() const {
    Batch out{ids_, rows_.data(), dim_, metadata_};
    out.expires_at = expires_at_;
    return out;
  }

 private:
  std::size_t dim_;
  std::vector<std::string_view> ids_;
  std::vector<std::string_view> metadata_;
  std::vector<std::int64_t> expires_at_;
  std::vector<float> rows_;
};

}  // namespace srvdb
