// repair(): the new metadata.db.

#include <functional>
#include <string>

#include "srvdb/base/error.h"
#include "srvdb/database/column_writer.h"
#include "srvdb/database/repair_parts.h"

namespace srvdb {

namespace {

constexpr std::size_t kEntriesAtOnce = 20'000;  // stored in one transaction
constexpr std::size_t kEntryBytesAtOnce = std::size_t{16} << 20;

}  // namespace

// Changes of a store, handed over in transactions of a bearable size.
class StoreFiller {
 public:
  explicit StoreFiller(MetaStore& store) : store_(store) {}
  ~StoreFiller() = default;
  StoreFiller(const StoreFiller&) = delete;
  StoreFiller& operator=(const StoreFiller&) = delete;

  using Put = std::function<void(MetaStore::WriteTxn& txn)>;
  void add(Put put, std::size_t bytes) {
    puts_.push_back(std::move(put));
    bytes_ += bytes;
    if (puts_.size() >= kEntriesAtOnce || bytes_ >= kEntryBytesAtOnce) flush();
  }
  void flush() {
    if (puts_.empty()) return;
    store_.update([&](MetaStore::WriteTxn& txn) {
      for (const Put& put : puts_) put(txn);
    });
    puts_.clear();
    bytes_ = 0;
  }

 private:
  MetaStore& store_;
  std::vector<Put> puts_;
  std::size_t bytes_ = 0;
};

void Repairer::fill_store(StoreSalvage& store) {
  MetaStoreOptions options;
  options.create = true;
  options.files = &files_;
  const std::string directory = target_ + "/" + generation_directory(kRepairedGeneration);
  MetaStore made(directory + "/metadata.db", options);
  StoreFiller out(made);
  fill_ids(out, store);
  fill_metadata(out, store);
  fill_expiry(out, store);
  fill_log(out, store);
  RowBits gone(state_.published_rows);
  RowBits soft(state_.published_rows);
  for (Row row = 0; row < state_.published_rows; ++row) {
    gone.set(row, !taken_.test(row));
    soft.set(row, taken_.test(row) && soft_.test(row));
  }
  report_.saved = taken_.count();
  report_.deleted = soft.count();
  report_.sequence = state_.applied_sequence;
  MetaState state = state_;
  state.id_bytes = id_bytes_;
  state.live_count = report_.saved - report_.deleted;
  made.update([&](MetaStore::WriteTxn& txn) {
    gone.for_each_chunk(
        [&](std::uint32_t number, ByteSpan bits) { txn.put_chunk(RowSet::kGone, number, bits); });
    soft.for_each_chunk(
        [&](std::uint32_t number, ByteSpan bits) { txn.put_chunk(RowSet::kSoft, number, bits); });
    for (const auto& [source, position] : store.positions()) txn.set_position(source, position);
    txn.set_state(state);
    FieldCatalogue fields = wanted_fields(store);
    fields.set_missing(0, state.published_rows);
    fields.put(txn, FieldCatalogue());
  });
  while (make_missing_columns(made, kColumnRowsAtOnce)) check(options_.interrupt);
  files_.sync_dir(directory);
}

// Columns are made anew; which fields have some is what was wanted of the damaged database.
FieldCatalogue Repairer::wanted_fields(const StoreSalvage& store) {
  FieldCatalogue fields;
  try {
    if (store.column_state()) fields.decode_state(as_byte_span(*store.column_state()));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruption) throw;
    fields = FieldCatalogue();
  }
  if (!store.column_state() && !store.is_whole('s')) {
    doubtful("which fields of metadata were indexed was lost; all are");
  }
  return fields.fresh();
}

void Repairer::fill_ids(StoreFiller& out, StoreSalvage& store) {
  const auto put = [&](std::string id, Row row) {
    const std::size_t bytes = id.size();
    out.add([id = std::move(id), row](MetaStore::WriteTxn& txn) { txn.put_id(id, row); }, bytes);
  };
  store.for_each('i', [&](const PageWalk::Entry& entry) {
    const Row row = entry.bytes.size() == 4 ? load<Row>(entry.bytes.data()) : kNoRow;
    const auto known = known_.find(row);
    const auto id = known != known_.end() ? std::string_view(known->second) : ids_->id(row);
    if (!entry.doubtful && taken_.test(row) && id == as_text(entry.key)) {
      put(std::string(as_text(entry.key)), row);
    }
  });
  for (const Row row : added_) {
    if (!taken_.test(row)) continue;
    const auto known = known_.find(row);
    put(known != known_.end() ? known->second : std::string(*ids_->id(row)), row);
  }
  out.flush();
}

