// What the harnesses of srvdb_soak share: arguments, counters, and how a failure is told.
//
// A harness goes through runs; a run follows from its seed alone. Each run is a list of numbered
// steps, and a failure names run and step, so that --replay <seed>:<step> comes to the same place.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "srvdb/database/database.h"

namespace srvdb::soak {

struct Arguments {
  std::uint64_t seed = 1;
  double seconds = 10;  // for each harness
  std::uint64_t count =
      0;                // kills, or mutants of each kind and type of file; 0: until the time is up
  std::string only;     // one harness; empty: all
  std::string file;     // mutate: only files whose name holds this
  std::string program;  // this executable, for child processes
  std::optional<std::uint64_t> replay_seed;
  std::uint64_t replay_step = ~std::uint64_t{0};  // the last step of the replayed run
};

struct Totals {
  std::uint64_t acknowledged = 0;  // steps that a database took
  std::uint64_t states = 0;        // crash states opened and compared
  std::uint64_t faults = 0;        // failures injected
  std::uint64_t mutants = 0;
  std::uint64_t kills = 0;
};

// What a database promised and did not keep.
struct Failure : std::runtime_error {
  Failure(std::uint64_t seed, std::uint64_t step, const std::string& what)
      : std::runtime_error(what), seed(seed), step(step) {}
  std::uint64_t seed;
  std::uint64_t step;
};

class Deadline {
 public:
  explicit Deadline(double seconds)
      : end_(std::chrono::steady_clock::now() +
             std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                 std::chrono::duration<double>(seconds))) {}
  bool over() const { return std::chrono::steady_clock::now() >= end_; }

 private:
  std::chrono::steady_clock::time_point end_;
};

// Processor time of this process, all threads, user and system.
double processor_seconds();

// The harnesses: each prints a line of figures and throws Failure.
void run_crashes(const Arguments& arguments, Totals& totals);
void run_faults(const Arguments& arguments, Totals& totals);
void run_mutants(const Arguments& arguments, Totals& totals);
void run_kills(const Arguments& arguments, Totals& totals);
// The child of run_kills(): writes until it is killed.
int be_killed(const std::string& path, const std::string& durability, std::uint64_t seed,
              std::uint64_t first_step);
// Runs the harnesses with each planted bug; the exit status.
int run_planted(const Arguments& arguments);

// Small databases that flush and write directly early, and do nothing unasked.
OpenOptions small_options(Durability durability, FileSystem* files);
// How the databases of a run search.
Mode mode_of(std::uint64_t seed) noexcept;

}  // namespace srvdb::soak
