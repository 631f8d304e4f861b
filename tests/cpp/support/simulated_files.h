// A file system in memory that remembers what was synced, fails on demand, and can be cut off from
// power.
//
// Every file has a live image (what the process sees) and a durable one plus the unsynced writes
// since. `crash()` makes the file system that a machine would find after losing power: durable
// names and bytes, and of the rest whatever the seed says, writes dropped, kept or torn at 512
// bytes. A mapping shows the live image, so it sees later writes as a shared mapping does.
// Thread-safe.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "srvdb/base/error.h"
#include "srvdb/storage/file.h"

namespace srvdb::testing {

class SimulatedFiles final : public FileSystem {
 public:
  // Fails the operation with this number (counted from 0 over everything that changes something)
  // and, with `forever`, all that follow. A failing write leaves `partial_bytes` behind.
  struct Fault {
    std::uint64_t at = ~std::uint64_t{0};
    int error = EIO;
    bool forever = false;
    std::size_t partial_bytes = 0;
  };
  enum class Keep { kNothing, kEverything, kSome };

  SimulatedFiles() {
    directories_.insert("");
    durable_directories_.insert("");
  }

  // False: a file system without hard links.
  void set_can_link(bool can) {
    const std::lock_guard lock(mutex_);
    can_link_ = can;
  }

  void set_fault(Fault fault) {
    const std::lock_guard lock(mutex_);
    fault_ = fault;
  }
  std::uint64_t operations() const {
    const std::lock_guard lock(mutex_);
    return operations_;
  }
  std::uint64_t syncs() const {
    const std::lock_guard lock(mutex_);
    return syncs_;
  }

  std::unique_ptr<SimulatedFiles> crash(Keep keep, std::uint_fast32_t seed = 0) const;

  // Live bytes of a file, for tests that damage it.
  std::string contents(const std::string& path) {
    const std::lock_guard lock(mutex_);
    const Inode& inode = *find(path);
    return {reinterpret_cast<const char*>(inode.bytes), inode.size};
  }
  void set_contents(const std::string& path, const std::string& bytes) {
    const std::lock_guard lock(mutex_);
    auto& slot = live_[path];
    slot = std::make_shared<Inode>();
    slot->write(bytes.data(), bytes.size(), 0);
    slot->durable = bytes;
    slot->pending.clear();
    durable_[durable_name(path)] = slot;
  }

  std::unique_ptr<File> open(const std::string& path, OpenMode mode) override;
  void rename(const std::string& from, const std::string& to) override {
    const std::lock_guard lock(mutex_);
    step(to);
    if (directories_.contains(from)) {
      record({NameOp::kRenameDirectory, to, nullptr, from});
      move_directory(from, to, live_, directories_);
      return;
    }
    auto inode = find(from);
    live_.erase(from);
    live_[to] = inode;
    record({NameOp::kRename, to, inode, from});
  }
  void remove(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    step(path);
    if (directories_.contains(path)) {
      if (!names_in(path).empty()) throw_storage("cannot remove", path, ENOTEMPTY);
      directories_.erase(path);
      record({NameOp::kRemoveDirectory, path, nullptr, ""});
      return;
    }
    find(path);
    live_.erase(path);
    record({NameOp::kRemove, path, nullptr, ""});
  }
  bool make_dir(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    step(path);
    durable_directories_.insert(durable_name(path));
    return directories_.insert(path).second;
  }
  void sync_dir(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    step(path);
    const std::string synced = durable_name(path);
    for (std::size_t i = 0; i < name_ops_.size();) {
      if (parent_of(name_ops_[i].to) != synced) {
        ++i;
        continue;
      }
      const NameOp op = name_ops_[i];
      name_ops_.erase(name_ops_.begin() + static_cast<std::ptrdiff_t>(i));
      apply(op, durable_, durable_directories_, name_ops_);
    }
  }
  bool link(const std::string& from, const std::string& to) override {
    const std::lock_guard lock(mutex_);
    if (!can_link_) return false;
    auto inode = find(from);
    if (live_.contains(to)) throw_storage("cannot link to", to, EEXIST);
    step(to);
    live_[to] = inode;
    record({NameOp::kSet, to, inode, ""});
    return true;
  }
  void copy(const std::string& from, const std::string& to, std::uint64_t bytes) override {
    std::string content;
    {
      const std::lock_guard lock(mutex_);
      const Inode& inode = *find(from);
      if (inode.size < bytes) throw Error(ErrorCode::kCorruption, from + " is too short");
      content.assign(reinterpret_cast<const char*>(inode.bytes), bytes);
    }
    open(to, OpenMode::kCreateNew)->pwrite(content.data(), content.size(), 0);
  }
  std::vector<std::string> list_dir(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (!directories_.contains(path)) throw_storage("cannot list", path, ENOENT);
    return names_in(path);
  }
  std::optional<FileInfo> info(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (directories_.contains(path)) return FileInfo{true, false, 0, 1, 0, 1};
    const auto found = live_.find(path);
    if (found == live_.end()) return std::nullopt;
    std::uint64_t links = 0;
    for (const auto& [name, inode] : live_) links += inode == found->second ? 1 : 0;
    return FileInfo{false, false, found->second->size, 1, found->second->number, links};
  }

