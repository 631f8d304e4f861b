#include "srvdb/storage/row_files.h"

#include "srvdb/base/error.h"

namespace srvdb {

namespace {

ByteSpan bytes_of(std::span<const float> rows) noexcept {
  return {reinterpret_cast<const std::uint8_t*>(rows.data()), rows.size_bytes()};
}

}  // namespace

std::unique_ptr<RowFiles> RowFiles::create(FileSystem& files, const std::string& directory,
                                           const Uuid& uuid, std::uint64_t generation,
                                           std::uint32_t dimension) {
  StridedHeader header;
  header.kind = StridedKind::kVectors;
  header.uuid = uuid;
  header.generation = generation;
  header.dimension = dimension;
  header.stride = static_cast<std::uint32_t>(dimension * sizeof(float));
  auto vectors =
      StridedFile::create(files, directory + "/vectors.bin", directory + "/rows.fix", header);
  auto ids = IdFiles::create(files, directory + "/ids.bin", directory + "/ids.fix");
  return std::unique_ptr<RowFiles>(new RowFiles(std::move(vectors), std::move(ids)));
}

std::unique_ptr<RowFiles> RowFiles::open(FileSystem& files, const std::string& directory,
                                         const Uuid& uuid, std::uint64_t generation,
                                         std::uint32_t dimension, PublishedRows published,
                                         bool read_only) {
  const std::string path = directory + "/vectors.bin";
  auto vectors = StridedFile::open(files, path, directory + "/rows.fix", StridedKind::kVectors,
                                   published.rows, read_only);
  const StridedHeader& header = vectors->header();
  if (header.uuid != uuid || header.generation != generation || header.dimension != dimension ||
      header.stride != dimension * sizeof(float)) {
    throw Error(ErrorCode::kCorruption,
                path + " belongs to another database or generation: expected generation " +
                    std::to_string(generation) + " of dimension " + std::to_string(dimension) +
                    ", got generation " + std::to_string(header.generation) + " of dimension " +
                    std::to_string(header.dimension));
  }
  auto ids = IdFiles::open(files, directory + "/ids.bin", directory + "/ids.fix", published.rows,
                           published.id_bytes, read_only);
  return std::unique_ptr<RowFiles>(new RowFiles(std::move(vectors), std::move(ids)));
}

void RowFiles::append(Row first_row, std::span<const float> rows, std::span<const RowFix> fixes,
                      std::span<const std::string_view> ids) {
  if (ids.size() != fixes.size() || first_row != this->rows()) {
    throw Error(ErrorCode::kInvalidInput, "appended rows: expected as many ids as rows from row " +
                                              std::to_string(this->rows()) + " on, got " +
                                              std::to_string(ids.size()) + " ids and " +
                                              std::to_string(fixes.size()) + " rows from row " +
                                              std::to_string(first_row));
  }
  write_rows(first_row, rows, fixes);
  append_ids(first_row, ids);
}

void RowFiles::write_rows(Row first_row, std::span<const float> rows,
                          std::span<const RowFix> fixes) {
  vectors_->write(first_row, bytes_of(rows), fixes);
}

void RowFiles::append_ids(Row first_row, std::span<const std::string_view> ids) {
  ids_->append(first_row, ids);
}

std::optional<std::uint32_t> RowFiles::direct_crc(Row first_row, Row count) {
  return vectors_->direct_crc(first_row, count);
}

void RowFiles::sync() {
  vectors_->sync();
  ids_->sync();
}

void RowFiles::truncate_to(PublishedRows published) {
  vectors_->truncate_to(published.rows);
  ids_->truncate_to(published.rows, published.id_bytes);
}

void RowFiles::advance_to(PublishedRows published) {
  ids_->advance_to(published.rows, published.id_bytes);
}

RowFilesView RowFiles::view() {
  return {vectors_->view(rows()), ids_->view()};
}

}  // namespace srvdb
