// One file of SimulatedFiles: its live image, the durable one, and the writes between them.
//
// The live image is memory whose address never changes, so a mapping shows later writes as a shared
// mapping does. What a loss of power leaves is drawn in one of three ways: each write is dropped,
// kept or torn behind a sector; or each sector (512 bytes), or each page (4096), stops at some
// moment of its own between the sync and the crash, as a page cache writes back.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <map>
#include <new>
#include <random>
#include <string>
#include <vector>

namespace srvdb::testing {

class SimulatedInode {
 public:
  static constexpr std::size_t kArenaBytes = std::size_t{2} << 30;  // of address space
  enum class Loss { kAll, kNone, kByWrite, kBySector, kByPage };    // of what was not synced

  SimulatedInode() {
    void* at = ::mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    bytes_ = static_cast<std::uint8_t*>(at);
  }
  ~SimulatedInode() { ::munmap(bytes_, kArenaBytes); }
  SimulatedInode(const SimulatedInode&) = delete;
  SimulatedInode& operator=(const SimulatedInode&) = delete;

  const std::uint64_t number = next_number();
  static std::uint64_t next_number() {
    static std::atomic<std::uint64_t> last{0};
    return ++last;
  }

  const std::uint8_t* bytes() const noexcept { return bytes_; }
  std::uint64_t size() const noexcept { return size_; }
  std::string text() const { return {reinterpret_cast<const char*>(bytes_), size_}; }

  void write(const void* from, std::size_t n, std::uint64_t offset) {
    if (n == 0) return;
    put(from, n, offset);
    pending_.push_back({offset, std::string(static_cast<const char*>(from), n), false});
  }
  void truncate(std::uint64_t to) {
    cut(to);
    pending_.push_back({to, {}, true});
  }
  void sync() {
    for (const Write& write : pending_) {
      if (write.truncate) {
        durable_.resize(write.offset, '\0');
      } else {
        durable_.resize(std::max(durable_.size(), write.offset + write.bytes.size()), '\0');
        durable_.replace(write.offset, write.bytes.size(), write.bytes);
      }
    }
    pending_.clear();
  }

  // Makes this new file what a loss of power leaves of another.
  void become_crashed(const SimulatedInode& other, Loss loss, std::mt19937& random) {
    put(other.durable_.data(), other.durable_.size(), 0);
    if (loss == Loss::kBySector || loss == Loss::kByPage) {
      keep_blocks(other.pending_, loss == Loss::kByPage ? 4096 : 512, random);
    } else if (loss != Loss::kAll) {
      for (const Write& write : other.pending_) keep_write(write, loss, random);
    }
    durable_ = text();
  }

 private:
  struct Write {
    std::uint64_t offset = 0;
    std::string bytes;
    bool truncate = false;  // to `offset`
  };

  void put(const void* from, std::size_t n, std::uint64_t offset) {
    if (n == 0) return;
    std::memcpy(bytes_ + offset, from, n);
    size_ = std::max<std::uint64_t>(size_, offset + n);
  }
  void cut(std::uint64_t to) {
    if (to < size_) std::memset(bytes_ + to, 0, size_ - to);
    size_ = to;
  }

  void keep_write(const Write& write, Loss loss, std::mt19937& random) {
    const std::uint_fast32_t fate = loss == Loss::kNone ? 1 : random() % 3;
    if (fate == 0) return;
    if (write.truncate) return cut(write.offset);
    std::size_t n = write.bytes.size();
    if (fate == 2) {  // torn where a sector ends
      const std::uint64_t first_sector_end = (write.offset / 512 + 1) * 512 - write.offset;
      n = std::min<std::size_t>(n, first_sector_end + 512 * (random() % 4));
    }
    put(write.bytes.data(), n, write.offset);
  }

  void keep_blocks(const std::vector<Write>& writes, std::uint64_t block, std::mt19937& random) {
    std::map<std::uint64_t, std::size_t> stops;  // of a block: how many of the writes it has seen
    for (std::size_t i = 0; i < writes.size(); ++i) {
      const Write& write = writes[i];
      if (write.truncate) {
        if (random() % 2 == 0) cut(write.offset);
        continue;
      }
      for (std::size_t at = 0; at < write.bytes.size();) {
        const std::uint64_t number = (write.offset + at) / block;
        const auto n = std::min<std::size_t>(write.bytes.size() - at,
                                             (number + 1) * block - write.offset - at);
        const auto stop = stops.try_emplace(number, random() % (writes.size() + 1)).first->second;
        if (i < stop) put(write.bytes.data() + at, n, write.offset + at);
        at += n;
      }
    }
  }

  std::uint8_t* bytes_ = nullptr;  // the live image
  std::uint64_t size_ = 0;
  std::string durable_;
  std::vector<Write> pending_;
};

}  // namespace srvdb::testing