 private:
  static constexpr std::size_t kArenaBytes = std::size_t{2} << 30;  // of address space

  struct Write {
    std::uint64_t offset = 0;
    std::string bytes;
    bool truncate = false;  // to `offset`
  };
  struct Inode {
    Inode() {
      void* at = ::mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (at == MAP_FAILED) throw std::bad_alloc();
      bytes = static_cast<std::uint8_t*>(at);
    }
    ~Inode() { ::munmap(bytes, kArenaBytes); }
    Inode(const Inode&) = delete;
    Inode& operator=(const Inode&) = delete;
    void write(const void* from, std::size_t n, std::uint64_t offset) {
      if (n == 0) return;
      std::memcpy(bytes + offset, from, n);
      size = std::max<std::uint64_t>(size, offset + n);
      pending.push_back({offset, std::string(static_cast<const char*>(from), n), false});
    }
    void truncate(std::uint64_t to) {
      if (to < size) std::memset(bytes + to, 0, size - to);
      size = to;
      pending.push_back({to, {}, true});
    }
    static std::uint64_t next_number() {
      static std::atomic<std::uint64_t> last{0};
      return ++last;
    }
    const std::uint64_t number = next_number();
    std::uint8_t* bytes = nullptr;  // the live image
    std::uint64_t size = 0;
    std::string durable;
    std::vector<Write> pending;
  };
  // A change of names that the disk does not know yet. Its paths are those the disk would use:
  // renames of directories that are still pending are taken back in them.
  struct NameOp {
    enum Kind : std::uint8_t { kSet, kRemove, kRename, kRemoveDirectory, kRenameDirectory };
    Kind kind;
    std::string to;
    std::shared_ptr<Inode> inode;
    std::string from;  // renamed from, or empty
  };
  using Names = std::map<std::string, std::shared_ptr<Inode>>;
  using Directories = std::set<std::string>;

  class SimulatedMapping final : public Mapping {
   public:
    SimulatedMapping(std::shared_ptr<const Inode> inode, std::size_t reserve)
        : Mapping(inode->bytes, reserve), inode_(std::move(inode)) {}

