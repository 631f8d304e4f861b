// A file system in memory that remembers what was synced, fails on demand, and can be cut off from
// power. A whole database runs in it; only locks and reader tables are real files, in a private
// directory.
//
// `crash()` makes the file system that a machine would find after losing power: durable names and
// bytes, and of the rest whatever the seed says (simulated_inode.h, simulated_names.h). It may be
// called inside before_each(), so one run gives an image after every operation. Open files and
// mappings keep the file system's inodes, not the file system: close databases first.
// Thread-safe.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <mutex>

#include "srvdb/base/error.h"
#include "srvdb/storage/file.h"
#include "support/simulated_inode.h"
#include "support/simulated_names.h"

namespace srvdb::testing {

class SimulatedFiles final : public FileSystem {
 public:
  // Fails the operation with this number (counted from 0 over everything that changes something)
  // and, with `forever`, all that follow. A failing write leaves `partial_bytes` behind, up to
  // where a sector ends.
  struct Fault {
    std::uint64_t at = ~std::uint64_t{0};
    int error = EIO;
    bool forever = false;
    std::size_t partial_bytes = 0;
  };
  enum class Keep { kNothing, kEverything, kSome };

  SimulatedFiles() = default;
  ~SimulatedFiles() override {
    std::error_code ignored;
    if (!locks_.empty()) std::filesystem::remove_all(locks_, ignored);
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
  // Called before every operation that changes something, with the operations before it done.
  void before_each(std::function<void()> call) {
    const std::lock_guard lock(mutex_);
    before_each_ = std::move(call);
  }
  std::uint64_t operations() const {
    const std::lock_guard lock(mutex_);
    return operations_;
  }
  std::uint64_t syncs() const {
    const std::lock_guard lock(mutex_);
    return syncs_;
  }

  // An operation failed that needs no room: a sync, a truncation, a rename, a removal.
  bool failed_needing_no_room() const {
    const std::lock_guard lock(mutex_);
    return failed_needing_no_room_;
  }

  std::unique_ptr<SimulatedFiles> crash(Keep keep, std::uint_fast32_t seed = 0) const;

  // Live bytes of a file, for tests that damage it.
  std::string contents(const std::string& path) {
    const std::lock_guard lock(mutex_);
    return find(path)->text();
  }
  // Makes the file new, and durable with its name; its directory must be there.
  void set_contents(const std::string& path, const std::string& bytes) {
    const std::lock_guard lock(mutex_);
    auto& inode = live_.files[path];
    inode = std::make_shared<SimulatedInode>();
    inode->write(bytes.data(), bytes.size(), 0);
    inode->sync();
    durable_.files[changes_.durable_name(path)] = inode;
  }

  std::unique_ptr<File> open(const std::string& path, OpenMode mode) override;
  std::unique_ptr<File> open_shared(const std::string& path, std::size_t bytes) override;
  void rename(const std::string& from, const std::string& to) override {
    const std::lock_guard lock(mutex_);
    step_needing_no_room(to);
    if (live_.directories.contains(from)) {
      changes_.record({Kind::kRenameDirectory, to, from});
      live_.move_directory(from, to);
      return;
    }
    auto inode = find(from);
    live_.files.erase(from);
    live_.files[to] = inode;
    changes_.record({Kind::kRename, to, from, inode});
  }
  void remove(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    step_needing_no_room(path);
    if (live_.directories.contains(path)) {
      if (!live_.names_in(path).empty()) throw_storage("cannot remove", path, ENOTEMPTY);
      live_.directories.erase(path);
      changes_.record({Kind::kRemoveDirectory, path});
      return;
    }
    find(path);
    live_.files.erase(path);
    changes_.record({Kind::kRemove, path});
  }
  bool make_dir(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    step(path);
    if (live_.directories.contains(path)) return false;
    if (!live_.directories.contains(SimulatedNames::parent_of(path))) {
      throw_storage("cannot make directory", path, ENOENT);
    }
    const std::uint64_t number = SimulatedInode::next_number();
    live_.directories[path] = number;
    changes_.record({Kind::kMakeDirectory, path, {}, nullptr, number});
    return true;
  }
  void sync_dir(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    step_needing_no_room(path);
    changes_.sync_directory(path == "/" || path == "." ? "" : path, durable_);
  }
  bool link(const std::string& from, const std::string& to) override {
    const std::lock_guard lock(mutex_);
    if (!can_link_) return false;
    auto inode = find(from);
    if (live_.files.contains(to)) throw_storage("cannot link to", to, EEXIST);
    step(to);
    live_.files[to] = inode;
    changes_.record({Kind::kSet, to, {}, inode});
    return true;
  }
  void copy(const std::string& from, const std::string& to, std::uint64_t bytes) override {
    std::string content;
    {
      const std::lock_guard lock(mutex_);
      content = find(from)->text();
      if (content.size() < bytes) throw Error(ErrorCode::kCorruption, from + " is too short");
      content.resize(bytes);
    }
    open(to, OpenMode::kCreateNew)->pwrite(content.data(), content.size(), 0);
  }
  std::vector<std::string> list_dir(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (!live_.directories.contains(path)) throw_storage("cannot list", path, ENOENT);
    return live_.names_in(path);
  }
  std::optional<FileInfo> info(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    const auto directory = live_.directories.find(path);
    if (directory != live_.directories.end()) {
      return FileInfo{true, false, 0, device_, directory->second, 1};
    }
    const auto found = live_.files.find(path);
    if (found == live_.files.end()) return std::nullopt;
    std::uint64_t links = 0;
    for (const auto& [name, inode] : live_.files) links += inode == found->second ? 1 : 0;
    return FileInfo{false, false, found->second->size(), device_, found->second->number, links};
  }
  std::string lock_path(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (locks_.empty()) {
      const bool memory = ::access("/dev/shm", W_OK) == 0;
      locks_ = memory ? "/dev/shm/srvdb-locks-XXXXXX" : "/tmp/srvdb-locks-XXXXXX";
      if (::mkdtemp(locks_.data()) == nullptr) throw_storage("cannot make", locks_, errno);
    }
    std::string name = path;
    std::replace(name.begin(), name.end(), '/', '+');
    return locks_ + "/" + name;
  }

 private:
  using Kind = SimulatedNameChanges::Kind;

  class SimulatedMapping final : public Mapping {
   public:
    SimulatedMapping(std::shared_ptr<const SimulatedInode> inode, std::size_t reserve)
        : Mapping(inode->bytes(), reserve), inode_(std::move(inode)) {}

   private:
    std::shared_ptr<const SimulatedInode> inode_;
  };
  class SimulatedFile final : public File {
   public:
    SimulatedFile(std::string path, SimulatedFiles& files, std::shared_ptr<SimulatedInode> inode,
                  bool shared = false)
        : File(std::move(path)), files_(files), inode_(std::move(inode)), shared_(shared) {}
    std::size_t pread(void* to, std::size_t bytes, std::uint64_t offset) const override {
      const std::lock_guard lock(files_.mutex_);
      if (offset >= inode_->size()) return 0;
      const std::size_t n = std::min<std::size_t>(bytes, inode_->size() - offset);
      std::memcpy(to, inode_->bytes() + offset, n);
      return n;
    }
    void pwrite(const void* from, std::size_t bytes, std::uint64_t offset) override {
      const std::lock_guard lock(files_.mutex_);
      if (shared_) {
        files_.step_that_cannot_fail();
        return inode_->write(from, bytes, offset);
      }
      files_.step(path(), [&] {
        const std::uint64_t end = offset + std::min(bytes, files_.fault_.partial_bytes);
        const std::uint64_t kept = end == offset + bytes ? end : end / 512 * 512;
        if (kept > offset) inode_->write(from, kept - offset, offset);
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
      files_.step_needing_no_room(path());
      ++files_.syncs_;
      inode_->sync();
    }
    void truncate(std::uint64_t size) override {
      const std::lock_guard lock(files_.mutex_);
      files_.step_needing_no_room(path());
      inode_->truncate(size);
    }
    std::uint64_t size() const override {
      const std::lock_guard lock(files_.mutex_);
      return inode_->size();
    }
    std::shared_ptr<const Mapping> map(std::size_t reserve) const override {
      if (reserve > SimulatedInode::kArenaBytes) throw_storage("cannot map", path(), ENOMEM);
      return std::make_shared<SimulatedMapping>(inode_, reserve);
    }

   private:
    SimulatedFiles& files_;
    std::shared_ptr<SimulatedInode> inode_;
    bool shared_;  // writes are copies into memory
  };

  std::shared_ptr<SimulatedInode> find(const std::string& path) {
    const auto found = live_.files.find(path);
    if (found == live_.files.end()) throw_storage("cannot open", path, ENOENT);
    return found->second;
  }
  // Counts an operation and fails it when its turn has come.
  void step(const std::string& path, const std::function<void()>& before_failing = {}) {
    if (before_each_) before_each_();
    const std::uint64_t number = operations_++;
    const bool fails = number == fault_.at || (fault_.forever && number > fault_.at);
    if (!fails) return;
    if (before_failing) before_failing();
    throw_storage("simulated failure of", path, fault_.error);
  }
  void step_that_cannot_fail() {
    if (before_each_) before_each_();
    ++operations_;
  }
  void step_needing_no_room(const std::string& path) {
    step(path, [&] { failed_needing_no_room_ = true; });
  }
  static std::uint64_t next_device() {
    static std::atomic<std::uint64_t> last{std::uint64_t{1} << 40};  // no real one's number
    return ++last;
  }

  mutable std::recursive_mutex mutex_;  // before_each_ may look at the files
  const std::uint64_t device_ = next_device();
  SimulatedNames live_, durable_;
  SimulatedNameChanges changes_;
  bool can_link_ = true;
  Fault fault_;
  std::function<void()> before_each_;
  std::uint64_t operations_ = 0;
  std::uint64_t syncs_ = 0;
  bool failed_needing_no_room_ = false;
  std::string locks_;  // where real files to lock lie
};

inline std::unique_ptr<File> SimulatedFiles::open(const std::string& path, OpenMode mode) {
  const std::lock_guard lock(mutex_);
  const auto found = live_.files.find(path);
  if (found == live_.files.end()) {
    if (mode == OpenMode::kRead || mode == OpenMode::kReadWrite ||
        !live_.directories.contains(SimulatedNames::parent_of(path))) {
      throw_storage("cannot open", path, ENOENT);
    }
    step(path);
    auto inode = std::make_shared<SimulatedInode>();
    live_.files[path] = inode;
    changes_.record({Kind::kSet, path, {}, inode});
    return std::make_unique<SimulatedFile>(path, *this, inode);
  }
  if (mode == OpenMode::kCreateNew) throw_storage("cannot open", path, EEXIST);
  return std::make_unique<SimulatedFile>(path, *this, found->second);
}

inline std::unique_ptr<File> SimulatedFiles::open_shared(const std::string& path,
                                                         std::size_t bytes) {
  const auto file = open(path, OpenMode::kCreate);
  const std::string zeros(bytes - std::min<std::size_t>(bytes, file->size()), '\0');
  if (!zeros.empty()) file->pwrite(zeros.data(), zeros.size(), file->size());
  const std::lock_guard lock(mutex_);
  return std::make_unique<SimulatedFile>(path, *this, find(path), true);
}

inline std::unique_ptr<SimulatedFiles> SimulatedFiles::crash(Keep keep,
                                                             std::uint_fast32_t seed) const {
  using Loss = SimulatedInode::Loss;
  const std::lock_guard lock(mutex_);
  std::mt19937 random(seed);
  Loss loss = keep == Keep::kNothing ? Loss::kAll : Loss::kNone;
  if (keep == Keep::kSome) {
    loss = std::array{Loss::kByWrite, Loss::kBySector, Loss::kByPage}[random() % 3];
  }
  SimulatedNames names = durable_;
  if (keep == Keep::kEverything) changes_.apply_all(names);
  if (keep == Keep::kSome) changes_.apply_some(names, random);
  names.drop_orphans();
  std::map<const SimulatedInode*, std::shared_ptr<SimulatedInode>> images;  // links stay links
  for (auto& [path, inode] : names.files) {
    auto& image = images[inode.get()];
    if (!image) {
      image = std::make_shared<SimulatedInode>();
      image->become_crashed(*inode, loss, random);
    }
    inode = image;
  }
  auto after = std::make_unique<SimulatedFiles>();
  after->live_ = names;
  after->durable_ = std::move(names);
  return after;
}

}  // namespace srvdb::testing
