// repair(): which rows can be saved, and their copies.

#include <algorithm>
#include <cstring>

#include "srvdb/base/error.h"
#include "srvdb/database/repair_parts.h"
#include "srvdb/storage/record.h"

namespace srvdb {

namespace {

constexpr std::size_t kCopyBytes = std::size_t{8} << 20;  // rows copied at a time
constexpr const char* kNoId = "?";                        // stands beside rows that nobody sees

}  // namespace

// ---- what there is ------------------------------------------------------------------------------

void Repairer::find_state(StoreSalvage& store) {
  if (store.state()) {
    state_ = *store.state();
  } else {
    state_.applied_sequence = store.newest_log_entry();
    log_is_placed_ = state_.applied_sequence != 0;
    state_.published_rows = rows_before_log(state_.applied_sequence);
    doubtful("the state was lost; taken to be " + std::to_string(state_.published_rows) +
             " rows after batch " + std::to_string(state_.applied_sequence));
  }
  if (dimension() == 0) state_.published_rows = 0;
  const Row rows = state_.published_rows;
  gone_ = RowBits(rows);
  soft_ = RowBits(rows);
  taken_ = RowBits(rows);
  for (const char tree : {'d', 'b'}) {
    store.for_each(tree, [&](const PageWalk::Entry& entry) {
      if (entry.key.size() != 4 || entry.bytes.size() != kChunkBytes) return;
      (tree == 'd' ? gone_ : soft_).set_chunk(load<std::uint32_t>(entry.key.data()), entry.bytes);
    });
    if (!store.is_whole(tree)) {
      doubtful(tree == 'd' ? "marks of rows that are gone were damaged; expired ids may be back"
                           : "marks of soft-deleted rows were damaged; some may be back");
    }
  }
}

// Rows that were there when the first record behind `applied` was written.
Row Repairer::rows_before_log(Sequence applied) const {
  const Row all = std::max(rows_->rows(), ids_->rows());
  if (!log_is_placed_ || !files_.exists(path_ + "/wal")) return all;
  try {
    WalReader log(files_, path_ + "/wal", applied);
    while (const auto record = log.next()) {
      const DecodedRecord decoded = decode_record(record->payload);
      if (!decoded.rows.empty()) return std::min(all, decoded.rows[0].first_row);
      if (!decoded.direct_rows.empty()) return std::min(all, decoded.direct_rows[0].first_row);
    }
  } catch (const Error&) {
    // The rows of what cannot be read are among those behind.
  }
  return all;
}

void Repairer::find_ids(StoreSalvage& store) {
  store.for_each('i', [&](const PageWalk::Entry& entry) {
    check(options_.interrupt);
    take_id(entry);
  });
  if (!store.is_whole('i')) take_rows_without_entry();
  drop_lost_rows();
}

void Repairer::take_id(const PageWalk::Entry& entry) {
  const std::string_view id = as_text(entry.key);
  const Row row = entry.bytes.size() == 4 ? load<Row>(entry.bytes.data()) : kNoRow;
  const auto found = ids_->id(row);
  if (row >= state_.published_rows || (found && *found != id) || taken_.test(row)) {
    if (!entry.doubtful) {
      tell(RepairItem::Kind::kLost, std::string(id), row, "its entry leads to a row of another id");
    }
    return;
  }
  if (gone_.test(row)) return;  // expired, or a stray entry of a row replaced since
  taken_.set(row);
  if (!found) known_.emplace(row, id);
  if (!entry.doubtful) return;
  added_.push_back(row);
  tell(RepairItem::Kind::kDoubtful, std::string(id), row,
       "taken from a damaged or lost page: it may have been deleted or replaced");
}

// Rows that nothing says are gone and no entry leads to: the newest one of each id.
void Repairer::take_rows_without_entry() {
  std::unordered_map<std::string, Row> newest;
  for (Row row = 0; row < state_.published_rows; ++row) {
    if (taken_.test(row) || gone_.test(row) || row >= rows_->rows() || !rows_->is_good(row)) {
      continue;
    }
    if (const auto id = ids_->id(row)) newest[std::string(*id)] = row;
  }
  if (newest.empty()) return;
  for (Row row = 0; row < state_.published_rows; ++row) {
    if (!taken_.test(row)) continue;
    const auto known = known_.find(row);
    const auto id = ids_->id(row);
    newest.erase(known != known_.end() ? known->second : std::string(id.value_or("")));
  }
  for (const auto& [id, row] : newest) {
    taken_.set(row);
    added_.push_back(row);
    tell(RepairItem::Kind::kDoubtful, id, row,
         "its entry was lost; this is its newest sound row, it may have been deleted or replaced");
  }
}

// Of the rows to be taken, those that are damaged; and damaged rows that nobody can name.
void Repairer::drop_lost_rows() {
  for (Row row = 0; row < state_.published_rows; ++row) {
    if (row % 4096 == 0) check(options_.interrupt);
    const bool good = row < rows_->rows() && rows_->is_good(row);
    if (good && taken_.test(row)) continue;
    const auto known = known_.find(row);
    const auto id = ids_->id(row);
    if (taken_.test(row)) {
      tell(RepairItem::Kind::kLost, known != known_.end() ? known->second : std::string(*id), row,
           "its row is damaged");
      taken_.set(row, false);
    } else if (!good && !gone_.test(row) && !id) {
      tell(RepairItem::Kind::kLost, "", row, "row and id are damaged");
    } else if (!id && !gone_.test(row)) {
      tell(RepairItem::Kind::kLost, "", row, "its id is damaged and no entry leads to it");
    }
  }
}

// ---- the copies ---------------------------------------------------------------------------------

// Rows keep their numbers, so that the log still fits. What is not taken is a row that is gone.
void Repairer::copy_rows() {
  manifest_.uuid = random_uuid();
  if (dimension() == 0) return;
  const auto out =
      RowFiles::create(files_, target_ + "/" + generation_directory(kRepairedGeneration),
                       manifest_.uuid, kRepairedGeneration, dimension());
  const std::size_t at_once = std::max<std::size_t>(kCopyBytes / stride(), 1);
  const std::vector<float> blank(dimension(), 0.0f);
  const Row rows = state_.published_rows;
  for (Row first = 0; first < rows;) {
    check(options_.interrupt);
    if (options_.progress) options_.progress(first, rows);
    const Row last = first + static_cast<Row>(std::min<std::size_t>(at_once, rows - first));
    std::vector<float> values;
    std::vector<RowFix> fixes;
    std::vector<std::string_view> names;
    for (Row row = first; row < last; ++row) {
      const bool good = row < rows_->rows() && rows_->is_good(row);
      std::vector<float> value = blank;
      if (good) std::memcpy(value.data(), rows_->row(row).data(), stride());
      values.insert(values.end(), value.begin(), value.end());
      fixes.push_back(good ? rows_->fix(row) : make_row_fix(blank, 0));
      const auto known = known_.find(row);
      names.push_back(known != known_.end() ? std::string_view(known->second)
                                            : ids_->id(row).value_or(kNoId));
    }
    out->append(first, values, fixes, names);
    first = last;
  }
  if (options_.progress && rows > 0) options_.progress(rows, rows);
  id_bytes_ = out->id_bytes();
  copy_rows_behind(*out);
  out->sync();
}

// Rows that a record of the log refers to lie behind those that are published.
void Repairer::copy_rows_behind(RowFiles& out) {
  const std::size_t at_once = std::max<std::size_t>(kCopyBytes / stride(), 1);
  for (Row first = state_.published_rows; first < rows_->rows();) {
    const Row last =
        first + static_cast<Row>(std::min<std::size_t>(at_once, rows_->rows() - first));
    std::vector<float> values(std::size_t{last - first} * dimension());
    std::memcpy(values.data(), rows_->row(first).data(), values.size() * sizeof(float));
    std::vector<RowFix> fixes;
    for (Row row = first; row < last; ++row) fixes.push_back(rows_->fix(row));
    out.write_rows(first, values, fixes);
    first = last;
  }
}

}  // namespace srvdb
