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

  SimulatedFiles() { directories_.insert(""); }

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
    durable_[path] = slot;
  }

  std::unique_ptr<File> open(const std::string& path, OpenMode mode) override;
  void rename(const std::string& from, const std::string& to) override {
    const std::lock_guard lock(mutex_);
    step(to);
    auto inode = find(from);
    live_.erase(from);
    live_[to] = inode;
    name_ops_.push_back({to, inode, from});
  }
  void remove(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    step(path);
    find(path);
    live_.erase(path);
    name_ops_.push_back({path, nullptr, ""});
  }
  bool make_dir(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    step(path);
    return directories_.insert(path).second;
  }
  void sync_dir(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    step(path);
    std::vector<NameOp> rest;
    for (const NameOp& op : name_ops_) {
      if (parent_of(op.to) == path) {
        apply(op, durable_);
      } else {
        rest.push_back(op);
      }
    }
    name_ops_ = std::move(rest);
  }
  std::vector<std::string> list_dir(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (!directories_.contains(path)) throw_storage("cannot list", path, ENOENT);
    std::vector<std::string> names;
    for (const auto& [name, inode] : live_) {
      if (parent_of(name) == path) names.push_back(name.substr(path.size() + 1));
    }
    return names;
  }
  std::optional<FileInfo> info(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (directories_.contains(path)) return FileInfo{true, 0, 1, 0};
    const auto found = live_.find(path);
    if (found == live_.end()) return std::nullopt;
    return FileInfo{false, found->second->size, 1, 0};
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
    std::uint8_t* bytes = nullptr;  // the live image
    std::uint64_t size = 0;
    std::string durable;
    std::vector<Write> pending;
  };
  struct NameOp {
    std::string to;
    std::shared_ptr<Inode> inode;  // null: removed
    std::string from;              // renamed from, or empty
  };
  using Names = std::map<std::string, std::shared_ptr<Inode>>;

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
    return path.substr(0, path.find_last_of('/'));
  }
  static void apply(const NameOp& op, Names& names) {
    if (!op.from.empty()) names.erase(op.from);
    if (op.inode) {
      names[op.to] = op.inode;
    } else {
      names.erase(op.to);
    }
  }
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
  std::set<std::string> directories_;
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
    name_ops_.push_back({path, inode, ""});
    return std::make_unique<SimulatedFile>(path, *this, inode);
  }
  if (mode == OpenMode::kCreateNew) throw_storage("cannot open", path, EEXIST);
  return std::make_unique<SimulatedFile>(path, *this, found->second);
}

inline std::unique_ptr<SimulatedFiles> SimulatedFiles::crash(Keep keep,
                                                             std::uint_fast32_t seed) const {
  const std::lock_guard lock(mutex_);
  std::mt19937 random(seed);
  auto after = std::make_unique<SimulatedFiles>();
  after->directories_ = directories_;
  Names names = durable_;
  std::size_t kept_ops = keep == Keep::kNothing ? 0 : name_ops_.size();
  if (keep == Keep::kSome) kept_ops = random() % (name_ops_.size() + 1);
  for (std::size_t i = 0; i < kept_ops; ++i) apply(name_ops_[i], names);
  for (const auto& [path, inode] : names) {
    Inode image;
    image.write(inode->durable.data(), inode->durable.size(), 0);
    for (const Write& write : inode->pending) {
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
    after->set_contents(path, {reinterpret_cast<const char*>(image.bytes), image.size});
  }
  return after;
}

}  // namespace srvdb::testing
