#include "soak/scratch.h"

#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace srvdb::soak {

namespace fs = std::filesystem;

Scratch::Scratch() {
  const bool memory = std::getenv("TMPDIR") == nullptr && ::access("/dev/shm", W_OK) == 0;
  const fs::path parent = memory ? fs::path("/dev/shm") : fs::temp_directory_path();
  std::string name = (parent / "srvdb-soak-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
  root_ = name;
}

Scratch::~Scratch() {
  std::error_code ignored;
  if (!kept_) fs::remove_all(root_, ignored);
}

void copy_tree(const std::string& from, const std::string& to) {
  fs::remove_all(to);
  fs::copy(from, to, fs::copy_options::recursive);
}

}  // namespace srvdb::soak
