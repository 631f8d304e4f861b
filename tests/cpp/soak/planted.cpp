// Shows that the harnesses can fail: each planted bug (srvdb/base/planted_bugs.h) in turn, in a
// process of its own, until a harness finds it; and none, which must pass.

#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "soak/soak.h"
#include "srvdb/base/planted_bugs.h"

namespace srvdb::soak {
namespace {

constexpr std::array kHarnesses = {"crash", "fault", "mutate", "mutate --file metadata.db"};

struct Outcome {
  bool caught = false;
  std::string by;     // the harness
  std::string what;   // what it said
  std::string after;  // how far it had come
};

// The part of the text between two marks; empty when they are not there.
std::string between(const std::string& text, const std::string& from, const std::string& to) {
  const std::size_t start = text.find(from);
  if (start == std::string::npos) return {};
  const std::size_t end = text.find(to, start + from.size());
  return text.substr(start + from.size(), end - start - from.size());
}

std::string output_of(const std::string& command, int& status) {
  std::string out;
  FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("cannot run " + command);
  std::array<char, 4096> piece;
  while (const std::size_t n = std::fread(piece.data(), 1, piece.size(), pipe)) {
    out.append(piece.data(), n);
  }
  status = ::pclose(pipe);
  return out;
}

Outcome run_one(const Arguments& arguments, const char* bug, const char* harness) {
  const std::string command = std::string("SRVDB_PLANTED_BUG=") + bug + " '" + arguments.program +
                              "' --only " + harness + " --seed " + std::to_string(arguments.seed) +
                              " --seconds " + std::to_string(arguments.seconds) + " 2>&1";
  int status = 0;
  const std::string text = output_of(command, status);
  Outcome out;
  out.by = harness;
  out.caught = status != 0;
  out.what = between(text.substr(std::min(text.find("FAILED "), text.size())), ": ", "\n");
  // The shell's own status: 128 and the signal.
  if (out.what.empty()) out.what = "it died, status " + std::to_string(WEXITSTATUS(status));
  const std::string count = std::string(harness) == "crash"   ? between(text, "kills, ", ",")
                            : std::string(harness) == "fault" ? between(text, "states, ", ",")
                                                              : between(text, "faults, ", ",");
  out.after = count.empty() ? "?" : count;
  return out;
}

}  // namespace

int run_planted(const Arguments& arguments) {
#ifndef SRVDB_PLANTED_BUGS
  std::fputs("this build has no planted bugs: configure with -DSRVDB_PLANTED_BUGS=ON\n", stderr);
  return 2;
#endif
  std::size_t missed = 0;
  std::printf("| planted bug | caught by | after | what it said |\n|---|---|---|---|\n");
  for (const char* const bug : kBugNames) {
    Outcome outcome;
    for (const char* const harness : kHarnesses) {
      if (!arguments.only.empty() && arguments.only != harness && arguments.only != bug) continue;
      outcome = run_one(arguments, bug, harness);
      if (outcome.caught) break;
    }
    if (outcome.by.empty()) continue;
    if (!outcome.caught) {
      std::printf("| %s | NOT CAUGHT | | |\n", bug);
      ++missed;
    } else {
      std::printf("| %s | %s | %s | %s |\n", bug, outcome.by.c_str(), outcome.after.c_str(),
                  outcome.what.c_str());
    }
    std::fflush(stdout);
  }
  for (const char* const harness : kHarnesses) {
    if (!arguments.only.empty() && arguments.only != harness) continue;
    const Outcome outcome = run_one(arguments, "none", harness);
    std::printf("| none | %s | %s | %s |\n", outcome.caught ? outcome.by.c_str() : "nothing",
                outcome.after.c_str(), outcome.caught ? outcome.what.c_str() : "");
    missed += outcome.caught ? 1 : 0;
  }
  return missed == 0 ? 0 : 1;
}

}  // namespace srvdb::soak
