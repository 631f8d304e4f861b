#include "srvdb/database/registry.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/base/scheduler.h"
#include "srvdb/database/core.h"
#include "srvdb/storage/file.h"
#include "srvdb/storage/lock.h"

namespace srvdb {
namespace {

using DirectoryKey = std::pair<std::uint64_t, std::uint64_t>;  // device, inode

struct Registry {
  std::mutex mutex;
  std::map<DirectoryKey, std::shared_ptr<RegistryEntry>> entries;  // guarded by mutex
  std::set<DirectoryLock*> locks;                                  // guarded by mutex
  std::atomic<std::uint64_t> epoch{0};
};

Registry& registry() {
  static Registry* const instance = new Registry;  // handles may outlive static destructors
  return *instance;
}

void before_fork() {
  registry().mutex.lock();
}
void after_fork_in_parent() {
  registry().mutex.unlock();
}
void after_fork_in_child() {
  Registry& r = registry();
  // The child can neither use nor destroy the parent's cores: they stay as they are, unreachable.
  static_cast<void>(new std::map(std::move(r.entries)));
  r.entries.clear();
  r.epoch.fetch_add(1, std::memory_order_relaxed);
  for (DirectoryLock* const lock : r.locks) lock->close_in_child();
  r.locks.clear();
  reset_scheduler_after_fork();
  r.mutex.unlock();
}

void watch_forks() {
  static const int registered =
      pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  if (registered != 0) {
    throw Error(ErrorCode::kStorage, "cannot register a fork handler", registered);
  }
}

// The directory's entry. `stale` is one that turned out to belong to another directory, removed
// since, whose inode number came back: it is replaced, and its handles keep it.
std::shared_ptr<RegistryEntry> entry_of(FileSystem& files, const std::string& path,
                                        const RegistryEntry* stale) {
  const std::optional<FileInfo> info = files.info(path);
  if (!info) throw_storage("cannot look up", path, ENOENT);
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  auto& entry = r.entries[{info->device, info->inode}];
  if (!entry || entry.get() == stale) entry = std::make_shared<RegistryEntry>();
  return entry;
}

}  // namespace

std::shared_ptr<RegistryEntry> registry_open(const std::string& given, const OpenOptions& options,
                                             std::shared_ptr<Core>& core) {
  watch_forks();
  // The process may change its working directory while the database is open.
  const std::string path = given.empty() ? given : std::filesystem::absolute(given).string();
  FileSystem& files = options.files != nullptr ? *options.files : posix_file_system();
  Core::prepare_directory(path, options);
  std::shared_ptr<RegistryEntry> entry = entry_of(files, path, nullptr);
  std::unique_lock lock(entry->mutex);
  while (entry->core && !entry->core->is_at(path)) {
    const std::shared_ptr<RegistryEntry> stale = std::exchange(entry, nullptr);
    lock.unlock();
    entry = entry_of(files, path, stale.get());
    lock = std::unique_lock(entry->mutex);
  }
  if (entry->core) {
    if (!options.read_only && entry->core->read_only()) {
      throw Error(ErrorCode::kLocked, path + " is already open read-only in this process (pid " +
                                          std::to_string(::getpid()) + "): close that first");
    }
    entry->core->join(options);
  } else {
    entry->core = Core::open(path, options);
  }
  ++entry->handles;
  if (!options.read_only) ++entry->writers;
  core = entry->core;
  return entry;
}

std::shared_ptr<RegistryEntry> registry_refresh(std::shared_ptr<RegistryEntry> entry,
                                                std::shared_ptr<Core>& core,
                                                const OpenOptions& options) {
  if (!core->read_only()) return entry;
  FileSystem& files = options.files != nullptr ? *options.files : posix_file_system();
  {
    const std::lock_guard lock(entry->mutex);
    if (entry_of(files, core->path(), nullptr) == entry) {
      if (std::shared_ptr<Core> newer = entry->core->refreshed()) entry->core = std::move(newer);
      core = entry->core;
      return entry;
    }
  }
  // A generation later the directory was opened again, by an entry of its own: join that one.
  std::shared_ptr<Core> newer;
  std::shared_ptr<RegistryEntry> joined = registry_open(core->path(), options, newer);
  if (newer->uuid() != core->uuid()) {
    registry_close(*joined, true);
    throw Error(ErrorCode::kNotFound, core->path() + " is no longer the database that was opened");
  }
  core = std::move(newer);
  registry_close(*entry, true);
  return joined;
}

void registry_close(RegistryEntry& entry, bool read_only) {
  const std::lock_guard lock(entry.mutex);
  --entry.handles;
  if (!read_only) --entry.writers;
  if (entry.handles > 0) {
    if (!read_only && entry.writers == 0) entry.core->persist();
    return;
  }
  const std::shared_ptr<Core> core = std::move(entry.core);
  entry.core = nullptr;
  core->close();
}

void registry_watch_lock(DirectoryLock* lock) {
  const std::lock_guard guard(registry().mutex);
  registry().locks.insert(lock);
}

void registry_unwatch_lock(DirectoryLock* lock) {
  const std::lock_guard guard(registry().mutex);
  registry().locks.erase(lock);
}

std::uint64_t fork_epoch() noexcept {
  return registry().epoch.load(std::memory_order_relaxed);
}

}  // namespace srvdb
