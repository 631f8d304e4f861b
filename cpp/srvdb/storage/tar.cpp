#include "srvdb/storage/tar.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "srvdb/base/error.h"

namespace srvdb {

namespace {

struct Field {
  std::size_t offset;
  std::size_t bytes;
};
constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kUser{108, 8};
constexpr Field kGroup{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kTime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr Field kType{156, 1};
constexpr Field kMagic{257, 8};
constexpr Field kPrefix{345, 155};

constexpr std::string_view kMagicBytes{"ustar\00000", 8};
constexpr std::uint64_t kLargestOctalSize = (std::uint64_t{1} << 33) - 1;
constexpr std::uint64_t kLargestSize = std::uint64_t{1} << 62;

void put_bytes(TarBlock& block, Field field, std::string_view text) {
  std::copy(text.begin(), text.end(), block.begin() + static_cast<std::ptrdiff_t>(field.offset));
}

// Digits that fill the field but for its last byte, which is zero.
void put_octal(TarBlock& block, Field field, std::uint64_t value) {
  std::string digits(field.bytes - 1, '0');
  for (auto digit = digits.rbegin(); digit != digits.rend() && value > 0; ++digit) {
    *digit = static_cast<char>('0' + (value & 7u));
    value >>= 3;
  }
  put_bytes(block, field, digits);
}

void put_size(TarBlock& block, std::uint64_t bytes) {
  if (bytes <= kLargestOctalSize) return put_octal(block, kSize, bytes);
  block[kSize.offset] = 0x80;
  for (std::size_t i = kSize.bytes; i-- > 1; bytes >>= 8) {
    block[kSize.offset + i] = static_cast<std::uint8_t>(bytes);
  }
}

std::optional<std::uint64_t> get_number(const TarBlock& block, Field field) {
  const std::uint8_t* at = block.data() + field.offset;
  std::uint64_t value = 0;
  if (at[0] == 0x80) {
    for (std::size_t i = 1; i < field.bytes; ++i) {
      if (value > kLargestSize >> 8) return std::nullopt;
      value = value << 8 | at[i];
    }
    return value;
  }
  std::size_t i = 0;
  for (; i < field.bytes && at[i] >= '0' && at[i] <= '7'; ++i) value = value << 3 | (at[i] - '0');
  const bool ended = i == field.bytes || at[i] == 0 || at[i] == ' ';
  return i > 0 && ended ? std::optional(value) : std::nullopt;
}

std::string get_text(const TarBlock& block, Field field) {
  const char* at = reinterpret_cast<const char*>(block.data() + field.offset);
  return {at, ::strnlen(at, field.bytes)};
}

std::uint64_t checksum(TarBlock block) {
  std::fill_n(block.begin() + kChecksum.offset, kChecksum.bytes, std::uint8_t{' '});
  std::uint64_t sum = 0;
  for (const std::uint8_t byte : block) sum += byte;
  return sum;
}

// Splits a long name at a '/' into prefix and name.
void put_name(TarBlock& block, const std::string& name) {
  if (name.size() <= kName.bytes) return put_bytes(block, kName, name);
  for (std::size_t at = name.find('/', 1); at != std::string::npos; at = name.find('/', at + 1)) {
    if (at > kPrefix.bytes) break;
    const std::size_t rest = name.size() - at - 1;
    if (rest == 0 || rest > kName.bytes) continue;
    put_bytes(block, kPrefix, std::string_view(name).substr(0, at));
    put_bytes(block, kName, std::string_view(name).substr(at + 1));
    return;
  }
  throw Error(ErrorCode::kInvalidInput, "the name is too long for a tar archive: " + name);
}

bool stays_inside(std::string_view name) {
  while (!name.empty()) {
    const std::size_t end = std::min(name.find('/'), name.size());
    const std::string_view part = name.substr(0, end);
    if (part.empty() || part == "." || part == "..") return false;
    if (end + 1 == name.size()) return false;  // '/' at the end
    name.remove_prefix(std::min(end + 1, name.size()));
  }
  return true;
}

[[noreturn]] void damaged(const std::string& what) {
  throw Error(ErrorCode::kCorruption, "damaged archive: " + what);
}

}  // namespace

TarBlock tar_header(const TarEntry& entry, std::int64_t time_s) {
  TarBlock block{};
  put_name(block, entry.is_directory ? entry.name + "/" : entry.name);
  put_octal(block, kMode, entry.is_directory ? 0700 : 0600);
  put_octal(block, kUser, 0);
  put_octal(block, kGroup, 0);
  put_size(block, entry.bytes);
  put_octal(block, kTime, static_cast<std::uint64_t>(std::max<std::int64_t>(time_s, 0)));
  block[kType.offset] = entry.is_directory ? '5' : '0';
  put_bytes(block, kMagic, kMagicBytes);
  put_octal(block, {kChecksum.offset, kChecksum.bytes - 1}, checksum(block));
  block[kChecksum.offset + kChecksum.bytes - 1] = ' ';
  return block;
}

std::optional<TarEntry> parse_tar_header(const TarBlock& block) {
  if (std::all_of(block.begin(), block.end(), [](std::uint8_t byte) { return byte == 0; })) {
    return std::nullopt;
  }
  if (get_number(block, kChecksum) != checksum(block)) damaged("checksum of a tar header");
  if (std::memcmp(block.data() + kMagic.offset, kMagicBytes.data(), kMagicBytes.size()) != 0) {
    damaged("a tar header of another kind");
  }
  const std::string prefix = get_text(block, kPrefix);
  TarEntry entry;
  entry.name = (prefix.empty() ? "" : prefix + "/") + get_text(block, kName);
  const std::uint8_t type = block[kType.offset];
  if (type != '0' && type != '5') damaged("an entry that is no file or directory: " + entry.name);
  entry.is_directory = type == '5';
  if (entry.is_directory && entry.name.ends_with('/')) entry.name.pop_back();
  const auto bytes = get_number(block, kSize);
  if (!bytes || *bytes > kLargestSize || (entry.is_directory && *bytes != 0)) {
    damaged("size of " + entry.name);
  }
  entry.bytes = *bytes;
  if (entry.name.empty() || !stays_inside(entry.name)) damaged("name of an entry: " + entry.name);
  return entry;
}

}  // namespace srvdb
