#include "srvdb/database/store_salvage.h"

#include <algorithm>

namespace srvdb {

namespace {

constexpr std::string_view kTrees = "bcdfilmstu";
constexpr std::string_view kPositionPrefix = "position/";

// Of two doubtful entries of one key: whether the second is the newer, as far as that can be told.
bool is_newer(char tree, std::string_view key, std::string_view before, std::string_view now) {
  if (tree == 'i' && before.size() == 4 && now.size() == 4) {
    return load<Row>(now.data()) > load<Row>(before.data());
  }
  if (tree == 's' && key == kMetaStateKey) {
    const auto old_state = decode_meta_state(as_byte_span(before));
    const auto new_state = decode_meta_state(as_byte_span(now));
    return new_state && (!old_state || new_state->applied_sequence > old_state->applied_sequence);
  }
  return true;
}

}  // namespace

StoreSalvage::StoreSalvage(FileSystem& files, const std::string& path,
                           const PageWalk::OnProblem& problem)
    : walk_(files, path, problem) {
  for (const char tree : kTrees) {
    const std::uint64_t before = walk_.problems();
    walk_.walk(std::string_view(&tree, 1), [](const PageWalk::Entry&) {});
    if (walk_.has_root() && walk_.problems() == before) {
      whole_ += tree;
    }
  }
  if (whole_.size() < kTrees.size()) {
    walk_.walk_strays([&](const PageWalk::Entry& entry) { keep_stray(entry); });
    for (auto& [tree, entries] : strays_) {
      walk_.walk(std::string_view(&tree, 1), [&entries = entries](const PageWalk::Entry& entry) {
        if (!entry.doubtful) entries.erase(std::string(as_text(entry.key)));
      });
    }
  }
  for_each('s', [&](const PageWalk::Entry& entry) { read_state(entry); });
  if (!state_ && is_whole('s')) state_ = MetaState{};
  for_each('l', [&](const PageWalk::Entry& entry) {
    if (entry.key.size() != sizeof(Sequence)) return;
    newest_log_entry_ = std::max(newest_log_entry_, load<Sequence>(entry.key.data()));
  });
}

void StoreSalvage::keep_stray(const PageWalk::Entry& entry) {
  auto& entries = strays_[entry.tree];
  const std::string key(as_text(entry.key));
  const auto found = entries.find(key);
  if (found == entries.end()) {
    entries.emplace(key, as_text(entry.bytes));
  } else if (is_newer(entry.tree, key, found->second, as_text(entry.bytes))) {
    found->second = as_text(entry.bytes);
  }
}

void StoreSalvage::read_state(const PageWalk::Entry& entry) {
  const std::string_view key = as_text(entry.key);
  if (key == kMetaStateKey && !state_) state_ = decode_meta_state(entry.bytes);
  if (key == kColumnStateKey && !column_state_) column_state_ = as_text(entry.bytes);
  if (key.starts_with(kPositionPrefix) && entry.bytes.size() == 8) {
    positions_.emplace(key.substr(kPositionPrefix.size()), load<std::uint64_t>(entry.bytes.data()));
  }
}

void StoreSalvage::for_each(char tree, const PageWalk::OnEntry& entry) {
  walk_.walk(std::string_view(&tree, 1), entry);
  const auto found = strays_.find(tree);
  if (found == strays_.end()) return;
  for (const auto& [key, bytes] : found->second) {
    entry({tree, as_byte_span(key), as_byte_span(bytes), 0, true});
  }
}

}  // namespace srvdb
