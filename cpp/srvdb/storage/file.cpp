#include "srvdb/storage/file.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "srvdb/base/error.h"

namespace srvdb {

void throw_storage(const char* what, const std::string& path, int os_error) {
  throw Error(ErrorCode::kStorage,
              std::string(what) + " " + path + ": " + std::generic_category().message(os_error),
              os_error);
}

bool is_no_space(int os_error) noexcept {
  return os_error == ENOSPC || os_error == EDQUOT;
}

void File::pread_exactly(void* to, std::size_t bytes, std::uint64_t offset) const {
  const std::size_t got = pread(to, bytes, offset);
  if (got == bytes) return;
  throw Error(ErrorCode::kCorruption, path() + " is too short: expected " + std::to_string(bytes) +
                                          " bytes at offset " + std::to_string(offset) + ", got " +
                                          std::to_string(got));
}

void* FileSystem::map_scratch(const std::string& directory, std::size_t) {
  throw_storage("cannot map working memory in", directory, ENOTSUP);
}

std::unique_ptr<File> FileSystem::open_shared(const std::string&, std::size_t) {
  return nullptr;
}

std::string read_file(FileSystem& files, const std::string& path, std::size_t limit) {
  const auto file = files.open(path, OpenMode::kRead);
  const std::uint64_t size = file->size();
  if (size > limit) {
    throw Error(ErrorCode::kCorruption, path + " is too long: expected at most " +
                                            std::to_string(limit) + " bytes, got " +
                                            std::to_string(size));
  }
  std::string bytes(static_cast<std::size_t>(size), '\0');
  file->pread_exactly(bytes.data(), bytes.size(), 0);
  return bytes;
}

namespace {

bool is_real_directory(FileSystem& files, const std::string& path) {
  const auto found = files.info(path);
  return found && found->is_directory && !found->is_link;
}

void list_into(FileSystem& files, const std::string& root, const std::string& prefix,
               std::vector<std::string>& names) {
  for (const std::string& name : files.list_dir(root)) {
    if (is_real_directory(files, root + "/" + name)) {
      list_into(files, root + "/" + name, prefix + name + "/", names);
    } else {
      names.push_back(prefix + name);
    }
  }
}

}  // namespace

std::vector<std::string> list_tree(FileSystem& files, const std::string& path) {
  std::vector<std::string> names;
  list_into(files, path, "", names);
  std::sort(names.begin(), names.end());
  return names;
}

void remove_tree(FileSystem& files, const std::string& path) {
  if (is_real_directory(files, path)) {
    for (const std::string& name : files.list_dir(path)) remove_tree(files, path + "/" + name);
  }
  try {
    files.remove(path);
  } catch (const Error& error) {
    if (error.os_error() != ENOENT) throw;
  }
}

void sync_tree(FileSystem& files, const std::string& path) {
  for (const std::string& name : files.list_dir(path)) {
    const std::string inner = path + "/" + name;
    if (is_real_directory(files, inner)) {
      sync_tree(files, inner);
    } else {
      files.open(inner, OpenMode::kRead)->sync_data();
    }
  }
  files.sync_dir(path);
}

TreeBytes tree_bytes(FileSystem& files, const std::string& path) {
  TreeBytes bytes;
  for (const std::string& name : list_tree(files, path)) {
    const auto found = files.info(path + "/" + name);
    if (!found) continue;  // removed meanwhile
    bytes.total += found->size;
    if (found->links <= 1) bytes.own += found->size;
  }
  return bytes;
}

}  // namespace srvdb
