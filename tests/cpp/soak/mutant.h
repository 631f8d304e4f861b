// Damaged copies of one database: what is there, how it is damaged, and whether what it says then
// is right.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "soak/scratch.h"
#include "soak/world.h"

namespace srvdb::soak {

enum class Damage : std::uint8_t { kFlip, kTruncate, kZero, kSplice };
inline constexpr std::size_t kDamages = 4;
const char* damage_name(Damage damage) noexcept;

// A database with files of every type: as its writer's death left it ("crashed", with a log to be
// replayed) and as it was closed ("closed"); a backup of it in one file; and what the same writes
// at "os" leave when their writer dies ("crashed at os", whose log ends in its tail).
class Pristine {
 public:
  // What the files hold follows from the seed; make() writes them, in any process.
  explicit Pristine(std::uint64_t seed);
  void make(const std::string& directory) const;

  // States that the log may lead to, from the last checkpoint on; the last one is the whole.
  const std::vector<World>& worlds() const noexcept { return worlds_; }
  const Rows& snapshot() const noexcept { return snapshot_; }

 private:
  std::vector<Step> steps_;
  std::vector<World> worlds_;
  Rows snapshot_;
};

inline constexpr const char* kLogTail = "wal/tail";

// Files to damage, relative to the database; "backup" is the backup.
std::vector<std::string> files_to_damage(const std::string& closed);

// The damaged bytes, which differ from the given ones unless that cannot be. `other`: the file at
// another time, of which stale pieces may be left.
std::string damaged(const std::string& bytes, const std::string& other, Damage damage,
                    std::uint64_t seed);

// Opens the directory `work` (a damaged copy; `file` is damaged in it) and asks for everything.
// Whatever is answered must be right: throws Mismatch. True when something was refused.
bool ask_everything(const Pristine& pristine, const std::string& work, const std::string& file,
                    std::uint64_t seed);

}  // namespace srvdb::soak
