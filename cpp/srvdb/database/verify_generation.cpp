// verify(): one generation directory.

#include <algorithm>
#include <bit>
#include <cstring>

#include "srvdb/base/crc32c.h"
#include "srvdb/base/error.h"
#include "srvdb/database/batch_check.h"
#include "srvdb/database/short_code_maker.h"
#include "srvdb/database/verify_parts.h"
#include "srvdb/distance/metric.h"
#include "srvdb/index/graph_file.h"
#include "srvdb/quant/scalar_quantizer.h"

namespace srvdb {

namespace {

constexpr Row kRowsBetweenChecks = 4096;
// Checksums that differ in few bits differ because one of them was changed, not what they cover.
constexpr int kFewBits = 8;

std::string row_text(Row row) {
  return "row " + std::to_string(row);
}

}  // namespace

GenerationCheck::GenerationCheck(FileSystem& files, std::string directory, const Manifest& manifest,
                                 const VerifyOptions& options, ProblemList& problems)
    : files_(files),
      directory_(std::move(directory)),
      manifest_(manifest),
      options_(options),
      problems_(problems) {}

void GenerationCheck::run() {
  PageWalk walk(files_, path("metadata.db"),
                [&](const std::string& file, std::uint64_t offset, const std::string& what) {
                  problems_.add(file, offset, what);
                });
  problems_.count_file();
  problems_.count_file();
  walk.walk("s", [&](const PageWalk::Entry& entry) {
    if (as_text(entry.key) != kMetaStateKey) return;
    if (const auto state = decode_meta_state(entry.bytes)) {
      state_ = *state;
    } else {
      problems_.add(path("metadata.db"), entry.offset, "the state is not what it can be");
    }
  });
  if (dimension() != 0) {
    rows_ = std::make_unique<RawRows>(files_, path("vectors.bin"), path("rows.fix"),
                                      dimension() * sizeof(float));
    ids_ = std::make_unique<RawIds>(files_, directory_);
    const std::uint64_t rows = state_.published_rows;
    check_header();
    check_length(rows_->data(), kHeaderPageBytes + rows * rows_->stride());
    check_length(rows_->fixes(), rows * sizeof(RowFix));
    check_length(ids_->bytes(), state_.id_bytes);
    check_length(ids_->fixes(), rows * sizeof(IdFix));
  } else if (state_.published_rows != 0) {
    problems_.add(path("metadata.db"), 0,
                  std::to_string(state_.published_rows) +
                      " rows are published, and the manifest knows no dimension");
  }
  if (options_.deep) {
    if (rows_) {
      check_row_sums();
      check_id_sums();
    }
    check_store(walk);
  }
  if (rows_) check_derived();
}

// ---- rows and ids -------------------------------------------------------------------------------

bool GenerationCheck::check_length(const MappedFile& file, std::uint64_t expected) {
  problems_.count_file();
  if (!file.exists()) {
    problems_.add(file.path(), 0, "is missing");
    return false;
  }
  if (file.bytes().size() >= expected) return true;
  problems_.add(file.path(), file.bytes().size(),
                "is too short: expected at least " + std::to_string(expected) + " bytes, got " +
                    std::to_string(file.bytes().size()));
  return false;
}

void GenerationCheck::check_header() {
  const MappedFile& file = rows_->data();
  if (file.bytes().size() < kHeaderPageBytes) return;  // told by its length
  try {
    const StridedHeader header =
        decode_strided_header(file.bytes().first(kHeaderPageBytes), file.path());
    if (header.kind != StridedKind::kVectors || header.uuid != manifest_.uuid ||
        header.generation != manifest_.generation || header.dimension != dimension() ||
        header.stride != rows_->stride()) {
      problems_.add(file.path(), 0,
                    "belongs to another database or generation, or the manifest does");
    }
  } catch (const Error& error) {
    problems_.add(file.path(), 0, error.what());
  }
}

void GenerationCheck::check_row_sums() {
  const Row rows = std::min<Row>(rows_->rows(), state_.published_rows);
  for (Row row = 0; row < rows; ++row) {
    if (row % kRowsBetweenChecks == 0) {
      check(options_.interrupt);
      if (options_.progress) options_.progress(row, rows);
    }
    if (!rows_->is_good(row)) tell_bad_row(row);
  }
  if (options_.progress && rows > 0) options_.progress(rows, rows);
}

// A row and its entry in rows.fix do not go together. Which of the two was changed shows in the
// norm that the entry holds, and in how far the checksums are apart.
void GenerationCheck::tell_bad_row(Row row) {
  const RowFix fix = rows_->fix(row);
  std::vector<float> values(dimension());
  std::memcpy(values.data(), rows_->row(row).data(), rows_->stride());
  const RowCheck checked = check_row(values.data(), values.size());
  const bool finite = checked.first_bad < 0;
  const float norm = finite ? round_up_to_float(checked.norm) : 0;
  const bool same_norm =
      std::bit_cast<std::uint32_t>(norm) == std::bit_cast<std::uint32_t>(fix.value);
  const std::uint32_t crc = make_fix(rows_->row(row), norm).crc;
  const bool empty = fix.crc == 0 && fix.value == 0;
  const bool in_fix = (finite && crc == fix.crc) || empty ||
                      (same_norm && std::popcount(crc ^ fix.crc) <= kFewBits);
  const std::string data = problems_.shown(rows_->data().path());
  const std::string fixes = problems_.shown(rows_->fixes().path());
  if (in_fix) {
    problems_.add(rows_->fixes().path(), RawRows::fix_offset(row),
                  "the checksum of " + row_text(row) + " is not what was written");
  } else {
    problems_.add(rows_->data().path(), rows_->row_offset(row),
                  row_text(row) + " is not what was written, or its checksum at offset " +
                      std::to_string(RawRows::fix_offset(row)) + " of " + fixes + " is not");
  }
}

void GenerationCheck::check_id_sums() {
  const Row rows = std::min<Row>(ids_->rows(), state_.published_rows);
  for (Row row = 0; row < rows; ++row) {
    if (row % kRowsBetweenChecks == 0) check(options_.interrupt);
    if (!ids_->id(row)) tell_bad_id(row);
  }
}

// Ids lie without a gap, so an entry of ids.fix that does not join its neighbours was changed.
void GenerationCheck::tell_bad_id(Row row) {
  const IdFix fix = ids_->fix(row);
  const IdFix before = row > 0 ? ids_->fix(row - 1) : IdFix{};
  const bool joins = fix.offset == before.offset + before.length && fix.zero == 0 &&
                     fix.length != 0 && fix.length <= kMaxIdBytes;
  const std::size_t size = ids_->bytes().bytes().size();
  bool in_fix = !joins;
  if (joins && fix.offset <= size && fix.length <= size - fix.offset) {
    const std::string_view id = as_text(ids_->bytes().bytes().subspan(fix.offset, fix.length));
    in_fix = std::popcount(make_id_fix(row, fix.offset, id).crc ^ fix.crc) <= kFewBits;
  }
  const std::uint64_t at = std::uint64_t{row} * sizeof(IdFix);
  if (in_fix) {
    problems_.add(ids_->fixes().path(), at,
                  "the entry of the id of " + row_text(row) + " is not what was written");
  } else {
    problems_.add(ids_->bytes().path(), fix.offset,
                  "the id of " + row_text(row) + " is not what was written, or its checksum " +
                      "at offset " + std::to_string(at) + " of " +
                      problems_.shown(ids_->fixes().path()) + " is not");
  }
}

// ---- the store ----------------------------------------------------------------------------------

void GenerationCheck::check_store(PageWalk& walk) {
  gone_ = RowBits(state_.published_rows);
  soft_ = RowBits(state_.published_rows);
  found_ = RowBits(state_.published_rows);
  read_bits(walk);
  check_ids_tree(walk);
  check_other_trees(walk);
  check_columns(walk);
}

void GenerationCheck::read_bits(PageWalk& walk) {
  const std::string store = path("metadata.db");
  walk.walk("bd", [&](const PageWalk::Entry& entry) {
    if (entry.key.size() != 4 || entry.bytes.size() != kChunkBytes) {
      return problems_.add(store, entry.offset, "a chunk of bits is not what it can be");
    }
    RowBits& bits = entry.tree == 'd' ? gone_ : soft_;
    const auto beyond = bits.set_chunk(load<std::uint32_t>(entry.key.data()), entry.bytes);
    if (beyond) {
      problems_.add(store, entry.offset,
                    "row " + std::to_string(*beyond) + " is marked as gone or deleted, of " +
                        std::to_string(state_.published_rows) + " rows");
    }
  });
  std::uint64_t hidden = 0;
  for (Row row = 0; row < state_.published_rows; ++row) {
    const bool gone = gone_.test(row);
    const bool soft = soft_.test(row);
    hidden += gone || soft ? 1 : 0;
    if (gone && soft) {
      problems_.add(store, 0, row_text(row) + " is marked as gone and as soft-deleted");
    }
  }
  if (state_.published_rows - hidden != state_.live_count && walk.is_sound()) {
    problems_.add(store, 0,
                  "expected " + std::to_string(state_.live_count) +
                      " live rows, the bits of gone and deleted ones leave " +
                      std::to_string(state_.published_rows - hidden));
  }
}

void GenerationCheck::check_ids_tree(PageWalk& walk) {
  std::string last;
  bool first = true;
  walk.walk("i", [&](const PageWalk::Entry& entry) {
    check(options_.interrupt);
    if (!first && as_text(entry.key) <= last) {
      problems_.add(path("metadata.db"), entry.offset,
                    "ids are out of order at " + quoted(as_text(entry.key)));
    }
    first = false;
    last = as_text(entry.key);
    check_id_entry(entry);
  });
  std::uint64_t lost = 0;
  Row example = 0;
  for (Row row = 0; row < state_.published_rows; ++row) {
    if (gone_.test(row) || found_.test(row)) continue;
    if (lost++ == 0) example = row;
  }
  if (lost == 0) return;
  const auto id = ids_ ? ids_->id(example) : std::nullopt;
  problems_.add(path("metadata.db"), 0,
                std::to_string(lost) + " rows are not gone and no id leads to them; the first is " +
                    row_text(example) + (id ? " of id " + quoted(*id) : ""));
}

void GenerationCheck::check_id_entry(const PageWalk::Entry& entry) {
  const auto tell = [&](const std::string& what) {
    problems_.add(path("metadata.db"), entry.offset,
                  "id " + quoted(as_text(entry.key)) + " " + what);
  };
  if (entry.bytes.size() != sizeof(Row)) return tell("has a value that cannot be");
  const Row row = load<Row>(entry.bytes.data());
  if (row >= state_.published_rows) {
    return tell("leads to " + row_text(row) + ", of " + std::to_string(state_.published_rows));
  }
  if (found_.test(row)) tell("leads to " + row_text(row) + ", as another id does");
  found_.set(row);
  const auto id = ids_ ? ids_->id(row) : std::nullopt;
  if (id && *id != as_text(entry.key)) {
    tell("leads to " + row_text(row) + ", whose id is " + quoted(*id));
  }
}

// Metadata and expiry belong to rows that exist; each expiry stands in two trees; the change log is
// in order and not ahead of what is applied.
void GenerationCheck::check_other_trees(PageWalk& walk) {
  const std::string store = path("metadata.db");
  std::uint32_t by_row = 0;  // over the pairs, whatever their order
  std::uint32_t by_time = 0;
  Sequence last = 0;
  walk.walk("mlstu", [&](const PageWalk::Entry& entry) {
    const auto tell = [&](const std::string& what) { problems_.add(store, entry.offset, what); };
    const ByteSpan key = entry.key;
    if (entry.tree == 'm' || entry.tree == 't') {
      const Row row = key.size() == sizeof(Row) ? load<Row>(key.data()) : kNoRow;
      if (row >= state_.published_rows) tell("metadata or expiry of a row that does not exist");
    }
    if (entry.tree == 't' && entry.bytes.size() == 8 && key.size() == 4) {
      char pair[12];
      for (std::size_t i = 0; i < 8; ++i) pair[i] = static_cast<char>(entry.bytes[7 - i]);
      for (std::size_t i = 0; i < 4; ++i) pair[8 + i] = static_cast<char>(key[3 - i]);
      by_row ^= crc32c(pair, sizeof(pair), 1);
    }
    if (entry.tree == 'u') by_time ^= crc32c(key.data(), key.size(), 1);
    if (entry.tree == 'l') {
      const Sequence sequence = key.size() == 8 ? load<Sequence>(key.data()) : 0;
      if (sequence <= last) tell("entries of the change log are out of order");
      if (sequence > state_.applied_sequence) tell("an entry of the change log comes too early");
      last = std::max(last, sequence);
    }
  });
  if (by_row != by_time && walk.is_sound()) {
    problems_.add(store, 0, "rows that expire are not those whose expiry is kept");
  }
}

// ---- derived files ------------------------------------------------------------------------------

void GenerationCheck::derived(const std::string& name, std::uint64_t offset,
                              const std::string& what) {
  problems_.add(path(name), offset, what, Problem::Kind::kDerived);
}

void GenerationCheck::check_derived() {
  for (const ManifestDerived& entry : manifest_.derived) {
    if (entry.kind == kUsualCodes.derived) check_codes(entry, kUsualCodes);
    if (entry.kind == kShortCodes.derived && entry.lineage != 0) check_codes(entry, kShortCodes);
    if (entry.kind == kDerivedGraph) check_graph(entry);
  }
}

// That the header of codes, and what they are made by, are of this database.
void GenerationCheck::check_codes_header(const StridedHeader& header, const CodeKind& kind) {
  const bool usual = kind.derived == kUsualCodes.derived;
  if (header.kind != StridedKind::kCodes || header.uuid != manifest_.uuid ||
      header.generation != manifest_.generation || (usual && header.dimension != dimension())) {
    return derived(kind.name, 0, "belongs to another database or generation");
  }
  const auto metric = static_cast<Metric>(manifest_.spaces[0].metric - 1);
  if (usual) {
    ScalarQuantizer::from_bytes(as_byte_span(header.opaque), dimension(), metric);
    return;
  }
  problems_.count_file();
  if (!files_.exists(path(kReductionName))) {
    return problems_.add(path(kReductionName), 0, "is missing; short codes will be made again",
                         Problem::Kind::kUnfinished);
  }
  try {
    read_short_coder(files_, directory_, header, dimension(), metric);
  } catch (const Error& error) {
    derived(kReductionName, 0, error.what());
  }
}

void GenerationCheck::check_codes(const ManifestDerived& entry, const CodeKind& kind) {
  const MappedFile file(files_, path(kind.name));
  problems_.count_file();
  problems_.count_file();
  if (!file.exists() || !files_.exists(path(kind.fix_name))) {
    return problems_.add(path(file.exists() ? kind.fix_name : kind.name), 0,
                         "is missing; codes will be made again", Problem::Kind::kUnfinished);
  }
  StridedHeader header;
  try {
    if (file.bytes().size() < kHeaderPageBytes) {
      return derived(kind.name, file.bytes().size(), "is shorter than its header");
    }
    header = decode_strided_header(file.bytes().first(kHeaderPageBytes), file.path());
    if (header.lineage != entry.lineage) return;  // made anew since; not used
    check_codes_header(header, kind);
  } catch (const Error& error) {
    return derived(kind.name, 0, error.what());
  }
  const RawRows codes(files_, path(kind.name), path(kind.fix_name), header.stride);
  const Row covers = std::min<Row>(entry.covers_rows, state_.published_rows);
  if (codes.rows() < covers) {
    const bool short_data = codes.data().bytes().size() < codes.row_offset(covers);
    derived(short_data ? kind.name : kind.fix_name,
            short_data ? codes.data().bytes().size() : codes.fixes().bytes().size(),
            "is too short for " + std::to_string(covers) + " rows");
  }
  if (!options_.deep) return;
  for (Row row = 0; row < std::min(codes.rows(), covers); ++row) {
    if (row % kRowsBetweenChecks == 0) check(options_.interrupt);
    if (codes.is_good(row)) continue;
    const RowFix fix = codes.fix(row);
    const std::uint32_t crc = make_fix(codes.row(row), fix.value).crc;
    const bool in_fix = (fix.crc == 0 && fix.value == 0) || !(fix.value >= 0) ||
                        std::popcount(crc ^ fix.crc) <= kFewBits;
    derived(
        in_fix ? kind.fix_name : kind.name,
        in_fix ? RawRows::fix_offset(row) : codes.row_offset(row),
        "the code of " + row_text(row) +
            (in_fix ? std::string() : std::string(", or its checksum in ") + kind.fix_name + ",") +
            " is not what was written");
  }
}

void GenerationCheck::check_graph(const ManifestDerived& entry) {
  const MappedFile file(files_, path("graph.hnsw"));
  problems_.count_file();
  if (!file.exists()) {
    return problems_.add(path("graph.hnsw"), 0, "is missing; the graph will be built again",
                         Problem::Kind::kUnfinished);
  }
  GraphImageHeader header;
  try {
    header = read_graph_header(file.bytes(), file.path());
  } catch (const Error& error) {
    return derived("graph.hnsw", 0, error.what());
  }
  if (header.lineage != entry.lineage || !options_.deep) return;
  const ByteSpan padding =
      file.bytes().subspan(kGraphHeaderUsed, kGraphHeaderBytes - kGraphHeaderUsed);
  if (std::any_of(padding.begin(), padding.end(), [](std::uint8_t byte) { return byte != 0; })) {
    derived("graph.hnsw", kGraphHeaderUsed, "the header's padding is not zero");
  }
  const std::size_t words = header.params.node_words();
  std::vector<std::uint32_t> node(words);
  for (Row row = 0; row < header.covers_rows; ++row) {
    if (row % kRowsBetweenChecks == 0) check(options_.interrupt);
    const std::uint64_t at = kGraphHeaderBytes + std::uint64_t{row} * header.params.node_bytes();
    std::memcpy(node.data(), file.bytes().data() + at, words * sizeof(std::uint32_t));
    const std::uint32_t degree = std::min(node[1], header.params.bound());
    const bool inside = std::all_of(node.begin() + 2, node.begin() + 2 + degree,
                                    [&](Row link) { return link < header.covers_rows; });
    if (node[0] != node_crc(row, node.data(), words) || node[1] != degree || !inside) {
      derived("graph.hnsw", at, "the links of " + row_text(row) + " are not what was written");
    }
  }
}

}  // namespace srvdb
