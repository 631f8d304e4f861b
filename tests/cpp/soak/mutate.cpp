// Damaged files of every type: nothing crashes, hangs or eats memory, and every answer is right or
// an error.
//
// Damaged copies are opened in child processes, many in each: a child that dies is counted, and the
// next one goes on behind it. Where a child is, and what it found, stands in shared memory.

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>

#include "soak/mutant.h"
#include "soak/soak.h"
#include "srvdb/base/events.h"

namespace srvdb::soak {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kSecondsForOne = 20;
constexpr std::uint64_t kMutantsOfAChild = 200;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kLimitMemory = false;  // the sanitizers' own is counted too
#else
constexpr bool kLimitMemory = true;
#endif
constexpr rlim_t kDataBytes = rlim_t{2} << 30;  // of private memory a child may have
constexpr long kPeakBytes = long{512} << 20;    // of resident memory it may reach

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void put_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

struct Progress {
  std::uint64_t next = 0;                   // mutant at work
  std::array<std::uint64_t, 64> warned{};   // of each file: a warning was given
  std::array<std::uint64_t, 64> refused{};  // of each file: were met with an error
  bool wrong = false;                       // the mutant at work gave a wrong answer: `text`
  std::array<char, 400> text{};
};

struct Found {
  std::uint64_t mutants = 0, crashes = 0, hangs = 0, wrong = 0;
};

class MutantRun {
 public:
  MutantRun(const Arguments& arguments, Totals& totals)
      : arguments_(arguments), totals_(totals), pristine_(arguments.seed) {
    void* const at = ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    progress_ = new (at) Progress();
  }
  ~MutantRun() { ::munmap(progress_, sizeof(Progress)); }
  MutantRun(const MutantRun&) = delete;
  MutantRun& operator=(const MutantRun&) = delete;

  void run();

 private:
  // Number of a mutant: (round * files + file) * kDamages + damage.
  std::uint64_t first_of(std::uint64_t round) const { return round * files_.size() * kDamages; }
  std::size_t index_of(std::uint64_t n) const { return n / kDamages % files_.size(); }
  const std::string& file_of(std::uint64_t n) const { return files_[index_of(n)]; }
  void ask(std::uint64_t n) const;
  void be_child(std::uint64_t end) const;
  void watch_child(std::uint64_t end);
  void note(std::uint64_t n, const std::string& what);

  const Arguments& arguments_;
  Totals& totals_;
  const Pristine pristine_;
  Scratch scratch_;
  std::vector<std::string> files_;
  Progress* progress_ = nullptr;
  std::map<std::string, Found> found_;
  std::uint64_t first_bad_ = 0;
  std::string first_what_;
};

void MutantRun::ask(std::uint64_t n) const {
  const std::uint64_t seed = arguments_.seed * 0x9E3779B97F4A7C15u + n;
  const std::string& file = file_of(n);
  const std::string work = scratch_.path("work");
  const auto damage = static_cast<Damage>(n % kDamages);
  if (file == "backup") {
    fs::create_directory(work);
    const std::string bytes = bytes_of(scratch_.path("backup"));
    put_bytes(work + "/backup", damaged(bytes, bytes, damage, seed));
  } else {
    const bool log = file.starts_with("wal/");
    const bool crashed = log || n / kDamages % 2 == 0;
    const char* const left = file == kLogTail ? "crashed at os" : "crashed";
    const std::string from = scratch_.path(crashed ? left : "closed") + "/";
    const std::string other = scratch_.path(crashed ? "closed" : "crashed") + "/";
    copy_tree(from, work);
    put_bytes(work + "/" + file,
              damaged(bytes_of(from + file), bytes_of(other + file), damage, seed));
  }
  if (ask_everything(pristine_, work, file, seed)) ++progress_->refused[index_of(n)];
  const std::vector<Event> events = drain_events();
  if (std::ranges::any_of(
          events, [](const Event& event) { return event.level == Event::Level::kWarning; })) {
    ++progress_->warned[index_of(n)];
  }
  fs::remove_all(work);
}

void MutantRun::be_child(std::uint64_t end) const {
  const rlimit limit{kDataBytes, kDataBytes};
  if (kLimitMemory) ::setrlimit(RLIMIT_DATA, &limit);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  const auto say = [&](const char* text) {
    progress_->wrong = true;
    std::strncpy(progress_->text.data(), text, progress_->text.size() - 1);
    ::_exit(1);
  };
  for (; progress_->next < end; ++progress_->next) {
    ::alarm(kSecondsForOne);
    try {
      ask(progress_->next);
    } catch (const std::exception& error) {
      say(error.what());
    }
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    if (kLimitMemory && used.ru_maxrss * 1024 > kPeakBytes) say("took too much memory");
  }
  ::_exit(0);
}

void MutantRun::note(std::uint64_t n, const std::string& what) {
  const std::string text = std::string(damage_name(static_cast<Damage>(n % kDamages))) + " of " +
                           file_of(n) + ": " + what;
  std::printf("  mutant %llu, %s\n", static_cast<unsigned long long>(n), text.c_str());
  if (first_what_.empty()) {
    first_what_ = text;
    first_bad_ = n;
  }
}

// Runs mutants up to `end`, or as far as one child comes.
void MutantRun::watch_child(std::uint64_t end) {
  const std::uint64_t first = progress_->next;
  progress_->wrong = false;
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) be_child(end);
  int status = 0;
  ::waitpid(child, &status, 0);
  for (std::uint64_t n = first; n < progress_->next; ++n) ++found_[file_of(n)].mutants;
  totals_.mutants += progress_->next - first;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  const std::uint64_t n = progress_->next++;
  Found& found = found_[file_of(n)];
  ++found.mutants;
  ++totals_.mutants;
  if (progress_->wrong) {
    ++found.wrong;
    note(n, progress_->text.data());
  } else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
    ++found.hangs;
    note(n, "it hangs");
  } else {
    ++found.crashes;
    note(n, "a crash, status " + std::to_string(status));
  }
}

