// metadata.db read page by page, without LMDB: for looking at what is damaged and for saving what
// is not.
//
// LMDB stops at the first damage it meets. This walk goes on: it tells each problem with its
// offset, passes over what cannot be believed, and gives every entry whose own checksum holds. A
// page whose checksum (metadata.crc) does not hold leads nowhere, because it may be an old one;
// what lay below it is found again by walk_strays(), among the pages that are in use and that no
// tree leads to.
//
// Reads only, through the file layer; memory is bounded by a few bits a page and the largest entry.
// Beside a living writer hold a MetaStore::ReadTxn begun before this: it keeps the pages from being
// used again. One thread at a time. Errors: kStorage when the file cannot be read at all; damage is
// told, never thrown. Layout: LMDB 0.9 on 64-bit little-endian machines, cpp/FORMAT.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/base/bytes.h"
#include "srvdb/storage/file.h"

namespace srvdb {

class PageWalk {
 public:
  struct Entry {
    char tree = 0;             // letter of its tree, cpp/FORMAT.md
    ByteSpan key;              // both live until the callback returns
    ByteSpan bytes;            // the value without its checksum, which holds
    std::uint64_t offset = 0;  // of the entry in metadata.db
    // Nothing leads to it that can be believed: it may have been replaced or removed.
    bool doubtful = false;
  };
  using OnEntry = std::function<void(const Entry& entry)>;
  // `path` is that of metadata.db or of its checksums.
  using OnProblem =
      std::function<void(const std::string& path, std::uint64_t offset, const std::string& what)>;

  // Looks at the meta pages and at the checksums' header.
  PageWalk(FileSystem& files, const std::string& path, OnProblem problem);
  ~PageWalk();

  // False when neither meta page can be believed: then there are strays only.
  bool has_root() const noexcept { return root_.has_value(); }
  // No problem has been told so far.
  bool is_sound() const noexcept { return problems_ == 0; }
  // How often one was told; each walk tells those it meets anew.
  std::uint64_t problems() const noexcept { return problems_; }

  // Gives the entries of the trees with these letters, each tree in key order.
  void walk(std::string_view trees, const OnEntry& entry);
  // Gives the entries of leaves that no walk has come by and that are not free, in no order. Only
  // after a walk over all trees.
  void walk_strays(const OnEntry& entry);

 private:
  struct Root {
    std::uint64_t transaction = 0;
    std::uint64_t last_page = 0;
    std::uint64_t free_root = 0;  // of the tree of free pages
    std::uint64_t main_root = 0;  // of the tree of trees
  };
  struct Node {
    ByteSpan key;
    ByteSpan data;  // in the page; of a large value the number of its first page
    std::uint16_t flags = 0;
    std::uint32_t data_bytes = 0;
    std::uint64_t child = 0;   // of a branch
    std::uint64_t offset = 0;  // in the file
  };
  enum class Trust : std::uint8_t { kGood, kUnchecked, kBad };
  using Page = std::vector<std::uint8_t>;
  using OnNode = std::function<void(const Node& node, Trust trust)>;

  void tell(const std::string& path, std::uint64_t offset, const std::string& what);
  std::optional<Root> read_meta(std::uint64_t number);
  void open_checksums();
  bool read_page(std::uint64_t number, Page& page);
  Trust check_page(std::uint64_t number, const std::uint8_t* page);
  bool visit(std::uint64_t number);
  std::vector<Node> nodes_of(std::uint64_t number, const Page& page);
  void walk_tree(std::uint64_t number, int depth, const OnNode& found);
  // The value of a leaf's node, read from its pages when it is large; `large` keeps those.
  std::optional<ByteSpan> value_of(const Node& node, Page& large);
  void give(const Node& node, Trust trust, char tree, const OnEntry& entry);
  std::vector<bool> free_pages();

  FileSystem& files_;
  const std::string path_;
  const std::string checksum_path_;
  const OnProblem problem_;
  std::unique_ptr<File> file_;
  std::unique_ptr<File> checksums_;  // null when they cannot be used
  std::uint32_t page_bytes_ = 4096;
  std::uint64_t pages_ = 0;  // that the file holds, at most those in use
  std::optional<Root> root_;
  std::vector<bool> visited_;  // by any walk
  std::vector<bool> passed_;   // by this one
  std::uint64_t problems_ = 0;
};

}  // namespace srvdb
