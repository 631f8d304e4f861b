// Simulated files for a whole database: directories are made for real too, because LOCK and
// metadata.db do not go through the file layer.
//
// metadata.db is durable with each commit, so a crash image is a copy of it and what crash() gives.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "srvdb/storage/file.h"
#include "support/simulated_files.h"

namespace srvdb::testing {

class PowerFiles final : public FileSystem {
 public:
  PowerFiles() : files_(std::make_unique<SimulatedFiles>()) {}
  explicit PowerFiles(std::unique_ptr<SimulatedFiles> files) : files_(std::move(files)) {}

  std::unique_ptr<PowerFiles> crash(SimulatedFiles::Keep keep, std::uint32_t seed) const {
    return std::make_unique<PowerFiles>(files_->crash(keep, seed));
  }

  std::unique_ptr<File> open(const std::string& path, OpenMode mode) override {
    return files_->open(path, mode);
  }
  void rename(const std::string& from, const std::string& to) override {
    files_->rename(from, to);
    if (posix_file_system().exists(from)) posix_file_system().rename(from, to);
  }
  void remove(const std::string& path) override {
    files_->remove(path);
    remove_tree(posix_file_system(), path);
  }
  bool link(const std::string& from, const std::string& to) override {
    return files_->link(from, to);
  }
  void copy(const std::string& from, const std::string& to, std::uint64_t bytes) override {
    files_->copy(from, to, bytes);
  }
  bool make_dir(const std::string& path) override {
    posix_file_system().make_dir(path);
    return files_->make_dir(path);
  }
  void sync_dir(const std::string& path) override { files_->sync_dir(path); }
  std::vector<std::string> list_dir(const std::string& path) override {
    return files_->list_dir(path);
  }
  std::optional<FileInfo> info(const std::string& path) override { return files_->info(path); }

 private:
  std::unique_ptr<SimulatedFiles> files_;
};

}  // namespace srvdb::testing
