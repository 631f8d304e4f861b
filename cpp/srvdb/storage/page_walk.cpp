#include "srvdb/storage/page_walk.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/storage/page_checksums.h"

namespace srvdb {

namespace {

constexpr std::uint64_t kMetaPages = 2;
constexpr std::size_t kPageHeaderBytes = 16;
constexpr std::size_t kFlagsAt = 10;     // u16 in a page header
constexpr std::size_t kLowerAt = 12;     // u16: end of the list of nodes
constexpr std::size_t kOverflowAt = 12;  // u32: pages of a large value
constexpr std::uint16_t kBranch = 0x01;
constexpr std::uint16_t kLeaf = 0x02;
constexpr std::uint16_t kOverflow = 0x04;
constexpr std::uint16_t kKinds = 0x7F;  // all flags that say what a page is

constexpr std::size_t kNodeHeaderBytes = 8;
constexpr std::uint16_t kLargeValue = 0x01;  // flags of a node
constexpr std::uint16_t kTree = 0x02;
constexpr std::size_t kTreeBytes = 48;  // describes a tree; its root page is the last u64
constexpr std::size_t kTreeRootAt = 40;
constexpr std::uint64_t kNoPage = ~std::uint64_t{0};

constexpr std::size_t kMetaMagicAt = 16;
constexpr std::uint32_t kMetaMagic = 0xBEEFC0DE;
constexpr std::size_t kPageBytesAt = 40;
constexpr std::size_t kFreeTreeAt = 40;
constexpr std::size_t kMainTreeAt = kFreeTreeAt + kTreeBytes;
constexpr std::size_t kLastPageAt = 136;
constexpr std::size_t kTransactionAt = 144;
constexpr std::size_t kMetaCrcAt = 152;
constexpr std::size_t kMetaBytes = kMetaCrcAt + 4;

constexpr int kMaxDepth = 64;
constexpr std::size_t kMaxValueBytes = std::size_t{256} << 20;
// Checksums that differ in few bits differ because one of them was changed, not what they cover.
constexpr int kFewBits = 8;

constexpr std::string_view kLetters = "imdbtulscf";  // of all trees

std::uint32_t entry_crc(char tree, ByteSpan key, ByteSpan bytes) noexcept {
  return crc32c(bytes.data(), bytes.size(), crc32c(key.data(), key.size(), crc32c(&tree, 1)));
}

// The value without its checksum, when that holds.
std::optional<ByteSpan> checked(char tree, ByteSpan key, ByteSpan value) noexcept {
  if (value.size() < 4) return std::nullopt;
  const bool at_end = tree == 'i';
  const ByteSpan bytes = at_end ? value.first(value.size() - 4) : value.subspan(4);
  const auto crc = load<std::uint32_t>(value.data() + (at_end ? value.size() - 4 : 0));
  if (crc != entry_crc(tree, key, bytes)) return std::nullopt;
  return bytes;
}

std::string shown(ByteSpan key) {
  std::string text;
  for (const std::uint8_t byte : key.first(std::min<std::size_t>(key.size(), 60))) {
    text += byte >= 32 && byte < 127 ? static_cast<char>(byte) : '?';
  }
  return text;
}

}  // namespace

PageWalk::PageWalk(FileSystem& files, const std::string& path, OnProblem problem)
    : files_(files),
      path_(path),
      checksum_path_(page_checksum_path(path)),
      problem_(std::move(problem)) {
  if (!files.exists(path)) {
    tell(path_, 0, "is missing");
    return;
  }
  file_ = files.open(path, OpenMode::kRead);
  for (std::uint64_t number = 0; number < kMetaPages; ++number) {
    const auto found = read_meta(number);
    if (found && (!root_ || found->transaction > root_->transaction)) root_ = found;
  }
  pages_ = file_->size() / page_bytes_;
  if (root_ && root_->last_page >= pages_) {
    tell(path_, file_->size(),
         "is too short: expected " + std::to_string(root_->last_page + 1) + " pages, got " +
             std::to_string(pages_));
  } else if (root_) {
    pages_ = root_->last_page + 1;
  }
  visited_.resize(pages_);
  open_checksums();
}

PageWalk::~PageWalk() = default;

void PageWalk::tell(const std::string& path, std::uint64_t offset, const std::string& what) {
  ++problems_;
  problem_(path, offset, what);
}

std::optional<PageWalk::Root> PageWalk::read_meta(std::uint64_t number) {
  // A writer at work may be in the middle of writing this page.
  constexpr int kTries = 20;
  std::uint8_t page[kMetaBytes];
  const std::uint64_t offset = number * page_bytes_;
  for (int tries = 0; tries < kTries; ++tries) {
    if (file_->pread(page, kMetaBytes, offset) != kMetaBytes) break;
    const auto page_bytes = load<std::uint32_t>(page + kPageBytesAt);
    if (load<std::uint32_t>(page + kMetaMagicAt) != kMetaMagic ||
        load<std::uint64_t>(page) != number ||
        load<std::uint32_t>(page + kMetaCrcAt) != crc32c(page, kMetaCrcAt) || page_bytes < 512 ||
        page_bytes > 65536 || !std::has_single_bit(page_bytes)) {
      continue;
    }
    page_bytes_ = page_bytes;
    return Root{load<std::uint64_t>(page + kTransactionAt), load<std::uint64_t>(page + kLastPageAt),
                load<std::uint64_t>(page + kFreeTreeAt + kTreeRootAt),
                load<std::uint64_t>(page + kMainTreeAt + kTreeRootAt)};
  }
  tell(path_, offset, "the meta page is not what was written");
  return std::nullopt;
}

void PageWalk::open_checksums() {
  if (!files_.exists(checksum_path_)) return tell(checksum_path_, 0, "is missing");
  try {
    PageChecksums(files_, checksum_path_, page_bytes_, OpenMode::kRead);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruption) throw;
    tell(checksum_path_, 0, error.what());
    return;
  }
  checksums_ = files_.open(checksum_path_, OpenMode::kRead);
}

