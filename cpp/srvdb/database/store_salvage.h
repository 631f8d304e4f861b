// What can still be read of a damaged metadata.db, tree by tree.
//
// Entries that the trees lead to come first; then those that only their own checksum proves
// ("doubtful"), each key once. Reads the file when made (every page once) and again for each
// for_each(); keeps doubtful entries in memory. Damage is told to the callback, never thrown.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "srvdb/storage/meta_store.h"
#include "srvdb/storage/page_walk.h"

namespace srvdb {

class StoreSalvage {
 public:
  StoreSalvage(FileSystem& files, const std::string& path, const PageWalk::OnProblem& problem);

  // False when something of the tree could not be read.
  bool is_whole(char tree) const { return whole_.find(tree) != std::string::npos; }
  // Nothing when it is lost; that of a new store when nothing was ever written.
  const std::optional<MetaState>& state() const noexcept { return state_; }
  const std::map<std::string, std::uint64_t>& positions() const noexcept { return positions_; }
  // What is kept of the columns as a whole; nothing when that is lost, or never was.
  const std::optional<std::string>& column_state() const noexcept { return column_state_; }
  Sequence newest_log_entry() const noexcept { return newest_log_entry_; }

  void for_each(char tree, const PageWalk::OnEntry& entry);

 private:
  void keep_stray(const PageWalk::Entry& entry);
  void read_state(const PageWalk::Entry& entry);

  PageWalk walk_;
  std::string whole_;  // letters of the trees that were read whole
  std::map<char, std::map<std::string, std::string>> strays_;  // tree → key → bytes
  std::optional<MetaState> state_;
  std::map<std::string, std::uint64_t> positions_;
  std::optional<std::string> column_state_;
  Sequence newest_log_entry_ = 0;
};

}  // namespace srvdb