void Repairer::fill_metadata(StoreFiller& out, StoreSalvage& store) {
  RowBits told(store.is_whole('m') ? 0 : state_.published_rows);
  store.for_each('m', [&](const PageWalk::Entry& entry) {
    const Row row = entry.key.size() == 4 ? load<Row>(entry.key.data()) : kNoRow;
    if (!taken_.test(row) || told.test(row)) return;
    told.set(row);
    if (entry.doubtful) {
      tell(RepairItem::Kind::kDoubtful, std::string(ids_->id(row).value_or("")), row,
           "its metadata comes from a damaged or lost page: it may be an older one");
    }
    out.add([text = std::string(as_text(entry.bytes)),
             row](MetaStore::WriteTxn& txn) { txn.put_metadata(row, text); },
            entry.bytes.size());
  });
  if (!store.is_whole('m')) {
    std::uint64_t without = 0;
    for (Row row = 0; row < state_.published_rows; ++row) {
      without += taken_.test(row) && !told.test(row) ? 1 : 0;
    }
    if (without > 0) {
      lost("metadata were damaged: " + std::to_string(without) +
           " saved ids have none now, and any of them may have had some");
    }
  }
  out.flush();
}

// Each moment of expiry stands in two trees.
void Repairer::fill_expiry(StoreFiller& out, StoreSalvage& store) {
  RowBits done(state_.published_rows);
  const auto put = [&](Row row, std::int64_t expires_at) {
    if (!taken_.test(row) || done.test(row)) return;
    done.set(row);
    out.add([row, expires_at](MetaStore::WriteTxn& txn) { txn.set_expiry(row, expires_at); }, 16);
  };
  store.for_each('t', [&](const PageWalk::Entry& entry) {
    if (entry.key.size() != 4 || entry.bytes.size() != 8) return;
    put(load<Row>(entry.key.data()), load<std::int64_t>(entry.bytes.data()));
  });
  if (store.is_whole('t')) return out.flush();
  store.for_each('u', [&](const PageWalk::Entry& entry) {
    if (entry.key.size() != 12) return;
    std::uint64_t time = 0;
    Row row = 0;
    for (std::size_t i = 0; i < 8; ++i) time = time << 8 | entry.key[i];
    for (std::size_t i = 8; i < 12; ++i) row = row << 8 | entry.key[i];
    put(row, static_cast<std::int64_t>(time));
  });
  if (!store.is_whole('u')) doubtful("moments of expiry were damaged; some ids may stay for ever");
  out.flush();
}

void Repairer::fill_log(StoreFiller& out, StoreSalvage& store) {
  Sequence before = 0;
  store.for_each('l', [&](const PageWalk::Entry& entry) {
    if (entry.key.size() != sizeof(Sequence)) return;
    const auto sequence = load<Sequence>(entry.key.data());
    if (sequence > state_.applied_sequence) return;
    out.add([sequence, bytes = std::string(as_text(entry.bytes))](
                MetaStore::WriteTxn& txn) { txn.put_log(sequence, as_byte_span(bytes)); },
            entry.bytes.size());
    if (!entry.doubtful && before != 0 && sequence > before + 1 && !store.is_whole('l')) {
      lost("entries " + std::to_string(before + 1) + " to " + std::to_string(sequence - 1) +
           " of the change log, unless listed among pages found again");
    }
    if (!entry.doubtful) before = sequence;
  });
  if (!store.is_whole('l') && before < state_.applied_sequence) {
    lost("entries " + std::to_string(before + 1) + " to " +
         std::to_string(state_.applied_sequence) +
         " of the change log, unless found again on lost pages");
  }
  out.flush();
}

}  // namespace srvdb
