// Codes of a generation's rows on disk, and as searches see them: codes.i8 + codes.fix, the usual
// ones, and short.i8 + short.fix where there are short ones.
//
// Nothing here is truth: codes are appended as rows come, without syncing, and count after a
// restart up to the length that the manifest records; what is missing or damaged is made again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "srvdb/base/error.h"
#include "srvdb/base/interrupt.h"
#include "srvdb/base/large_memory.h"
#include "srvdb/database/view.h"
#include "srvdb/index/row_mapping.h"
#include "srvdb/index/rows.h"
#include "srvdb/storage/manifest.h"
#include "srvdb/storage/strided_file.h"

namespace srvdb {

inline constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

// One of the two kinds of codes.
struct CodeKind {
  std::uint8_t derived;  // its number in the manifest
  const char* name;      // of the file,
  const char* fix_name;  //   and of the one with its checksums
};
inline constexpr CodeKind kUsualCodes{kDerivedCodes, "codes.i8", "codes.fix"};
inline constexpr CodeKind kShortCodes{kDerivedShortCodes, "short.i8", "short.fix"};

// Thrown by code verification: derived data are damaged, the rows are not.
class DerivedDamage : public Error {
 public:
  DerivedDamage(const CodeKind& kind, const std::string& message)
      : Error(ErrorCode::kCorruption, message),
        of_short_codes(kind.derived == kShortCodes.derived) {}
  const bool of_short_codes;  // else of the usual ones
};

// What is remembered of codes while they are in use.
struct CodeNotes {
  using Words = ZeroedVector<std::atomic<std::uint64_t>>;

  explicit CodeNotes(Row rows);
  Words checked;  // a bit for each row whose checksum was compared
  Words blocks;   // CodesView::blocks
};

// Where a piece of codes that begins with row `first` ends: at a boundary of huge pages of the file
// where there is one, so that the page cache holds the codes in huge pages.
Row code_piece_end(Row first, Row rows, std::size_t stride) noexcept;

// The codes as a search sees them. Immutable but for the notes: thread-safe.
class CodePart final : public RowVerifier {
 public:
  CodePart(const CodeKind& kind, StridedView codes, std::shared_ptr<CodeNotes> notes)
      : kind_(kind), codes_(std::move(codes)), notes_(std::move(notes)) {}
  // Checks rows not checked before and remembers them. Throws DerivedDamage.
  void verify(Row first, Row last) const override;
  void verify_each(const Row* rows, std::size_t n) const override;
  CodesView view() const noexcept;
  RowFix fix(Row row) const noexcept { return codes_.fix(row); }

 private:
  bool is_checked(Row row) const noexcept {
    return (notes_->checked[row / 64].load(std::memory_order_relaxed) >> (row % 64) & 1) != 0;
  }
  void check(Row row) const;

  const CodeKind kind_;
  StridedView codes_;
  std::shared_ptr<CodeNotes> notes_;
};

// Both files while they are made. One thread at a time.
class CodeFiles {
 public:
  // Writes the code of a row and returns its error norm. Called by several threads, each with its
  // own number.
  using Encode = std::function<float(const float* row, std::uint8_t* code, std::size_t thread)>;

  // Makes both new; searches may go on reading those that were there.
  static std::unique_ptr<CodeFiles> create(FileSystem& files, const std::string& directory,
                                           const CodeKind& kind, const StridedHeader& header);
  // Those of the manifest's entry; null when there are none, or others. `rows` are the published
  // ones: nothing beyond them is believed. Throws Error(kCorruption) when they are of another
  // database or generation than `uuid` and `generation` say, or too short.
  static std::unique_ptr<CodeFiles> open(FileSystem& files, const std::string& directory,
                                         const CodeKind& kind, const ManifestDerived& entry,
                                         Row rows, const Uuid& uuid, std::uint64_t generation,
                                         bool read_only);
  // Writes the codes of the rows that the mapping keeps, synced, into another directory; what the
  // manifest is to say of them.
  static ManifestDerived copy(FileSystem& files, const std::string& directory, const CodeKind& kind,
                              const StridedHeader& header, const CodePart& from,
                              const RowMapping& mapping, Interrupt* interrupt);

  const StridedHeader& header() const noexcept { return file_->header(); }
  Row rows() const noexcept { return rows_; }
  Row piece_end(Row rows) const noexcept { return code_piece_end(rows_, rows, header().stride); }
  // Codes the rows of the view from rows() to `last`; their checksums and error norms.
  LargeVector<RowFix> append(const View& view, Row last, std::size_t threads, Interrupt* interrupt,
                             const Encode& encode);
  std::shared_ptr<const CodePart> part();
  // Makes what is there of `published` rows durable; what the manifest is to say.
  ManifestDerived save(Row published);

 private:
  CodeFiles(const CodeKind& kind, std::unique_ptr<StridedFile> file, Row rows);

  const CodeKind kind_;
  std::unique_ptr<StridedFile> file_;
  std::shared_ptr<CodeNotes> notes_;
  Row rows_;
  Row saved_;  // as the manifest says
};

}  // namespace srvdb
