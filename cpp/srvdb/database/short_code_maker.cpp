#include "srvdb/database/short_code_maker.h"

#include <algorithm>
#include <utility>

#include "srvdb/base/bytes.h"
#include "srvdb/base/error.h"
#include "srvdb/index/short_code_trial.h"

namespace srvdb {
namespace {

constexpr const char* kTemporaryName = "reduction.bin.tmp";
constexpr std::size_t kRepeat = 4;        // times the rows: decided anew
constexpr std::size_t kRepeatAsked = 2;   // likewise in optimize()
constexpr Row kDriftPart = 4;             // or when so large a part, 1 / 4, came since,
constexpr double kDrift = 0.05;           //   of which components hold so much less
constexpr double kLeastAgreement = 0.95;  // of try_short_codes(), and of near rows by try_signs(),
constexpr double kMostFarPass = 0.35;     //   of which far ones must not pass more often

std::atomic<Row> g_least_rows{ShortCodeMaker::kLeastRows};

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

ShortCoder read_short_coder(FileSystem& files, const std::string& directory,
                            const StridedHeader& codes, std::size_t dim, Metric metric) {
  const std::unique_ptr<File> file = files.open(directory + "/" + kReductionName, OpenMode::kRead);
  std::string bytes(std::min<std::uint64_t>(file->size(), ShortCoder::kMostBytes), '\0');
  file->pread_exactly(bytes.data(), bytes.size(), 0);
  if (last_crc(bytes) != origin_of(codes).crc) {
    throw Error(ErrorCode::kCorruption,
                file->path() + " is not what " + kShortCodes.name + " was made by");
  }
  ShortCoder out = ShortCoder::from_bytes(as_byte_span(bytes), dim, metric);
  if (codes.stride != out.stride() || codes.dimension != out.code_bytes()) {
    throw Error(ErrorCode::kCorruption, file->path() + ": expected short codes of " +
                                            std::to_string(codes.dimension) + " bytes, got " +
                                            std::to_string(out.code_bytes()));
  }
  return out;
}

void set_least_short_coded_rows_for_tests(Row rows) {
  g_least_rows = rows;
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
  auto coder = std::make_shared<const ShortCoder>(
      read_short_coder(files_, config_.directory, made->header(), config_.dim, config_.metric));
  part_ = made->part();
  coder_ = std::move(coder);
  made_ = std::move(made);
  decided_rows_ = origin_of(made_->header()).decided_rows;
}

void ShortCodeMaker::forget() {
  decided_rows_ = 0;
  given_up_ = false;
  unsaved_ = false;
  coder_ = nullptr;
  made_ = nullptr;
  part_ = nullptr;
  held_ = {};
  held_rows_ = 0;
}

void ShortCodeMaker::give_up(Row rows) {
  forget();
  decided_rows_ = rows;
  given_up_ = true;
}

bool ShortCodeMaker::due(Row rows, bool asked, std::size_t scratch) const noexcept {
  if (rows < g_least_rows.load(std::memory_order_relaxed) ||
      !(may_have_components(scratch) || SignQuantizer::possible(config_.dim))) {
    return false;
  }
  // Components could not be tried against what else there may be.
  if (coder_ && coder_->components() != nullptr && !may_have_components(scratch)) return false;
  return drifted(rows) ||
         rows / (asked ? kRepeatAsked : kRepeat) >= std::max<Row>(decided_rows_, 1);
}

bool ShortCodeMaker::may_have_components(std::size_t scratch) const noexcept {
  return Reduction::possible(config_.dim) && scratch >= Reduction::training_bytes(config_.dim);
}

// Whether so many rows came since that the decision may no longer hold.
bool ShortCodeMaker::drifted(Row rows) const noexcept {
  return made_ && held_rows_ >= rows / kDriftPart &&
         (coder_->signs() != nullptr || held_.share() < Reduction::kLeastShare - kDrift);
}

void ShortCodeMaker::decide(const View& view, const CodesView& codes,
                            const ScalarQuantizer& quantizer, Row rows, std::size_t scratch,
                            Interrupt* interrupt) {
  const RowsView stored = view.rows_view();
  const auto pay = [&](const SignQuantizer& signs) {
    const SignAgreement agreement = try_signs(signs, stored, codes, quantizer, rows, interrupt);
    return agreement.near_pass >= kLeastAgreement && agreement.far_pass <= kMostFarPass;
  };
  if (drifted(rows) && coder_->signs() != nullptr && pay(*coder_->signs())) {
    held_rows_ = 0;
    decided_rows_ = rows;
    return;
  }
  std::vector<Row> sample;
  std::vector<const float*> at;
  const auto stride = static_cast<Row>((rows + Reduction::kSample - 1) / Reduction::kSample);
  for (Row first = 0; first < rows; first += stride) {
    // Anywhere within its stride: rows may alternate.
    const Row row = std::min(rows - 1, first + (first * 2654435761U >> 8) % stride);
    stored.verify(row);
    sample.push_back(row);
    at.push_back(stored.row(row));
  }
  std::optional<ShortCoder> coder;
  if (may_have_components(scratch)) {
    auto reduction = Reduction::train(at, config_.dim, config_.metric, interrupt);
    if (reduction && try_short_codes(*reduction, stored, codes, quantizer, rows, sample,
                                     interrupt) >= kLeastAgreement) {
      coder.emplace(std::move(*reduction));
    }
  }
  if (!coder && SignQuantizer::possible(config_.dim)) {
    auto signs = SignQuantizer::train(at, config_.dim, config_.metric);
    if (pay(signs)) coder.emplace(std::move(signs));
  }
  forget();
  if (!coder) {
    for (const char* name : {kShortCodes.name, kShortCodes.fix_name, kReductionName}) {
      if (files_.exists(path(name))) files_.remove(path(name));
    }
    unsaved_ = true;
  } else {
    // First of all the codes that something else has made go.
    const std::string bytes = coder->to_bytes();
    auto made = CodeFiles::create(files_, config_.directory, kShortCodes,
                                  header(*coder, config_.generation, bytes, rows));
    write_coder(config_.directory, bytes);
    part_ = made->part();
    coder_ = std::make_shared<const ShortCoder>(std::move(*coder));
    made_ = std::move(made);
  }
  decided_rows_ = rows;
}

void ShortCodeMaker::follow(const View& view, Row last, std::size_t threads, Interrupt* interrupt) {
  struct Worker {
    ShortCoder::Scratch scratch;
    Reduction::Held held;
  };
  std::vector<Worker> workers(std::max<std::size_t>(threads, 1));
  const Row before = made_->rows();
  made_->append(view, made_->piece_end(last), threads, interrupt,
                [&](const float* row, std::uint8_t* code, std::size_t thread) {
                  Worker& worker = workers[thread];
                  coder_->encode(row, worker.scratch, code, worker.held);
                  return 0.0F;
                });
  part_ = made_->part();
  if (before < decided_rows_) {  // the first time
    if (made_->rows() >= decided_rows_) unsaved_ = true;
    return;
  }
  for (const Worker& worker : workers) {
    held_.all += worker.held.all;
    held_.components += worker.held.components;
  }
  held_rows_ += made_->rows() - before;
}

void ShortCodeMaker::show(IndexView& out) const {
  out.short_decided = given_up_ ? 0 : decided_rows_;
  if (!part_) return;
  out.short_codes = part_;
  out.short_coder = coder_;
}

std::optional<ManifestDerived> ShortCodeMaker::save(Row published) {
  unsaved_ = false;
  if (made_) return made_->save(published);
  if (decided_rows_ == 0 || given_up_) return std::nullopt;
  return ManifestDerived{kShortCodes.derived, "", decided_rows_, 0};
}

std::optional<ManifestDerived> ShortCodeMaker::copy(const IndexView& index,
                                                    const std::string& directory,
                                                    std::uint64_t generation,
                                                    const RowMapping& mapping,
                                                    Interrupt* interrupt) const {
  const Row decided = std::min<Row>(index.short_decided, mapping.kept_below(mapping.old_rows()));
  if (decided == 0) return std::nullopt;
  if (!index.short_codes) return ManifestDerived{kShortCodes.derived, "", decided, 0};
  const std::string bytes = index.short_coder->to_bytes();
  const ManifestDerived out = CodeFiles::copy(
      files_, directory, kShortCodes, header(*index.short_coder, generation, bytes, decided),
      *index.short_codes, mapping, interrupt);
  write_coder(directory, bytes);
  return out;
}

void ShortCodeMaker::write_coder(const std::string& directory, const std::string& bytes) const {
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

StridedHeader ShortCodeMaker::header(const ShortCoder& coder, std::uint64_t generation,
                                     const std::string& bytes, Row decided) const {
  StridedHeader out;
  out.kind = StridedKind::kCodes;
  out.uuid = config_.uuid;
  out.generation = generation;
  out.lineage = random_u64();
  out.dimension = static_cast<std::uint32_t>(coder.code_bytes());
  out.stride = static_cast<std::uint32_t>(coder.stride());
  out.opaque = to_bytes({.crc = last_crc(bytes), .decided_rows = decided});
  return out;
}

}  // namespace srvdb
