#include "srvdb/database/batch_check.h"

#include "srvdb/base/error.h"
#include "srvdb/database/pending.h"
#include "srvdb/distance/metric.h"
#include "srvdb/filter/json.h"

namespace srvdb {

std::string quoted(std::string_view id) {
  constexpr std::size_t kShown = 80;
  std::string out("'");
  out.append(id.substr(0, kShown)).append(id.size() <= kShown ? "'" : "…'");
  return out;
}

std::string item_prefix(const Batch& batch, std::size_t index) {
  return "item " + std::to_string(batch.first_item + index) + ": ";
}

namespace {

void check_moment(const std::string& prefix, std::int64_t expires_at) {
  if (expires_at >= 0) return;
  throw Error(ErrorCode::kInvalidInput,
              prefix + "expires_at must be milliseconds since 1970, or 0 for never, got " +
                  std::to_string(expires_at));
}

void check_id(const std::string& prefix, std::string_view id) {
  if (!id.empty() && id.size() <= kMaxIdBytes) return;
  throw Error(ErrorCode::kInvalidInput, prefix + "an id must have 1.." +
                                            std::to_string(kMaxIdBytes) + " bytes, got " +
                                            std::to_string(id.size()));
}

void check_text(const std::string& prefix, std::string_view text, bool is_valid) {
  if (text.size() > kMaxMetadataBytes) {
    throw Error(ErrorCode::kInvalidInput, prefix + "metadata must have at most " +
                                              std::to_string(kMaxMetadataBytes) +
                                              " bytes as JSON, got " + std::to_string(text.size()));
  }
  if (is_valid || text.empty()) return;
  if (const auto problem = filter::json_object_problem(text)) {
    throw Error(ErrorCode::kInvalidInput, prefix + "metadata " + *problem);
  }
}

void check_size(std::size_t rows, std::size_t bytes, const char* hint) {
  if (rows <= kMaxBatchRows && bytes <= kMaxBatchBytes) return;
  throw Error(ErrorCode::kInvalidInput, "one batch takes at most " + std::to_string(kMaxBatchRows) +
                                            " rows and " + std::to_string(kMaxBatchBytes) +
                                            " bytes, got " + std::to_string(rows) + " rows and " +
                                            std::to_string(bytes) + " bytes" + hint);
}

}  // namespace

void check_batch(const Batch& batch) {
  const std::size_t n = batch.ids.size();
  if (batch.dim == 0 || batch.dim > kMaxDimension) {
    throw Error(ErrorCode::kDimension, "dimension must be 1.." + std::to_string(kMaxDimension) +
                                           ", got " + std::to_string(batch.dim));
  }
  if (!batch.metadata.empty() && batch.metadata.size() != n) {
    throw Error(ErrorCode::kInvalidInput, "expected one metadata for each of " + std::to_string(n) +
                                              " ids, got " + std::to_string(batch.metadata.size()));
  }
  if (!batch.expires_at.empty() && batch.expires_at.size() != n) {
    throw Error(ErrorCode::kInvalidInput, "expected one moment of expiry for each of " +
                                              std::to_string(n) + " ids, got " +
                                              std::to_string(batch.expires_at.size()));
  }
  for (std::size_t i = 0; i < batch.expires_at.size(); ++i) {
    check_moment(item_prefix(batch, i), batch.expires_at[i]);
  }
  std::size_t bytes =
      n * batch.dim *
      sizeof(float);  // dim <= 2^16, n ids fill 16 n bytes of memory: cannot overflow
  // The prefix is made for a refusal only: most items are fine.
  for (std::size_t i = 0; i < n; ++i) {
    const std::string_view id = batch.ids[i];
    if (id.empty() || id.size() > kMaxIdBytes) check_id(item_prefix(batch, i), id);
    bytes += id.size();
  }
  for (std::size_t i = 0; i < batch.metadata.size(); ++i) {
    const std::string_view text = batch.metadata[i];
    bytes += text.size();
    if (text.empty() || (batch.metadata_is_valid && text.size() <= kMaxMetadataBytes)) continue;
    check_text(item_prefix(batch, i), text, batch.metadata_is_valid);
  }
  check_size(n, bytes, ": use add_batch, which writes chunk by chunk");
}

void check_updates(std::span<const Update> updates, std::size_t dim) {
  std::size_t bytes = 0;
  std::vector<std::string_view> ids;
  for (std::size_t i = 0; i < updates.size(); ++i) {
    const Update& update = updates[i];
    std::string prefix("item ");
    prefix.append(std::to_string(i)).append(": ");
    check_id(prefix, update.id);
    if (update.row == nullptr && !update.metadata && !update.expires_at) {
      throw Error(ErrorCode::kInvalidInput,
                  prefix + "expected an embedding, metadata or expires_at to change, got none");
    }
    if (update.metadata) check_text(prefix, *update.metadata, false);
    if (update.expires_at) check_moment(prefix, *update.expires_at);
    if (update.row != nullptr) {
      if (dim == 0 || dim > kMaxDimension) {
        throw Error(ErrorCode::kDimension, "dimension must be 1.." + std::to_string(kMaxDimension) +
                                               ", got " + std::to_string(dim));
      }
      const RowCheck checked = check_row(update.row, dim);
      if (checked.first_bad >= 0) {
        throw Error(ErrorCode::kInvalidInput,
                    prefix + "component " + std::to_string(checked.first_bad) +
                        " of the embedding of " + quoted(update.id) + " must be finite, got " +
                        std::to_string(update.row[checked.first_bad]));
      }
      bytes += dim * sizeof(float);
    }
    bytes += update.id.size() + (update.metadata ? update.metadata->size() : 0);
    ids.push_back(update.id);
  }
  check_size(updates.size(), bytes, ": use several calls");
  const std::vector<std::uint32_t> order = sort_ids(ids.size(), ids.data());
  for (std::size_t i = 1; i < ids.size(); ++i) {
    if (ids[order[i]] != ids[order[i - 1]]) continue;
    throw Error(ErrorCode::kInvalidInput,
                "item " + std::to_string(order[i]) + ": id " + quoted(ids[order[i]]) +
                    " stands in the batch already, as item " + std::to_string(order[i - 1]));
  }
}

namespace {

// |row|; throws when a component is not finite.
double checked_norm(const Batch& batch, std::size_t index, const float* row) {
  const RowCheck checked = check_row(row, batch.dim);
  if (checked.first_bad < 0) return checked.norm;
  const auto at = static_cast<std::size_t>(checked.first_bad);
  throw Error(ErrorCode::kInvalidInput, item_prefix(batch, index) + "component " +
                                            std::to_string(at) + " of the embedding of " +
                                            quoted(batch.ids[index]) + " must be finite, got " +
                                            std::to_string(row[at]));
}

}  // namespace

void check_finite(const Batch& batch) {
  for (std::size_t i = 0; i < batch.ids.size(); ++i) {
    checked_norm(batch, i, batch.rows + i * batch.dim);
  }
}

RowFix fix_row(const Batch& batch, std::size_t index, const float* copy) {
  return make_row_fix({copy, batch.dim}, round_up_to_float(checked_norm(batch, index, copy)));
}

std::vector<bool> check_duplicates(const Batch& batch, std::span<const std::uint32_t> order,
                                   bool upsert) {
  const std::size_t n = batch.ids.size();
  std::vector<bool> drop;
  for (std::size_t i = 1; i < n; ++i) {
    if (batch.ids[order[i]] != batch.ids[order[i - 1]]) continue;
    if (!upsert) {
      throw Error(ErrorCode::kDuplicateId, item_prefix(batch, order[i]) + "id " +
                                               quoted(batch.ids[order[i]]) +
                                               " stands in the batch already, as item " +
                                               std::to_string(batch.first_item + order[i - 1]));
    }
    drop.resize(n);
    drop[order[i - 1]] = true;
  }
  return drop;
}

KeptItems::KeptItems(const Batch& batch, const std::vector<bool>& drop) : dim_(batch.dim) {
  for (std::size_t i = 0; i < batch.ids.size(); ++i) {
    if (drop[i]) continue;
    ids_.push_back(batch.ids[i]);
    if (!batch.metadata.empty()) metadata_.push_back(batch.metadata[i]);
    if (!batch.expires_at.empty()) expires_at_.push_back(batch.expires_at[i]);
    const float* const row = batch.rows + i * batch.dim;
    rows_.insert(rows_.end(), row, row + batch.dim);
  }
}

}  // namespace srvdb
