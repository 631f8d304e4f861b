// A directory in memory where there is room, removed at the end unless it is kept as evidence.
#pragma once

#include <filesystem>
#include <string>

namespace srvdb::soak {

class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string path(const std::string& name) const { return (root_ / name).string(); }
  void keep() noexcept { kept_ = true; }

 private:
  std::filesystem::path root_;
  bool kept_ = false;
};

// Makes `to` what `from` is, whatever was there.
void copy_tree(const std::string& from, const std::string& to);

}  // namespace srvdb::soak
