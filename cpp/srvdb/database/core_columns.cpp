// Core: which fields have columns, and making those that are missing. (Columns of new rows and of
// changed ones are made by each checkpoint, checkpoint.cpp.)

#include "srvdb/base/error.h"
#include "srvdb/base/events.h"
#include "srvdb/database/column_writer.h"
#include "srvdb/database/core.h"

namespace srvdb {

// The catalogue that the options ask for, without a field; nothing when it is the one there is.
std::optional<FieldCatalogue> Core::with_fields(const OpenOptions& options) const {
  if (!options.indexed_fields) return std::nullopt;
  const FieldCatalogue before(store()->read());
  FieldCatalogue wanted = before;
  std::optional<std::vector<std::string>> only;
  if (!options.indexed_fields->all) only = options.indexed_fields->paths;
  wanted.set_only(std::move(only));
  if (wanted.only() == before.only()) return std::nullopt;
  return wanted;
}

// While opening. Columns that go are dropped at once; those that come are made in the background,
// and do not count before they are whole.
void Core::adopt_indexed_fields(Row published) {
  if (options_.read_only) return;
  std::optional<FieldCatalogue> wanted = with_fields(options_);
  if (!wanted) return;
  wanted->set_missing(0, published);
  meta_->update([&](MetaStore::WriteTxn& txn) {
    txn.clear_columns();
    txn.set_column_state(as_byte_span(wanted->state_bytes()));
  });
}

// Whether background_columns() has something to do, or to say.
bool Core::columns_are_due() const {
  try {
    return !FieldCatalogue(meta_->read()).is_complete();
  } catch (const Error&) {
    return true;
  }
}

// True when it has made some, and there may be more.
bool Core::make_columns(Row most) {
  const std::lock_guard one(checkpoint_mutex_);
  check_writable();
  return writing([&] { return make_missing_columns(*meta_, most); });
}

bool Core::background_columns() {
  if (options_.read_only || failed_) return false;
  try {
    return make_columns(kColumnRowsAtOnce);
  } catch (const std::exception& error) {
    // Filters go on reading documents; the next opening tries again.
    post_event(Event::Level::kWarning, path_ + ": columns were not made: " + error.what());
  }
  return false;
}

}  // namespace srvdb
