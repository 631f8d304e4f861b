// The names of SimulatedFiles: which paths are files and directories, for the process and on the
// disk, and the changes between the two.
//
// Changes become durable when their directory is synced. What a loss of power leaves of the others
// is a prefix of them, or any subset in which no change goes without one it needs: an earlier one
// of the same name, or of a directory above it.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "support/simulated_inode.h"

namespace srvdb::testing {

struct SimulatedNames {
  std::map<std::string, std::shared_ptr<SimulatedInode>> files;
  std::map<std::string, std::uint64_t> directories = {{"", 1}};  // path -> inode number

  static std::string parent_of(const std::string& path) {
    const std::size_t slash = path.find_last_of('/');
    return slash == std::string::npos ? "" : path.substr(0, slash);
  }
  static bool is_under(const std::string& path, const std::string& directory) {
    return path.starts_with(directory + "/");
  }
  // The path after the directory `from` became `to`.
  static std::string moved(const std::string& path, const std::string& from,
                           const std::string& to) {
    if (path == from) return to;
    return is_under(path, from) ? to + path.substr(from.size()) : path;
  }
  void move_directory(const std::string& from, const std::string& to) {
    decltype(files) files_after;
    for (auto& [path, inode] : files) files_after[moved(path, from, to)] = inode;
    files = std::move(files_after);
    decltype(directories) directories_after;
    for (const auto& [path, n] : directories) directories_after[moved(path, from, to)] = n;
    directories = std::move(directories_after);
  }
  std::vector<std::string> names_in(const std::string& directory) const {
    std::vector<std::string> names;
    const auto take = [&](const std::string& path) {
      if (!path.empty() && path != directory && parent_of(path) == directory) {
        names.push_back(path.substr(path.find_last_of('/') + 1));
      }
    };
    for (const auto& [path, inode] : files) take(path);
    for (const auto& [path, number] : directories) take(path);
    std::sort(names.begin(), names.end());
    return names;
  }
  // Without what lies in directories that are not there.
  void drop_orphans() {
    std::erase_if(directories, [&](const auto& entry) {  // a parent sorts before what it holds
      return !entry.first.empty() && !directories.contains(parent_of(entry.first));
    });
    std::erase_if(files,
                  [&](const auto& entry) { return !directories.contains(parent_of(entry.first)); });
  }
};

class SimulatedNameChanges {
 public:
  enum class Kind { kSet, kRemove, kRename, kMakeDirectory, kRemoveDirectory, kRenameDirectory };
  struct Change {
    Kind kind;
    std::string to;
    std::string from = {};                            // renamed from, or empty
    std::shared_ptr<SimulatedInode> inode = nullptr;  // of kSet and kRename
    std::uint64_t number = 0;                         // of kMakeDirectory
  };

  // Paths are those of the process; kept as those the disk would use, so renames of directories
  // that are still pending are taken back in them.
  void record(Change change) {
    change.to = durable_name(change.to);
    if (!change.from.empty()) change.from = durable_name(change.from);
    changes_.push_back(std::move(change));
  }
  void sync_directory(const std::string& path, SimulatedNames& durable) {
    const std::string synced = durable_name(path);
    for (std::size_t i = 0; i < changes_.size();) {
      if (SimulatedNames::parent_of(changes_[i].to) != synced) {
        ++i;
        continue;
      }
      const Change change = changes_[i];
      changes_.erase(changes_.begin() + static_cast<std::ptrdiff_t>(i));
      apply(change, durable, changes_);
    }
  }
  std::string durable_name(std::string path) const {
    for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
      if (change->kind == Kind::kRenameDirectory) {
        path = SimulatedNames::moved(path, change->to, change->from);
      }
    }
    return path;
  }
  void apply_all(SimulatedNames& names) const { apply_these(changes_, names); }
  void apply_some(SimulatedNames& names, std::mt19937& random) const {
    std::vector<Change> kept;
    if (random() % 2 == 0) {
      kept.assign(changes_.begin(),
                  changes_.begin() + static_cast<std::ptrdiff_t>(random() % (changes_.size() + 1)));
    } else {
      std::vector<const Change*> dropped;
      for (const Change& change : changes_) {
        const bool drop = random() % 2 == 0 || std::ranges::any_of(dropped, [&](const Change* d) {
                            return needs(change, *d);
                          });
        if (drop) {
          dropped.push_back(&change);
        } else {
          kept.push_back(change);
        }
      }
    }
    apply_these(kept, names);
  }

 private:
  static bool needs(const Change& change, const Change& earlier) {
    for (const std::string* path : {&change.to, &change.from}) {
      for (const std::string* other : {&earlier.to, &earlier.from}) {
        if (path->empty() || other->empty()) continue;
        if (*path == *other) return true;
        const bool moves_directory = earlier.kind == Kind::kRenameDirectory;
        if (!moves_directory && SimulatedNames::is_under(*path, *other)) return true;
        const bool removes = change.kind == Kind::kRemoveDirectory;
        if (removes && SimulatedNames::is_under(*other, *path)) return true;
      }
    }
    return false;
  }
  static void apply_these(std::vector<Change> changes, SimulatedNames& names) {
    for (std::size_t i = 0; i < changes.size(); ++i) apply(Change(changes[i]), names, changes);
    names.drop_orphans();
  }
  static void apply(const Change& change, SimulatedNames& names, std::vector<Change>& others) {
    switch (change.kind) {
      case Kind::kSet:
        names.files[change.to] = change.inode;
        break;
      case Kind::kRemove:
        names.files.erase(change.to);
        break;
      case Kind::kRename:
        names.files.erase(change.from);
        names.files[change.to] = change.inode;
        break;
      case Kind::kMakeDirectory:
        names.directories[change.to] = change.number;
        break;
      case Kind::kRemoveDirectory:
        names.directories.erase(change.to);
        break;
      case Kind::kRenameDirectory:
        names.move_directory(change.from, change.to);
        for (Change& other : others) {
          other.to = SimulatedNames::moved(other.to, change.from, change.to);
          other.from = SimulatedNames::moved(other.from, change.from, change.to);
        }
        break;
    }
  }

  std::vector<Change> changes_;  // since the last sync of their directory, in order
};

}  // namespace srvdb::testing
