// A file written and read as one zstd frame, a piece at a time. The only user of the zstd library.
//
// The frame ends with a checksum of the content, which the reader verifies. Memory: a few MiB for
// writing; for reading at most the 128 MiB window that zstd grants any frame, a few MiB for those
// written here. One thread at a time.
//
// Errors: kStorage from the file; from the reader kCorruption with path and offset when the bytes
// are not one whole frame or the checksum does not hold.
#pragma once

#include <cstdint>
#include <memory>

#include "srvdb/base/bytes.h"
#include "srvdb/storage/file.h"

namespace srvdb {

class ZstdWriter {
 public:
  explicit ZstdWriter(File& to);  // from offset 0 on; the caller keeps the file
  ~ZstdWriter();
  ZstdWriter(const ZstdWriter&) = delete;
  ZstdWriter& operator=(const ZstdWriter&) = delete;

  void write(ByteSpan bytes);
  void finish();  // ends the frame; nothing may be written after it
  std::uint64_t file_bytes() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class ZstdReader {
 public:
  explicit ZstdReader(const File& from);
  ~ZstdReader();
  ZstdReader(const ZstdReader&) = delete;
  ZstdReader& operator=(const ZstdReader&) = delete;

  // Fills the buffer; fewer bytes come back only at the end of the frame, whose checksum then held.
  std::size_t read(void* to, std::size_t bytes);
  // Checks that the frame has ended, its checksum held, and nothing follows in the file.
  void expect_end();
  std::uint64_t file_bytes() const noexcept;  // consumed so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace srvdb
