#include "srvdb/database/change_log.h"

#include <array>
#include <utility>

#include "srvdb/base/error.h"

namespace srvdb {
namespace {

constexpr std::array<std::pair<LogOperation, const char*>, 11> kNames = {{
    {LogOperation::kAdd, "add"},
    {LogOperation::kUpsert, "upsert"},
    {LogOperation::kUpdate, "update"},
    {LogOperation::kDelete, "delete"},
    {LogOperation::kSoftDelete, "soft_delete"},
    {LogOperation::kRestore, "restore"},
    {LogOperation::kCreateSnapshot, "create_snapshot"},
    {LogOperation::kDropSnapshot, "drop_snapshot"},
    {LogOperation::kRestoreSnapshot, "restore_snapshot"},
    {LogOperation::kCompact, "compact"},
    {LogOperation::kTrimChangeLog, "trim_change_log"},
}};
constexpr std::size_t kHeadBytes = 9;  // time, operation

[[noreturn]] void bad(const std::string& path) {
  throw Error(ErrorCode::kCorruption, path + ": a change-log entry cannot be read");
}

}  // namespace

const char* operation_name(LogOperation operation) noexcept {
  for (const auto& [known, name] : kNames) {
    if (known == operation) return name;
  }
  return "unknown";
}

LogOperation parse_operation(std::string_view name) {
  std::string all;
  for (const auto& [operation, known] : kNames) {
    if (name == known) return operation;
    all.append(all.empty() ? "" : ", ").append(known);
  }
  throw Error(
      ErrorCode::kInvalidInput,
      std::string("operation must be one of ").append(all).append(", got '").append(name) + "'");
}

std::string encode_log_entry(std::int64_t time_us, LogOperation operation, std::string_view details,
                             std::span<const std::string_view> ids) {
  std::string out;
  fill_log_entry(out, time_us, operation, details, ids);
  return out;
}

void fill_log_entry(std::string& out, std::int64_t time_us, LogOperation operation,
                    std::string_view details, std::span<const std::string_view> ids) {
  std::size_t bytes = kHeadBytes + 4 + details.size() + 4 + 2 * ids.size();
  for (const std::string_view id : ids) bytes += id.size();
  out.clear();
  out.reserve(bytes);
  put_all(out, time_us, static_cast<std::uint8_t>(operation));
  put_text(out, details);
  put(out, static_cast<std::uint32_t>(ids.size()));
  for (const std::string_view id : ids) put(out, static_cast<std::uint16_t>(id.size()));
  for (const std::string_view id : ids) out.append(id);
}

std::int64_t log_entry_time(ByteSpan bytes, const std::string& path) {
  if (bytes.size() < kHeadBytes) bad(path);
  return load<std::int64_t>(bytes.data());
}

LogOperation log_entry_operation(ByteSpan bytes, const std::string& path) {
  if (bytes.size() < kHeadBytes) bad(path);
  return static_cast<LogOperation>(bytes[8]);
}

LogEntry decode_log_entry(Sequence sequence, ByteSpan bytes, const std::string& path) {
  LogEntry out;
  out.sequence = sequence;
  ByteReader reader(bytes);
  out.time_us = reader.get<std::int64_t>();
  out.operation = static_cast<LogOperation>(reader.get<std::uint8_t>());
  out.details = reader.text();
  const std::size_t n = reader.get<std::uint32_t>();
  if (n > reader.remaining() / 2) bad(path);
  ByteReader lengths(reader.bytes(2 * n));
  out.ids.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    out.ids.emplace_back(as_text(reader.bytes(lengths.get<std::uint16_t>())));
  }
  if (!reader.ok() || reader.remaining() != 0) bad(path);
  return out;
}

}  // namespace srvdb
