// srvdb_soak: crash, fault, mutation and kill harnesses, bounded by time and count, repeatable by
// seed. tests/README.md tells what each does.

#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "soak/soak.h"
#include "srvdb/base/error.h"

namespace srvdb::soak {

double processor_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

OpenOptions small_options(Durability durability, FileSystem* files) {
  OpenOptions options;
  options.durability = durability;
  options.files = files;
  options.flush_rows = 16;
  options.background = false;
  options.ef_construction = 20;
  options.m = 4;
  options.auto_compact_share = 0;
  return options;
}

Mode mode_of(std::uint64_t seed) noexcept {
  constexpr Mode kModes[] = {Mode::kHnsw, Mode::kAuto, Mode::kSq8, Mode::kFlat};
  return kModes[seed / 5 % 4];  // durabilities change faster
}

namespace {

constexpr const char* kUsage =
    "usage: srvdb_soak [--seed N] [--seconds S] [--count N] [--only crash|fault|mutate|kill]\n"
    "                  [--file PART_OF_NAME] [--replay SEED:STEP] [--planted]\n";

struct Harness {
  const char* name;
  void (*run)(const Arguments&, Totals&);
};
constexpr Harness kHarnesses[] = {{"crash", &run_crashes},
                                  {"fault", &run_faults},
                                  {"mutate", &run_mutants},
                                  {"kill", &run_kills}};

[[noreturn]] void usage() {
  std::fputs(kUsage, stderr);
  std::exit(2);
}

Arguments parse(int count, char** words, bool& planted) {
  Arguments out;
  out.program = std::filesystem::read_symlink("/proc/self/exe").string();
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    const auto value = [&]() -> const char* {
      if (++i == count) usage();
      return words[i];
    };
    if (word == "--seed") {
      out.seed = std::strtoull(value(), nullptr, 10);
    } else if (word == "--seconds") {
      out.seconds = std::strtod(value(), nullptr);
    } else if (word == "--count") {
      out.count = std::strtoull(value(), nullptr, 10);
    } else if (word == "--only") {
      out.only = value();
    } else if (word == "--file") {
      out.file = value();
    } else if (word == "--replay") {
      char* end = nullptr;
      out.replay_seed = std::strtoull(value(), &end, 10);
      if (*end == ':') out.replay_step = std::strtoull(end + 1, nullptr, 10);
    } else if (word == "--planted") {
      planted = true;
    } else {
      usage();
    }
  }
  return out;
}

int run(const Arguments& arguments) {
  Totals totals;
  bool failed = false;
  bool known = false;
  for (const Harness& harness : kHarnesses) {
    if (!arguments.only.empty() && arguments.only != harness.name) continue;
    known = true;
    try {
      harness.run(arguments, totals);
    } catch (const Failure& failure) {
      std::printf("FAILED %s: %s\n  replay: srvdb_soak --only %s%s%s --replay %llu:%llu\n",
                  harness.name, failure.what(), harness.name,
                  arguments.file.empty() ? "" : " --file ", arguments.file.c_str(),
                  static_cast<unsigned long long>(failure.seed),
                  static_cast<unsigned long long>(failure.step));
      failed = true;
    }
    std::fflush(stdout);
  }
  if (!known) usage();
  std::printf(
      "in all: %llu kills, %llu crash states, %llu faults, %llu mutants, %llu acknowledged "
      "writes; seed %llu\n",
      static_cast<unsigned long long>(totals.kills), static_cast<unsigned long long>(totals.states),
      static_cast<unsigned long long>(totals.faults),
      static_cast<unsigned long long>(totals.mutants),
      static_cast<unsigned long long>(totals.acknowledged),
      static_cast<unsigned long long>(arguments.seed));
  return failed ? 1 : 0;
}

}  // namespace
}  // namespace srvdb::soak

int main(int count, char** words) {
  using namespace srvdb::soak;
  if (count == 6 && std::strcmp(words[1], "--be-killed") == 0) {
    return be_killed(words[2], words[3], std::strtoull(words[4], nullptr, 10),
                     std::strtoull(words[5], nullptr, 10));
  }
  bool planted = false;
  const Arguments arguments = parse(count, words, planted);
  return planted ? run_planted(arguments) : run(arguments);
}