bool PageWalk::read_page(std::uint64_t number, Page& page) {
  page.resize(page_bytes_);
  return file_->pread(page.data(), page_bytes_, number * page_bytes_) == page_bytes_;
}

PageWalk::Trust PageWalk::check_page(std::uint64_t number, const std::uint8_t* page) {
  if (!checksums_) return Trust::kUnchecked;
  const std::uint64_t at = PageChecksums::kHeaderBytes + 4 * number;
  const std::string which = "page " + std::to_string(number) + " of metadata.db";
  std::uint32_t stored = 0;
  if (checksums_->pread(&stored, sizeof(stored), at) != sizeof(stored)) {
    tell(checksum_path_, at, "the checksum of " + which + " is missing");
    return Trust::kUnchecked;
  }
  const std::uint32_t crc = page_checksum(number, page, page_bytes_);
  if (crc == stored) return Trust::kGood;
  if (stored == 0 || std::popcount(crc ^ stored) <= kFewBits) {
    tell(checksum_path_, at, "the checksum of " + which + " is not what was written");
    return Trust::kUnchecked;
  }
  tell(path_, number * page_bytes_,
       "page " + std::to_string(number) + " is not what was written, or its checksum at offset " +
           std::to_string(at) + " of metadata.crc is not");
  return Trust::kBad;
}

// True when the page is one that may be come by, and this is the first time.
bool PageWalk::visit(std::uint64_t number) {
  if (number < kMetaPages || number >= pages_) {
    tell(path_, 0, "a tree leads to page " + std::to_string(number) + ", which is not there");
    return false;
  }
  if (passed_[number]) {
    tell(path_, number * page_bytes_, "two places lead to page " + std::to_string(number));
    return false;
  }
  passed_[number] = true;
  visited_[number] = true;
  return true;
}

// The nodes that lie whole inside of the page.
std::vector<PageWalk::Node> PageWalk::nodes_of(std::uint64_t number, const Page& page) {
  std::vector<Node> nodes;
  const bool branch = (load<std::uint16_t>(page.data() + kFlagsAt) & kBranch) != 0;
  const std::size_t lower =
      std::min<std::size_t>(load<std::uint16_t>(page.data() + kLowerAt), page.size());
  for (std::size_t at = kPageHeaderBytes; at + 2 <= lower; at += 2) {
    const std::size_t start = load<std::uint16_t>(page.data() + at);
    if (start < kPageHeaderBytes || start + kNodeHeaderBytes > page.size()) continue;
    const std::uint8_t* const raw = page.data() + start;
    Node node;
    node.flags = load<std::uint16_t>(raw + 4);
    node.data_bytes = load<std::uint32_t>(raw);
    node.child = node.data_bytes | std::uint64_t{node.flags} << 32;
    node.offset = number * page_bytes_ + start;
    const std::size_t key_bytes = load<std::uint16_t>(raw + 6);
    const std::size_t room = page.size() - start - kNodeHeaderBytes;
    if (key_bytes > room) continue;
    node.key = {raw + kNodeHeaderBytes, key_bytes};
    if (!branch) {
      const std::size_t inside = (node.flags & kLargeValue) != 0 ? 8 : node.data_bytes;
      if (inside > room - key_bytes) continue;
      node.data = {raw + kNodeHeaderBytes + key_bytes, inside};
    }
    nodes.push_back(node);
  }
  return nodes;
}

