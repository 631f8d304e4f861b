#include "srvdb/database/generation_files.h"

#include <cerrno>
#include <utility>

#include "srvdb/base/error.h"
#include "srvdb/database/indexer.h"
#include "srvdb/storage/id_files.h"
#include "srvdb/storage/strided_file.h"

namespace srvdb {
namespace {

class Taker {
 public:
  Taker(FileSystem& files, const GenerationFiles& what) : files_(files), what_(what) {}

  void take(const std::string& name, std::uint64_t bytes, bool has_header = false) {
    const std::string from = what_.from + "/" + name;
    const std::string to = what_.to + "/" + name;
    const bool rewrite = has_header && what_.generation != what_.manifest->generation;
    if (what_.link && !rewrite && files_.link(from, to)) {
      check_length(to, bytes);
    } else {
      files_.copy(from, to, bytes);
      const std::unique_ptr<File> copy = files_.open(to, OpenMode::kReadWrite);
      if (rewrite) renumber(*copy);
      copy->sync_data();
    }
    taken_.lengths.push_back({name, bytes});
  }
  // Codes and graph may be made anew meanwhile.
  bool take_codes(const ManifestDerived& entry, const CodeKind& kind);
  void take_short_codes(const ManifestDerived& entry);
  void take_graph(const ManifestDerived& entry);
  TakenFiles result() { return std::move(taken_); }

 private:
  void check_length(const std::string& path, std::uint64_t bytes) {
    const auto info = files_.info(path);
    if (info && info->size >= bytes) return;
    throw Error(ErrorCode::kCorruption, path + " is too short: expected at least " +
                                            std::to_string(bytes) + " bytes, got " +
                                            std::to_string(info ? info->size : 0));
  }
  void renumber(File& file) const {
    std::string page(kHeaderPageBytes, '\0');
    file.pread_exactly(page.data(), page.size(), 0);
    StridedHeader header = decode_strided_header(as_byte_span(page), file.path());
    header.generation = what_.generation;
    page = encode_strided_header(header);
    file.pwrite(page.data(), page.size(), 0);
  }
  void forget(std::initializer_list<const char*> names) {
    for (const char* name : names) {
      const std::string path = what_.to + "/" + name;
      if (files_.exists(path)) files_.remove(path);
      std::erase_if(taken_.lengths, [&](const ManifestFile& file) { return file.name == name; });
    }
  }
  StridedHeader header_of(const std::string& path) {
    std::string page(kHeaderPageBytes, '\0');
    files_.open(path, OpenMode::kRead)->pread_exactly(page.data(), page.size(), 0);
    return decode_strided_header(as_byte_span(page), path);
  }

  FileSystem& files_;
  const GenerationFiles& what_;
  TakenFiles taken_;
};

// When codes are made anew their file is the first to go: while it is still the one that the
// manifest names, neither of those taken is another's.
bool Taker::take_codes(const ManifestDerived& entry, const CodeKind& kind) {
  const Row covers = std::min(entry.covers_rows, what_.state.published_rows);
  const std::string from = what_.from + "/" + kind.name;
  try {
    const StridedHeader header = header_of(from);
    take(kind.name, kHeaderPageBytes + std::uint64_t{covers} * header.stride, true);
    take(kind.fix_name, std::uint64_t{covers} * sizeof(RowFix));
    if (header.lineage == entry.lineage && header_of(from).lineage == entry.lineage) {
      taken_.derived.push_back({entry.kind, entry.file, covers, entry.lineage});
      return true;
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruption && error.os_error() != ENOENT) throw;
  }
  forget({kind.name, kind.fix_name});
  return false;
}

void Taker::take_short_codes(const ManifestDerived& entry) {
  if (entry.lineage == 0) {  // there are to be none
    taken_.derived.push_back(entry);
    return;
  }
  const auto info = files_.info(what_.from + "/" + kReductionName);
  if (!info) return;
  bool taken = false;
  try {
    take(kReductionName, info->size);
    taken = take_codes(entry, kShortCodes);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruption && error.os_error() != ENOENT) throw;
  }
  if (!taken) forget({kReductionName});
}

void Taker::take_graph(const ManifestDerived& entry) {
  const auto info = files_.info(what_.from + "/" + kGraphName);
  if (!info || entry.covers_rows > what_.state.published_rows) return;
  try {
    take(kGraphName, info->size);
    taken_.derived.push_back(entry);  // one of another lineage is not used
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruption && error.os_error() != ENOENT) throw;
    forget({kGraphName});
  }
}

}  // namespace

TakenFiles take_generation(FileSystem& files, const GenerationFiles& what) {
  Taker taker(files, what);
  const std::uint64_t dim = what.manifest->spaces[0].dimension;
  const std::uint64_t rows = what.state.published_rows;
  if (dim == 0) return taker.result();
  taker.take("vectors.bin", kHeaderPageBytes + rows * dim * sizeof(float), true);
  taker.take("rows.fix", rows * sizeof(RowFix));
  taker.take("ids.bin", what.state.id_bytes);
  taker.take("ids.fix", rows * sizeof(IdFix));
  for (const ManifestDerived& entry : what.manifest->derived) {
    if (entry.kind == kUsualCodes.derived) taker.take_codes(entry, kUsualCodes);
    if (entry.kind == kShortCodes.derived) taker.take_short_codes(entry);
    if (entry.kind == kDerivedGraph) taker.take_graph(entry);
  }
  return taker.result();
}

}  // namespace srvdb
