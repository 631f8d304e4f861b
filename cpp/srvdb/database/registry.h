// Which directories this process has open: two opens of one directory share one core, so that they
// can never damage each other.
//
// Directories are told apart by device and inode. An entry counts its handles; the core is closed
// with the last of them, while a newcomer waits and then opens it afresh. A fork makes every core
// of the parent unusable in the child: the child's handler closes the inherited lock descriptors
// (so that the parent's death frees the lock) and starts a new epoch; a handle of an older epoch
// answers kClosed and is never touched otherwise, because locks of the parent may be held for ever.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "srvdb/database/options.h"

namespace srvdb {

class Core;
class DirectoryLock;

struct RegistryEntry {
  std::mutex mutex;            // held while opening and closing
  std::shared_ptr<Core> core;  // guarded by mutex; null when nobody has it open
  int handles = 0;             // guarded by mutex
  int writers = 0;             // of them, guarded by mutex
};

// Opens the directory, or joins the core that has it open: kInvalidInput / kDimension when the
// options differ from it, kLocked when a writer is asked for and this process has it open
// read-only.
std::shared_ptr<RegistryEntry> registry_open(const std::string& path, const OpenOptions& options,
                                             std::shared_ptr<Core>& core);

// Moves a read-only handle to the newest state: gives it another core when there is anything newer.
// The other handles of the entry stay where they are until they ask for it. `core` is the handle's.
// Does nothing on a core that writes. Throws what opening throws; then the handle stays as it is.
std::shared_ptr<RegistryEntry> registry_refresh(std::shared_ptr<RegistryEntry> entry,
                                                std::shared_ptr<Core>& core,
                                                const OpenOptions& options);

// Drops one handle; closes the core with the last, or checkpoints it when the last writer goes.
// Throws what closing throws; the handle is gone in any case.
void registry_close(RegistryEntry& entry, bool read_only);

// Locks that a forked child must let go of. The registry does not own them.
void registry_watch_lock(DirectoryLock* lock);
void registry_unwatch_lock(DirectoryLock* lock);

// 0 in the process that loaded the library, one more in each generation of forked children.
std::uint64_t fork_epoch() noexcept;

}  // namespace srvdb