   private:
    std::shared_ptr<const Inode> inode_;
  };
  class SimulatedFile final : public File {
   public:
    SimulatedFile(std::string path, SimulatedFiles& files, std::shared_ptr<Inode> inode)
        : File(std::move(path)), files_(files), inode_(std::move(inode)) {}
    std::size_t pread(void* to, std::size_t bytes, std::uint64_t offset) const override {
      const std::lock_guard lock(files_.mutex_);
      if (offset >= inode_->size) return 0;
      const std::size_t n = std::min<std::size_t>(bytes, inode_->size - offset);
      std::memcpy(to, inode_->bytes + offset, n);
      return n;
    }
    void pwrite(const void* from, std::size_t bytes, std::uint64_t offset) override {
      const std::lock_guard lock(files_.mutex_);
      files_.step(path(), [&] {
        inode_->write(from, std::min(bytes, files_.fault_.partial_bytes), offset);
      });
      inode_->write(from, bytes, offset);
    }
    void pwritev(std::span<const ByteSpan> parts, std::uint64_t offset) override {
      std::string all;
      for (const ByteSpan part : parts) all += as_text(part);
      pwrite(all.data(), all.size(), offset);
    }
    void sync_data() override {
      const std::lock_guard lock(files_.mutex_);
      files_.step(path());
      ++files_.syncs_;
      inode_->durable.assign(reinterpret_cast<const char*>(inode_->bytes), inode_->size);
      inode_->pending.clear();
    }
    void truncate(std::uint64_t size) override {
      const std::lock_guard lock(files_.mutex_);
      files_.step(path());
      inode_->truncate(size);
    }
    std::uint64_t size() const override {
      const std::lock_guard lock(files_.mutex_);
      return inode_->size;
    }
    std::shared_ptr<const Mapping> map(std::size_t reserve) const override {
      if (reserve > kArenaBytes) throw_storage("cannot map", path(), ENOMEM);
      return std::make_shared<SimulatedMapping>(inode_, reserve);
    }

   private:
    SimulatedFiles& files_;
    std::shared_ptr<Inode> inode_;
  };

  static std::string parent_of(const std::string& path) {
    const std::size_t slash = path.find_last_of('/');
    return slash == std::string::npos ? "" : path.substr(0, slash);
  }
  // The path after the directory `from` became `to`.
  static std::string moved(const std::string& path, const std::string& from,
                           const std::string& to) {
    if (path == from) return to;
    return path.starts_with(from + "/") ? to + path.substr(from.size()) : path;
  }
  static void move_directory(const std::string& from, const std::string& to, Names& names,
                             Directories& directories) {
    Names names_after;
    for (auto& [path, inode] : names) names_after[moved(path, from, to)] = inode;
    names = std::move(names_after);
    Directories directories_after;
    for (const auto& path : directories) directories_after.insert(moved(path, from, to));
    directories = std::move(directories_after);
  }
  static void apply(const NameOp& op, Names& names, Directories& directories,
                    std::vector<NameOp>& others) {
    switch (op.kind) {
      case NameOp::kSet:
        names[op.to] = op.inode;
        break;
      case NameOp::kRemove:
        names.erase(op.to);
        break;
      case NameOp::kRename:
        names.erase(op.from);
        names[op.to] = op.inode;
        break;
      case NameOp::kRemoveDirectory:
        directories.erase(op.to);
        break;
      case NameOp::kRenameDirectory:
        move_directory(op.from, op.to, names, directories);
        for (NameOp& other : others) {
          other.to = moved(other.to, op.from, op.to);
          other.from = moved(other.from, op.from, op.to);
        }
        break;
    }
  }
  std::string durable_name(std::string path) const {
    for (auto op = name_ops_.rbegin(); op != name_ops_.rend(); ++op) {
      if (op->kind == NameOp::kRenameDirectory) path = moved(path, op->to, op->from);
    }
    return path;
  }
  void record(NameOp op) {
    op.to = durable_name(op.to);
    op.from = durable_name(op.from);
    name_ops_.push_back(std::move(op));
  }
  std::vector<std::string> names_in(const std::string& directory) const {
    std::vector<std::string> names;
    const auto take = [&](const std::string& path) {
      if (!path.empty() && path != directory && parent_of(path) == directory) {
        names.push_back(path.substr(path.find_last_of('/') + 1));
      }
    };
    for (const auto& [path, inode] : live_) take(path);
    for (const auto& path : directories_) take(path);
    std::sort(names.begin(), names.end());
    return names;
  }
  static void after_losing_power(const Inode& inode, Keep keep, std::mt19937& random, Inode& image);
  std::shared_ptr<Inode> find(const std::string& path) {
    const auto found = live_.find(path);
    if (found == live_.end()) throw_storage("cannot open", path, ENOENT);
    return found->second;
  }
  // Counts an operation and fails it when its turn has come.
  void step(const std::string& path, const std::function<void()>& before_failing = {}) {
    const std::uint64_t number = operations_++;
    const bool fails = number == fault_.at || (fault_.forever && number > fault_.at);
    if (!fails) return;
    if (before_failing) before_failing();
    throw_storage("simulated failure of", path, fault_.error);
  }

