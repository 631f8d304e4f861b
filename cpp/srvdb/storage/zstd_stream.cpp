#include "srvdb/storage/zstd_stream.h"

#include <zstd.h>
#include <zstd_errors.h>

#include <new>
#include <string>
#include <vector>

#include "srvdb/base/error.h"

namespace srvdb {

namespace {

// Float32 components hardly get smaller at higher levels, only slower.
constexpr int kLevel = 1;
constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

// Failures of the library that the file's bytes cannot cause.
void check_library(std::size_t result) {
  if (ZSTD_isError(result) == 0) return;
  if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation) throw std::bad_alloc();
  throw Error(ErrorCode::kStorage, std::string("zstd failed: ") + ZSTD_getErrorName(result));
}

}  // namespace

struct ZstdWriter::State {
  explicit State(File& to) : file(to), context(ZSTD_createCCtx(), &ZSTD_freeCCtx) {
    if (!context) throw std::bad_alloc();
    check_library(ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, kLevel));
    check_library(ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1));
  }
  // Feeds the bytes; returns what the library still holds back.
  std::size_t feed(ZSTD_inBuffer& in, ZSTD_EndDirective directive) {
    ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
    const std::size_t left = ZSTD_compressStream2(context.get(), &out, &in, directive);
    check_library(left);
    if (out.pos > 0) file.pwrite(buffer.data(), out.pos, offset);
    offset += out.pos;
    return left;
  }

  File& file;
  std::unique_ptr<ZSTD_CCtx, std::size_t (*)(ZSTD_CCtx*)> context;
  std::vector<char> buffer = std::vector<char>(kBufferBytes);
  std::uint64_t offset = 0;
};

ZstdWriter::ZstdWriter(File& to) : state_(std::make_unique<State>(to)) {}
ZstdWriter::~ZstdWriter() = default;

void ZstdWriter::write(ByteSpan bytes) {
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  while (in.pos < in.size) state_->feed(in, ZSTD_e_continue);
}

void ZstdWriter::finish() {
  ZSTD_inBuffer in{nullptr, 0, 0};
  while (state_->feed(in, ZSTD_e_end) != 0) {
  }
}

std::uint64_t ZstdWriter::file_bytes() const noexcept {
  return state_->offset;
}

struct ZstdReader::State {
  explicit State(const File& from) : file(from), context(ZSTD_createDCtx(), &ZSTD_freeDCtx) {
    if (!context) throw std::bad_alloc();
  }
  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(ErrorCode::kCorruption,
                file.path() + ": " + what + " at offset " + std::to_string(consumed()));
  }
  std::uint64_t consumed() const noexcept { return offset - (in.size - in.pos); }
  // False at the end of the file.
  bool refill() {
    if (in.pos < in.size) return true;
    const std::size_t got = file.pread(buffer.data(), buffer.size(), offset);
    offset += got;
    in = {buffer.data(), got, 0};
    return got > 0;
  }

  const File& file;
  std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context;
  std::vector<char> buffer = std::vector<char>(kBufferBytes);
  ZSTD_inBuffer in{nullptr, 0, 0};
  std::uint64_t offset = 0;  // of the file: behind what the buffer holds
  bool ended = false;
};

ZstdReader::ZstdReader(const File& from) : state_(std::make_unique<State>(from)) {}
ZstdReader::~ZstdReader() = default;

std::size_t ZstdReader::read(void* to, std::size_t bytes) {
  State& state = *state_;
  ZSTD_outBuffer out{to, bytes, 0};
  bool more_file = true;
  while (out.pos < out.size && !state.ended) {
    more_file = state.refill();
    const std::size_t before = out.pos;
    const std::size_t result = ZSTD_decompressStream(state.context.get(), &out, &state.in);
    if (ZSTD_isError(result) != 0) {
      if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation) throw std::bad_alloc();
      state.damaged(std::string("damaged archive: ") + ZSTD_getErrorName(result));
    }
    state.ended = result == 0;
    if (!more_file && !state.ended && out.pos == before) state.damaged("the archive ends early");
  }
  return out.pos;
}

void ZstdReader::expect_end() {
  char extra = 0;
  if (read(&extra, 1) != 0) state_->damaged("damaged archive: content after its end");
  if (state_->refill()) state_->damaged("damaged archive: bytes after its end");
}

std::uint64_t ZstdReader::file_bytes() const noexcept {
  return state_->consumed();
}

}  // namespace srvdb
