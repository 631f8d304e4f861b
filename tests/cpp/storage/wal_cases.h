// Logs for the tests of the log: records whose payload their sequence tells.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "srvdb/base/error.h"
#include "srvdb/storage/wal.h"
#include "support/simulated_files.h"

namespace srvdb {

using testing::SimulatedFiles;

inline constexpr const char* kDirectory = "wal";
inline const std::string kFirstSegment = "wal/00000000000000000001.log";

inline std::unique_ptr<SimulatedFiles> fresh_files() {
  auto files = std::make_unique<SimulatedFiles>();
  files->make_dir(kDirectory);
  files->sync_dir("");
  return files;
}

inline std::string payload_of(Sequence sequence) {
  return "payload " + std::to_string(sequence) + std::string(sequence % 7, 'x');
}

inline Sequence append(WalWriter& writer, const std::string& text) {
  const ByteSpan parts[2] = {as_byte_span(text).first(text.size() / 2),
                             as_byte_span(text).subspan(text.size() / 2)};
  return writer.append(1, parts);
}

inline Sequence append_next(WalWriter& writer) {
  const Sequence next = writer.last_sequence() + 1;
  return append(writer, payload_of(next));
}

struct Log {
  std::vector<Sequence> sequences;
  WalEnd end;
};

// Reads everything above `after`; every payload must be the right one.
inline Log read_log(FileSystem& files, Sequence after) {
  WalReader reader(files, kDirectory, after);
  Log log;
  while (const auto record = reader.next()) {
    EXPECT_EQ(as_text(record->payload), payload_of(record->sequence));
    EXPECT_EQ(record->sequence, after + 1 + log.sequences.size());
    log.sequences.push_back(record->sequence);
  }
  log.end = reader.end();
  return log;
}

// errno of the storage error that the call throws.
template <typename Call>
int os_error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kStorage);
    return error.os_error();
  }
  ADD_FAILURE() << "expected an error";
  return 0;
}

}  // namespace srvdb