  mutable std::mutex mutex_;
  Names live_, durable_;
  std::vector<NameOp> name_ops_;  // since the last sync of their directory
  Directories directories_, durable_directories_;
  bool can_link_ = true;
  Fault fault_;
  std::uint64_t operations_ = 0;
  std::uint64_t syncs_ = 0;
};

inline std::unique_ptr<File> SimulatedFiles::open(const std::string& path, OpenMode mode) {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(path);
  if (found == live_.end()) {
    if (mode == OpenMode::kRead || mode == OpenMode::kReadWrite) {
      throw_storage("cannot open", path, ENOENT);
    }
    if (!directories_.contains(parent_of(path))) throw_storage("cannot open", path, ENOENT);
    step(path);
    auto inode = std::make_shared<Inode>();
    live_[path] = inode;
    record({NameOp::kSet, path, inode, ""});
    return std::make_unique<SimulatedFile>(path, *this, inode);
  }
  if (mode == OpenMode::kCreateNew) throw_storage("cannot open", path, EEXIST);
  return std::make_unique<SimulatedFile>(path, *this, found->second);
}

inline void SimulatedFiles::after_losing_power(const Inode& inode, Keep keep, std::mt19937& random,
                                               Inode& image) {
  image.write(inode.durable.data(), inode.durable.size(), 0);
  for (const Write& write : inode.pending) {
    std::uint_fast32_t fate = keep == Keep::kNothing ? 0 : 1;
    if (keep == Keep::kSome) fate = random() % 3;
    if (fate == 0) continue;
    if (write.truncate) {
      image.truncate(write.offset);
      continue;
    }
    std::size_t bytes = write.bytes.size();
    if (fate == 2) {  // torn where a sector ends
      const std::uint64_t first_sector_end = (write.offset / 512 + 1) * 512 - write.offset;
      bytes = std::min<std::size_t>(bytes, first_sector_end + 512 * (random() % 4));
    }
    image.write(write.bytes.data(), bytes, write.offset);
  }
  image.durable.assign(reinterpret_cast<const char*>(image.bytes), image.size);
  image.pending.clear();
}

inline std::unique_ptr<SimulatedFiles> SimulatedFiles::crash(Keep keep,
                                                             std::uint_fast32_t seed) const {
  const std::lock_guard lock(mutex_);
  std::mt19937 random(seed);
  auto after = std::make_unique<SimulatedFiles>();
  Names names = durable_;
  Directories directories = durable_directories_;
  std::size_t kept_ops = keep == Keep::kNothing ? 0 : name_ops_.size();
  if (keep == Keep::kSome) kept_ops = random() % (name_ops_.size() + 1);
  std::vector<NameOp> ops(name_ops_.begin(),
                          name_ops_.begin() + static_cast<std::ptrdiff_t>(kept_ops));
  for (std::size_t i = 0; i < ops.size(); ++i) apply(NameOp(ops[i]), names, directories, ops);
  after->directories_ = directories;
  after->durable_directories_ = directories;
  std::map<const Inode*, std::shared_ptr<Inode>> images;  // two names of one file stay that
  for (const auto& [path, inode] : names) {
    auto& image = images[inode.get()];
    if (!image) {
      image = std::make_shared<Inode>();
      after_losing_power(*inode, keep, random, *image);
    }
    after->live_[path] = image;
    after->durable_[path] = image;
  }
  return after;
}

}  // namespace srvdb::testing