void PageWalk::walk_tree(std::uint64_t number, int depth, const OnNode& found) {
  if (number == kNoPage) return;  // an empty tree
  if (depth > kMaxDepth || !visit(number)) return;
  Page page;
  if (!read_page(number, page)) {
    return tell(path_, number * page_bytes_, "page " + std::to_string(number) + " cannot be read");
  }
  const Trust trust = check_page(number, page.data());
  const std::uint16_t kind = load<std::uint16_t>(page.data() + kFlagsAt) & kKinds;
  if (load<std::uint64_t>(page.data()) != number || (kind != kBranch && kind != kLeaf)) {
    if (trust != Trust::kBad) {
      tell(path_, number * page_bytes_, "page " + std::to_string(number) + " is none of a tree");
    }
    return;
  }
  if (kind == kBranch && trust == Trust::kBad) return;  // see walk_strays()
  for (const Node& node : nodes_of(number, page)) {
    if (kind == kBranch) {
      walk_tree(node.child, depth + 1, found);
    } else {
      found(node, trust);
    }
  }
}

std::optional<ByteSpan> PageWalk::value_of(const Node& node, Page& large) {
  if ((node.flags & kLargeValue) == 0) return node.data;
  const auto first = load<std::uint64_t>(node.data.data());
  const std::uint64_t count =
      (kPageHeaderBytes + std::uint64_t{node.data_bytes} + page_bytes_ - 1) / page_bytes_;
  if (first < kMetaPages || first >= pages_ || count > pages_ - first ||
      node.data_bytes > kMaxValueBytes) {
    return std::nullopt;
  }
  large.resize(static_cast<std::size_t>(count) * page_bytes_);
  if (file_->pread(large.data(), large.size(), first * page_bytes_) != large.size()) {
    return std::nullopt;
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    visited_[first + i] = true;
    check_page(first + i, large.data() + i * page_bytes_);
  }
  if ((load<std::uint16_t>(large.data() + kFlagsAt) & kOverflow) == 0 ||
      load<std::uint32_t>(large.data() + kOverflowAt) < count) {
    return std::nullopt;
  }
  return ByteSpan(large).subspan(kPageHeaderBytes, node.data_bytes);
}

// Gives a leaf's entry when its own checksum holds.
void PageWalk::give(const Node& node, Trust trust, char tree, const OnEntry& entry) {
  Page large;
  const auto value = value_of(node, large);
  const auto bytes = value ? checked(tree, node.key, *value) : std::nullopt;
  if (bytes) return entry({tree, node.key, *bytes, node.offset, trust == Trust::kBad});
  tell(path_, node.offset,
       std::string("an entry of tree '") + tree + "' is not what was written" +
           (tree == 'i' ? ": that of id '" + shown(node.key) + "'" : ""));
}

void PageWalk::walk(std::string_view trees, const OnEntry& entry) {
  if (!root_) return;
  passed_.assign(pages_, false);
  walk_tree(root_->main_root, 0, [&](const Node& tree, Trust trust) {
    if (tree.key.empty() || trust == Trust::kBad) return;
    const char letter = static_cast<char>(tree.key[0]);
    if ((tree.flags & kTree) == 0 || tree.data.size() != kTreeBytes) {
      return tell(path_, tree.offset, "a tree's description is not what was written");
    }
    if (trees.find(letter) == std::string_view::npos) return;
    walk_tree(load<std::uint64_t>(tree.data.data() + kTreeRootAt), 0,
              [&](const Node& node, Trust leaf) { give(node, leaf, letter, entry); });
  });
}

std::vector<bool> PageWalk::free_pages() {
  std::vector<bool> free(pages_);
  if (!root_) return free;
  walk_tree(root_->free_root, 0, [&](const Node& node, Trust) {
    Page large;
    const auto list = value_of(node, large);
    if (!list || list->size() % 8 != 0) return;
    for (std::size_t at = 8; at < list->size(); at += 8) {  // the first number is the count
      const auto number = load<std::uint64_t>(list->data() + at);
      if (number < pages_) free[number] = true;
    }
  });
  return free;
}

void PageWalk::walk_strays(const OnEntry& entry) {
  if (!file_) return;
  const std::vector<bool> free = free_pages();
  Page page;
  Page large;
  for (std::uint64_t number = kMetaPages; number < pages_; ++number) {
    if (visited_[number] || free[number] || !read_page(number, page)) continue;
    if (load<std::uint64_t>(page.data()) != number ||
        (load<std::uint16_t>(page.data() + kFlagsAt) & kKinds) != kLeaf) {
      continue;
    }
    for (const Node& node : nodes_of(number, page)) {
      if ((node.flags & kTree) != 0) continue;
      const auto value = value_of(node, large);
      if (!value) continue;
      for (const char tree : kLetters) {
        if (const auto bytes = checked(tree, node.key, *value)) {
          entry({tree, node.key, *bytes, node.offset, true});
          break;
        }
      }
    }
  }
}

}  // namespace srvdb
