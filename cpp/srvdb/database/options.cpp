#include "srvdb/database/options.h"

#include "srvdb/base/error.h"

namespace srvdb {

const char* mode_name(Mode mode) noexcept {
  switch (mode) {
    case Mode::kFlat:
      return "flat";
    case Mode::kHnsw:
      return "hnsw";
    case Mode::kSq8:
      return "sq8";
    case Mode::kAuto:
      return "auto";
  }
  return "unknown";
}

const char* durability_name(Durability durability) noexcept {
  switch (durability) {
    case Durability::kMemory:
      return "memory";
    case Durability::kOs:
      return "os";
    case Durability::kDisk:
      return "disk";
  }
  return "unknown";
}

const char* tuning_name(Tuning tuning) noexcept {
  switch (tuning) {
    case Tuning::kNone:
      return "none";
    case Tuning::kDefault:
      return "default";
    case Tuning::kMeasuring:
      return "measuring";
    case Tuning::kMeasured:
      return "measured";
    case Tuning::kDue:
      return "due";
  }
  return "unknown";
}

Mode parse_mode(std::string_view name) {
  for (const Mode mode : {Mode::kFlat, Mode::kHnsw, Mode::kSq8, Mode::kAuto}) {
    if (name == mode_name(mode)) return mode;
  }
  throw Error(ErrorCode::kInvalidInput,
              "mode must be 'flat', 'hnsw', 'sq8' or 'auto', got '" + std::string(name) + "'");
}

Durability parse_durability(std::string_view name) {
  for (const Durability d : {Durability::kMemory, Durability::kOs, Durability::kDisk}) {
    if (name == durability_name(d)) return d;
  }
  throw Error(ErrorCode::kInvalidInput,
              "durability must be 'memory', 'os' or 'disk', got '" + std::string(name) + "'");
}

}  // namespace srvdb
