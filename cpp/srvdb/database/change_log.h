// The change log: what was done to a database, when, and to which ids.
//
// One entry for each log record, under its sequence; kept in the metadata store and written in the
// transaction that publishes the change. It survives compaction and the restoring of snapshots, and
// grows until it is trimmed. Byte layout in cpp/FORMAT.md. Pure functions, safe from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "srvdb/base/bytes.h"
#include "srvdb/base/types.h"

namespace srvdb {

// The first six number log records as well (storage/record.h).
enum class LogOperation : std::uint8_t {
  kAdd = 1,
  kDelete = 2,
  kUpdate = 3,
  kSoftDelete = 4,
  kRestore = 5,
  kUpsert = 6,
  kCreateSnapshot = 16,
  kDropSnapshot = 17,
  kRestoreSnapshot = 18,
  kCompact = 19,
  kTrimChangeLog = 20,
};

// "add", "soft_delete", …; "unknown" for a number of a later version.
const char* operation_name(LogOperation operation) noexcept;
// Throws Error(kInvalidInput) that lists the names.
LogOperation parse_operation(std::string_view name);

struct LogEntry {
  Sequence sequence = 0;
  std::int64_t time_us = 0;  // microseconds since the epoch, UTC
  LogOperation operation = LogOperation::kAdd;
  std::vector<std::string> ids;  // the targets, as they were given
  std::string details;           // a JSON object, or empty
};

struct LogQuery {
  std::size_t limit = 50;              // entries at most
  std::optional<Sequence> since = {};  // the first entries after it; without: the newest
  std::optional<LogOperation> operation = {};
};

// Into `out`, in place of what it held.
void fill_log_entry(std::string& out, std::int64_t time_us, LogOperation operation,
                    std::string_view details, std::span<const std::string_view> ids);
std::string encode_log_entry(std::int64_t time_us, LogOperation operation, std::string_view details,
                             std::span<const std::string_view> ids);
// The time and the operation alone. `path` is for messages. Throws Error(kCorruption).
std::int64_t log_entry_time(ByteSpan bytes, const std::string& path);
LogOperation log_entry_operation(ByteSpan bytes, const std::string& path);
LogEntry decode_log_entry(Sequence sequence, ByteSpan bytes, const std::string& path);

}  // namespace srvdb