void MutantRun::run() {
  // In a child, so that this process has no threads and may fork.
  std::fflush(stdout);
  if (const pid_t maker = ::fork(); maker == 0) {
    try {
      pristine_.make(scratch_.path("."));
      ::_exit(0);
    } catch (const std::exception& error) {
      std::printf("the database to be damaged cannot be made: %s\n", error.what());
      std::fflush(stdout);
      ::_exit(1);
    }
  } else {
    int status = 0;
    ::waitpid(maker, &status, 0);
    if (status != 0) throw Failure(arguments_.seed, 0, "no database to be damaged");
  }
  files_ = files_to_damage(scratch_.path("crashed"));
  std::erase_if(files_, [&](const std::string& name) {
    return name.find(arguments_.file) == std::string::npos;
  });
  if (files_.empty()) throw Failure(arguments_.seed, 0, "no file of that name");
  if (files_.size() > progress_->refused.size())
    throw Failure(arguments_.seed, 0, "too many files");
  if (arguments_.replay_seed) {
    progress_->next = arguments_.replay_step;
    watch_child(arguments_.replay_step + 1);
  } else {
    const Deadline deadline(arguments_.count != 0 ? 1e6 : arguments_.seconds);
    const std::uint64_t end =
        arguments_.count != 0 ? first_of(arguments_.count) : ~std::uint64_t{0};
    while (progress_->next < end && !deadline.over()) {
      watch_child(std::min(end, progress_->next + kMutantsOfAChild));
    }
  }
  std::printf("mutate: damaged files of each type\n");
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const Found& found = found_[files_[i]];
    std::printf(
        "  %-33s %6llu mutants, %5llu refused, %5llu warned of: %llu crashes, %llu hangs, "
        "%llu silent wrong answers\n",
        files_[i].c_str(), static_cast<unsigned long long>(found.mutants),
        static_cast<unsigned long long>(progress_->refused[i]),
        static_cast<unsigned long long>(progress_->warned[i]),
        static_cast<unsigned long long>(found.crashes),
        static_cast<unsigned long long>(found.hangs), static_cast<unsigned long long>(found.wrong));
  }
  if (!first_what_.empty()) throw Failure(arguments_.seed, first_bad_, first_what_);
}

}  // namespace

void run_mutants(const Arguments& arguments, Totals& totals) {
  Arguments own = arguments;
  if (own.replay_seed) own.seed = *own.replay_seed;
  MutantRun(own, totals).run();
}

}  // namespace srvdb::soak
