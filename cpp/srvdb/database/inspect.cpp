#include "srvdb/database/inspect.h"

#include <algorithm>
#include <charconv>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/database/options.h"
#include "srvdb/index/graph_file.h"

namespace srvdb {

namespace {

constexpr std::size_t kChunkRows = 65'536;
constexpr std::size_t kQuantizerMetricAt = 4;  // in the opaque bytes of codes.i8
constexpr std::uint8_t kFloat32 = 1;

std::optional<StridedHeader> header_of(FileSystem& files, const std::string& path) {
  const MappedFile file(files, path);
  if (file.bytes().size() < kHeaderPageBytes) return std::nullopt;
  try {
    return decode_strided_header(file.bytes().first(kHeaderPageBytes), path);
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::optional<GraphImageHeader> graph_header_of(FileSystem& files, const std::string& path) {
  const MappedFile file(files, path);
  if (file.bytes().empty()) return std::nullopt;
  try {
    return read_graph_header(file.bytes(), path);
  } catch (const Error&) {
    return std::nullopt;
  }
}

// The stride at which the first rows' checksums hold, when the header is lost. Both files hold the
// same rows, so it is nearly always the one that their lengths give.
std::optional<std::uint32_t> stride_by_lengths(FileSystem& files, const std::string& directory) {
  const MappedFile data(files, directory + "/vectors.bin");
  const std::uint64_t rows = MappedFile(files, directory + "/rows.fix").bytes().size() / 8;
  if (rows == 0 || data.bytes().size() <= kHeaderPageBytes) return std::nullopt;
  const std::uint64_t stride = (data.bytes().size() - kHeaderPageBytes) / rows / 4 * 4;
  if (stride == 0 || stride > 4 * kMaxDimension) return std::nullopt;
  const RawRows raw(files, directory + "/vectors.bin", directory + "/rows.fix",
                    static_cast<std::size_t>(stride));
  for (Row row = 0; row < std::min<Row>(raw.rows(), 100); ++row) {
    if (raw.is_good(row)) return static_cast<std::uint32_t>(stride);
  }
  return std::nullopt;
}

std::optional<std::uint64_t> generation_of(const std::string& name) {
  constexpr std::string_view kPrefix = "gen-";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::uint64_t number = 0;
  const char* const end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + kPrefix.size(), end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return number;
}

}  // namespace

MappedFile::MappedFile(FileSystem& files, const std::string& path) : path_(path) {
  exists_ = files.exists(path);
  if (!exists_) return;
  const auto file = files.open(path, OpenMode::kRead);
  const auto size = static_cast<std::size_t>(file->size());
  if (size == 0) return;
  mapping_ = file->map(size);
  bytes_ = {mapping_->data(), size};
}

RawRows::RawRows(FileSystem& files, const std::string& data_path, const std::string& fix_path,
                 std::size_t stride)
    : data_(files, data_path), fixes_(files, fix_path), stride_(stride) {
  const std::size_t size = data_.bytes().size();
  const std::size_t by_data = size < kHeaderPageBytes ? 0 : (size - kHeaderPageBytes) / stride;
  const std::size_t by_fixes = fixes_.bytes().size() / sizeof(RowFix);
  rows_ = static_cast<Row>(std::min({by_data, by_fixes, std::size_t{kMaxRows}}));
}

ByteSpan RawRows::row(Row row) const noexcept {
  return data_.bytes().subspan(row_offset(row), stride_);
}

RowFix RawRows::fix(Row row) const noexcept {
  return load<RowFix>(fixes_.bytes().data() + fix_offset(row));
}

bool RawRows::is_good(Row row) const noexcept {
  const RowFix expected = fix(row);
  return make_fix(this->row(row), expected.value).crc == expected.crc;
}

std::uint64_t RawRows::row_offset(Row row) const noexcept {
  return kHeaderPageBytes + std::uint64_t{row} * stride_;
}

std::uint64_t RawRows::fix_offset(Row row) noexcept {
  return std::uint64_t{row} * sizeof(RowFix);
}

RawIds::RawIds(FileSystem& files, const std::string& directory)
    : bytes_(files, directory + "/ids.bin"), fixes_(files, directory + "/ids.fix") {
  rows_ = static_cast<Row>(
      std::min<std::size_t>(fixes_.bytes().size() / sizeof(IdFix), std::size_t{kMaxRows}));
}

IdFix RawIds::fix(Row row) const noexcept {
  return load<IdFix>(fixes_.bytes().data() + std::size_t{row} * sizeof(IdFix));
}

std::optional<std::string_view> RawIds::id(Row row) const noexcept {
  if (row >= rows_) return std::nullopt;
  const IdFix fix = this->fix(row);
  const std::size_t size = bytes_.bytes().size();
  if (fix.length == 0 || fix.length > kMaxIdBytes || fix.zero != 0 || fix.offset > size ||
      fix.length > size - fix.offset) {
    return std::nullopt;
  }
  const std::string_view id = as_text(bytes_.bytes().subspan(fix.offset, fix.length));
  if (make_id_fix(row, fix.offset, id).crc != fix.crc) return std::nullopt;
  return id;
}

std::uint64_t RowBits::count() const noexcept {
  return static_cast<std::uint64_t>(std::count(bits_.begin(), bits_.end(), true));
}

std::optional<std::uint64_t> RowBits::set_chunk(std::uint32_t number, ByteSpan bits) {
  std::optional<std::uint64_t> beyond;
  for (std::size_t i = 0; i < bits.size() * 8; ++i) {
    if ((bits[i / 8] >> (i % 8) & 1) == 0) continue;
    const std::uint64_t row = std::uint64_t{number} * kChunkRows + i;
    if (row < bits_.size()) {
      bits_[static_cast<std::size_t>(row)] = true;
    } else if (!beyond) {
      beyond = row;
    }
  }
  return beyond;
}

void RowBits::for_each_chunk(
    const std::function<void(std::uint32_t number, ByteSpan bits)>& chunk) const {
  std::vector<std::uint8_t> bytes(kChunkRows / 8);
  for (std::size_t first = 0; first < bits_.size(); first += kChunkRows) {
    std::fill(bytes.begin(), bytes.end(), std::uint8_t{0});
    bool any = false;
    const std::size_t end = std::min(first + kChunkRows, bits_.size());
    for (std::size_t row = first; row < end; ++row) {
      if (!bits_[row]) continue;
      any = true;
      bytes[(row - first) / 8] =
          static_cast<std::uint8_t>(bytes[(row - first) / 8] | 1u << (row - first) % 8);
    }
    if (any) chunk(static_cast<std::uint32_t>(first / kChunkRows), bytes);
  }
}

std::optional<GuessedManifest> guess_manifest(FileSystem& files, const std::string& path) {
  std::uint64_t generation = 0;
  for (const std::string& name : files.list_dir(path)) {
    const auto number = generation_of(name);
    const std::string store = path + "/" + name + "/metadata.db";
    if (number && *number > generation && files.exists(store)) generation = *number;
  }
  if (generation == 0) return std::nullopt;
  const std::string directory = path + "/" + generation_directory(generation);
  const auto vectors = header_of(files, directory + "/vectors.bin");
  const auto codes = header_of(files, directory + "/codes.i8");
  const auto graph = graph_header_of(files, directory + "/graph.hnsw");
  GuessedManifest guess;
  Manifest& manifest = guess.manifest;
  manifest.generation = generation;
  manifest.mode = static_cast<std::uint8_t>(Mode::kAuto) + 1;
  manifest.m = graph ? graph->params.m : kDefaultM;
  manifest.ef_construction = graph ? graph->params.ef_construction : kDefaultEfConstruction;
  std::uint32_t dimension = 0;
  if (vectors) {
    dimension = vectors->dimension;
  } else if (codes) {
    dimension = codes->dimension;
  } else if (const auto stride = stride_by_lengths(files, directory)) {
    dimension = *stride / 4;
  }
  if (dimension == 0) return std::nullopt;
  if (vectors || codes) manifest.uuid = vectors ? vectors->uuid : codes->uuid;
  std::uint8_t metric = static_cast<std::uint8_t>(Metric::kCosine);
  if (graph) {
    metric = static_cast<std::uint8_t>(graph->params.metric);
    guess.metric_known = true;
  } else if (codes && codes->opaque.size() > kQuantizerMetricAt &&
             static_cast<std::uint8_t>(codes->opaque[kQuantizerMetricAt]) < 3) {
    metric = static_cast<std::uint8_t>(codes->opaque[kQuantizerMetricAt]);
    guess.metric_known = true;
  }
  manifest.spaces = {{"default", kFloat32, static_cast<std::uint8_t>(metric + 1), dimension}};
  return guess;
}

}  // namespace srvdb
