#include "srvdb/database/short_code_maker.h"

#include <algorithm>
#include <utility>

#include "srvdb/base/bytes.h"
#include "srvdb/base/error.h"

namespace srvdb {
namespace {

constexpr const char* kTemporaryName = "reduction.bin.tmp";
constexpr std::size_t kRepeat = 4;       // times the rows: decided anew
constexpr std::size_t kRepeatAsked = 2;  // likewise in optimize()

// In the header of short.i8: what they were made by, and when.
struct Origin {
  std::uint32_t crc = 0;  // with which reduction.bin ends
  Row decided_rows = 0;
};

std::string to_bytes(const Origin& origin) {
  std::string out;
  put_all(out, origin.crc, origin.decided_rows);
  return out;
}

std::uint32_t last_crc(const std::string& reduction) noexcept {
  const std::size_t size = reduction.size();
  return size < sizeof(std::uint32_t)
             ? 0
             : load<std::uint32_t>(reduction.data() + size - sizeof(std::uint32_t));
}

Origin origin_of(const StridedHeader& header) {
  ByteReader reader(as_byte_span(header.opaque));
  Origin out;
  out.crc = reader.get<std::uint32_t>();
  out.decided_rows = reader.get<Row>();
  return out;
}

}  // namespace

Reduction read_reduction(FileSystem& files, const std::string& directory,
                         const StridedHeader& codes, std::size_t dim, Metric metric) {
  const std::unique_ptr<File> file = files.open(directory + "/" + kReductionName, OpenMode::kRead);
  std::string bytes(std::min<std::uint64_t>(file->size(), Reduction::kMostBytes), '\0');
  file->pread_exactly(bytes.data(), bytes.size(), 0);
  if (last_crc(bytes) != origin_of(codes).crc) {
    throw Error(ErrorCode::kCorruption,
                file->path() + " is not what " + kShortCodes.name + " was made by");
  }
  Reduction out = Reduction::from_bytes(as_byte_span(bytes), dim, metric);
  if (codes.stride != out.stride() || codes.dimension != out.components()) {
    throw Error(ErrorCode::kCorruption, file->path() + ": expected " +
                                            std::to_string(codes.dimension) + " components, got " +
                                            std::to_string(out.components()));
  }
  return out;
}

ShortCodeMaker::ShortCodeMaker(FileSystem& files, Config config)
    : files_(files), config_(std::move(config)) {}

void ShortCodeMaker::load(const ManifestDerived& entry, Row rows) {
  if (entry.lineage == 0) {
    decided_rows_ = entry.covers_rows;
    return;
  }
  // As with codes.i8: after a crash there may be others than the manifest names.
  if (!files_.exists(path(kReductionName))) return;
  std::unique_ptr<CodeFiles> made =
      CodeFiles::open(files_, config_.directory, kShortCodes, entry, rows, config_.uuid,
                      config_.generation, config_.read_only);
  if (!made) return;
  auto reduction = std::make_shared<const Reduction>(
      read_reduction(files_, config_.directory, made->header(), config_.dim, config_.metric));
  reduction_ = std::move(reduction);
  made_ = std::move(made);
  decided_rows_ = origin_of(made_->header()).decided_rows;
}

void ShortCodeMaker::forget() {
  decided_rows_ = 0;
  reduction_ = nullptr;
  made_ = nullptr;
}

bool ShortCodeMaker::due(Row rows, bool asked, std::size_t scratch) const noexcept {
  if (rows < kLeastRows || !Reduction::possible(config_.dim) ||
      scratch < Reduction::training_bytes(config_.dim)) {
    return false;
  }
  return rows / (asked ? kRepeatAsked : kRepeat) >= std::max<Row>(decided_rows_, 1);
}

void ShortCodeMaker::decide(const View& view, Row rows, std::size_t threads, Interrupt* interrupt) {
  const RowsView stored = view.rows_view();
  std::vector<const float*> sample;
  const Row step = std::max<Row>(1, rows / static_cast<Row>(Reduction::kSample));
  for (Row r = 0; r < rows; r += step) {
    stored.verify(r);
    sample.push_back(stored.row(r));
  }
  auto reduction = Reduction::train(sample, config_.dim, config_.metric, interrupt);
  if (!reduction) {
    forget();
    for (const char* name : {kShortCodes.name, kShortCodes.fix_name, kReductionName}) {
      if (files_.exists(path(name))) files_.remove(path(name));
    }
    decided_rows_ = rows;
    return;
  }
  forget();
  const std::string bytes = reduction->to_bytes();
  write_reduction(config_.directory, bytes);
  reduction_ = std::make_shared<const Reduction>(std::move(*reduction));
  made_ = CodeFiles::create(files_, config_.directory, kShortCodes,
                            header(*reduction_, config_.generation, bytes, rows));
  try {
    while (made_->rows() < rows) {
      check(interrupt);
      follow(view, rows, threads, interrupt);
    }
  } catch (...) {
    forget();
    throw;
  }
  decided_rows_ = rows;
}

void ShortCodeMaker::follow(const View& view, Row last, std::size_t threads, Interrupt* interrupt) {
  std::vector<Reduction::Scratch> scratch(std::max<std::size_t>(threads, 1));
  made_->append(view, made_->piece_end(last), threads, interrupt,
                [&](const float* row, std::uint8_t* code, std::size_t thread) {
                  reduction_->encode(row, scratch[thread], code);
                  return 0.0F;
                });
}

void ShortCodeMaker::show(IndexView& out) {
  if (!made_) return;
  out.short_codes = made_->part();
  out.reduction = reduction_;
}

std::optional<ManifestDerived> ShortCodeMaker::save(Row published) {
  if (made_) return made_->save(published);
  if (decided_rows_ == 0) return std::nullopt;
  return ManifestDerived{kShortCodes.derived, "", decided_rows_, 0};
}

std::optional<ManifestDerived> ShortCodeMaker::copy(const IndexView& index,
                                                    const std::string& directory,
                                                    std::uint64_t generation,
                                                    const RowMapping& mapping,
                                                    Interrupt* interrupt) const {
  const Row decided = std::min<Row>(decided_rows_, mapping.kept_below(mapping.old_rows()));
  if (decided == 0) return std::nullopt;
  if (!index.short_codes) return ManifestDerived{kShortCodes.derived, "", decided, 0};
  const std::string bytes = index.reduction->to_bytes();
  write_reduction(directory, bytes);
  return CodeFiles::copy(files_, directory, kShortCodes,
                         header(*index.reduction, generation, bytes, decided), *index.short_codes,
                         mapping, interrupt);
}

void ShortCodeMaker::write_reduction(const std::string& directory, const std::string& bytes) const {
  const std::string temporary = directory + "/" + kTemporaryName;
  {
    const std::unique_ptr<File> file = files_.open(temporary, OpenMode::kCreate);
    file->truncate(0);
    file->pwrite(bytes.data(), bytes.size(), 0);
    file->sync_data();
  }
  files_.rename(temporary, directory + "/" + kReductionName);
  files_.sync_dir(directory);
}

StridedHeader ShortCodeMaker::header(const Reduction& reduction, std::uint64_t generation,
                                     const std::string& bytes, Row decided) const {
  StridedHeader out;
  out.kind = StridedKind::kCodes;
  out.uuid = config_.uuid;
  out.generation = generation;
  out.lineage = random_u64();
  out.dimension = static_cast<std::uint32_t>(reduction.components());
  out.stride = static_cast<std::uint32_t>(reduction.stride());
  out.opaque = to_bytes({.crc = last_crc(bytes), .decided_rows = decided});
  return out;
}

}  // namespace srvdb
