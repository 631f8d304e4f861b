#include "srvdb/database/code_files.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "srvdb/base/scheduler.h"
#include "srvdb/index/code_bounds.h"

namespace srvdb {
namespace {

constexpr std::size_t kPieceBytes = 2 * kHugePageBytes;  // codes made in one piece, about
constexpr Row kBlockRows = 512;                          // rows one thread codes at a time

void copy_words(const CodeNotes::Words& from, CodeNotes::Words& to) noexcept {
  for (std::size_t i = 0; i < from.size(); ++i) {
    to[i].store(from[i].load(std::memory_order_relaxed), std::memory_order_relaxed);
  }
}

std::shared_ptr<CodeNotes> make_notes(Row rows) {  // for twice as many
  auto notes = std::make_shared<CodeNotes>(rows < kNoRow / 2 ? 2 * rows : kNoRow);
  prefault(notes->checked.data(), rows / 8);
  return notes;
}

}  // namespace

CodeNotes::CodeNotes(Row rows)
    : checked(std::max<std::size_t>(1024, rows / 64 + 1)),
      blocks(bound_blocks(static_cast<Row>(checked.size() * 64))) {}

Row code_piece_end(Row first, Row rows, std::size_t stride) noexcept {
  const std::size_t bytes = kHeaderPageBytes + first * stride + kPieceBytes;
  const std::size_t end = (bytes / kHugePageBytes * kHugePageBytes - kHeaderPageBytes) / stride;
  return static_cast<Row>(std::min<std::size_t>(rows, std::max<std::size_t>(end, first + 1)));
}

// ---- as searches see them ----------------------------------------------------------------------

void CodePart::check(Row row) const {
  if (is_checked(row)) return;
  // Rows that were coded since the opening are known to the file.
  if (!codes_.is_verified(row) && !codes_.row_is_good(row)) {
    try {
      codes_.throw_damaged(row);
    } catch (const Error& error) {
      throw DerivedDamage(kind_, error.what());
    }
  }
  notes_->checked[row / 64].fetch_or(std::uint64_t{1} << (row % 64), std::memory_order_relaxed);
}

void CodePart::verify(Row first, Row last) const {
  for (Row row = first; row < last; ++row) check(row);
}

void CodePart::verify_each(const Row* rows, std::size_t n) const {
  for (std::size_t i = 0; i < n; ++i) codes_.prefetch_fix(rows[i]);
  for (std::size_t i = 0; i < n; ++i) check(rows[i]);
}

CodesView CodePart::view() const noexcept {
  CodesView out;
  out.base = codes_.base();
  out.stride = codes_.stride();
  out.rows = codes_.rows();
  out.verifier = this;
  out.checked = notes_->checked.data();
  out.errors = codes_.values();
  out.error_step = sizeof(RowFix) / sizeof(float);
  out.blocks = notes_->blocks.data();
  return out;
}

// ---- files -------------------------------------------------------------------------------------

CodeFiles::CodeFiles(const CodeKind& kind, std::unique_ptr<StridedFile> file, Row rows)
    : kind_(kind), file_(std::move(file)), notes_(make_notes(rows)), rows_(rows), saved_(rows) {}

std::unique_ptr<CodeFiles> CodeFiles::create(FileSystem& files, const std::string& directory,
                                             const CodeKind& kind, const StridedHeader& header) {
  const std::string path = directory + "/" + kind.name;
  const std::string fix_path = directory + "/" + kind.fix_name;
  const std::string temporary = path + ".tmp";
  // Searches may still read the old files: they are unlinked, never cut. Each step is durable
  // before the next, so that after a crash there are old ones, none, or new ones with their header.
  for (const std::string& old : {path, fix_path, temporary}) {
    if (files.exists(old)) files.remove(old);
  }
  files.sync_dir(directory);
  StridedFile::create(files, temporary, fix_path, header)->sync();
  files.rename(temporary, path);
  files.sync_dir(directory);
  auto file = StridedFile::open(files, path, fix_path, StridedKind::kCodes, 0, false);
  return std::unique_ptr<CodeFiles>(new CodeFiles(kind, std::move(file), 0));
}

std::unique_ptr<CodeFiles> CodeFiles::open(FileSystem& files, const std::string& directory,
                                           const CodeKind& kind, const ManifestDerived& entry,
                                           Row rows, const Uuid& uuid, std::uint64_t generation,
                                           bool read_only) {
  // The files are made anew before the manifest names them: after a crash in between, or beside a
  // writer at work, there may be none, or those of another lineage. That is no damage.
  const std::string path = directory + "/" + kind.name;
  const std::string fix_path = directory + "/" + kind.fix_name;
  if (!files.exists(path) || !files.exists(fix_path)) return nullptr;
  const Row covers = std::min(entry.covers_rows, rows);
  auto file = StridedFile::open(files, path, fix_path, StridedKind::kCodes, 0, read_only);
  const StridedHeader& header = file->header();
  if (header.lineage != entry.lineage) return nullptr;
  if (header.uuid != uuid || header.generation != generation || file->file_rows() < covers) {
    throw Error(ErrorCode::kCorruption, path + ": expected codes of " + std::to_string(covers) +
                                            " rows of this database, got another one's or fewer");
  }
  return std::unique_ptr<CodeFiles>(new CodeFiles(kind, std::move(file), covers));
}

LargeVector<RowFix> CodeFiles::append(const View& view, Row last, std::size_t threads,
                                      Interrupt* interrupt, const Encode& encode) {
  const RowsView stored = view.rows_view();
  const Row first = rows_;
  const std::size_t stride = header().stride;
  const std::size_t n = last - first;
  LargeVector<std::uint8_t> codes(n * stride);
  LargeVector<RowFix> fixes(n);
  const std::size_t blocks = (n + kBlockRows - 1) / kBlockRows;
  parallel_for(blocks, 1, threads, interrupt, [&](std::size_t block, std::size_t thread) {
    const Row from = first + static_cast<Row>(block) * kBlockRows;
    const Row to = std::min(last, from + kBlockRows);
    stored.verify(from, to);
    for (Row r = from; r < to; ++r) {
      std::uint8_t* const code = codes.data() + (r - first) * stride;
      const float error = encode(stored.row(r), code, thread);
      fixes[r - first] = make_fix({code, stride}, error);
    }
  });
  file_->write(first, {codes.data(), n * stride}, fixes);
  rows_ = last;
  if (last / 64 >= notes_->checked.size()) {
    const std::shared_ptr<CodeNotes> larger = make_notes(last);
    copy_words(notes_->checked, larger->checked);
    copy_words(notes_->blocks, larger->blocks);
    notes_ = larger;
  }
  return fixes;
}

std::shared_ptr<const CodePart> CodeFiles::part() {
  return std::make_shared<const CodePart>(kind_, file_->view(rows_), notes_);
}

ManifestDerived CodeFiles::save(Row published) {
  const Row rows = std::min(rows_, published);
  if (rows != saved_) file_->sync();
  saved_ = rows;
  return {kind_.derived, kind_.name, rows, header().lineage};
}

ManifestDerived CodeFiles::copy(FileSystem& files, const std::string& directory,
                                const CodeKind& kind, const StridedHeader& header,
                                const CodePart& from, const RowMapping& mapping,
                                Interrupt* interrupt) {
  const CodesView codes = from.view();
  const Row rows = mapping.kept_below(std::min(codes.rows, mapping.old_rows()));
  const std::unique_ptr<CodeFiles> to = create(files, directory, kind, header);
  std::vector<std::uint8_t> bytes;
  std::vector<RowFix> fixes;
  for (Row row = 0; row < rows;) {
    check(interrupt);
    const Row end = code_piece_end(row, rows, codes.stride);
    bytes.resize(std::size_t{end - row} * codes.stride);
    fixes.resize(end - row);
    for (Row r = row; r < end; ++r) {
      const Row old = mapping.to_old(r);
      codes.verify(old);
      std::memcpy(bytes.data() + std::size_t{r - row} * codes.stride, codes.code(old),
                  codes.stride);
      fixes[r - row] = from.fix(old);
    }
    to->file_->write(row, bytes, fixes);
    row = end;
  }
  to->file_->sync();
  return {kind.derived, kind.name, rows, header.lineage};
}

}  // namespace srvdb
