// Acknowledged single adds from C++: one writer and sixteen at durability "disk", one at "os", and
// the disk's own rate of appending and syncing records of the same size. In turns; prints JSON:
// {"bare_disk": [records a second, one a round], "1_disk": …, "16_disk": …, "1_os": …}.
//
//   srvdb_commit_bench FOLDER [ROUNDS] [DIM]
//
// FOLDER is on the disk to be measured; what the program makes in it is removed again.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "srvdb/database/database.h"

namespace {

using namespace srvdb;

constexpr std::size_t kSyncedBySingle = 150;  // records of a round
constexpr std::size_t kSyncedByEach = 150;    // of sixteen writers
constexpr std::size_t kUnsynced = 20'000;
constexpr std::size_t kWriters = 16;
constexpr std::size_t kRecordExtra = 111;  // bytes of a record beside the row, about

double seconds(const std::function<void()>& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string fresh(const std::string& folder) {
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  ::sync();
  return folder;
}

double bare_rate(const std::string& folder, std::size_t dim) {
  const std::string path = fresh(folder) + "/records";
  const std::string record(dim * sizeof(float) + kRecordExtra, 'r');
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) std::exit(2);
  const double taken = seconds([&] {
    for (std::size_t i = 0; i < kSyncedBySingle; ++i) {
      const ssize_t put = ::write(file, record.data(), record.size());
      if (put != static_cast<ssize_t>(record.size()) || ::fdatasync(file) != 0) std::exit(2);
    }
  });
  ::close(file);
  return static_cast<double>(kSyncedBySingle) / taken;
}

void add_rows(Database& db, const std::vector<float>& row, std::size_t writer, std::size_t rows) {
  for (std::size_t i = 0; i < rows; ++i) {
    const std::string id = std::to_string(writer) + "-" + std::to_string(i);
    const std::string text = "{\"n\": " + std::to_string(i) + "}";
    const std::string_view ids[] = {id};
    const std::string_view metadata[] = {text};
    Batch batch;
    batch.ids = ids;
    batch.metadata = metadata;
    batch.rows = row.data();
    batch.dim = row.size();
    batch.metadata_is_valid = true;
    db.add(batch);
  }
}

double add_rate(const std::string& folder, std::size_t dim, Durability durability,
                std::size_t writers, std::size_t each) {
  OpenOptions options;
  options.dimension = dim;
  options.durability = durability;
  const auto db = Database::open(fresh(folder) + "/db", options);
  std::mt19937 random(1);
  std::vector<float> row(dim);
  for (float& value : row) value = static_cast<float>(random()) / 4e9F;
  add_rows(*db, row, writers, 1);  // makes the log
  const double taken = seconds([&] {
    std::vector<std::jthread> threads;
    for (std::size_t w = 1; w < writers; ++w) {
      threads.emplace_back([&, w] { add_rows(*db, row, w, each); });
    }
    add_rows(*db, row, 0, each);
  });
  db->close();
  return static_cast<double>(writers * each) / taken;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s FOLDER [ROUNDS] [DIM]\n", argv[0]);
    return 2;
  }
  const std::string folder = std::string(argv[1]) + "/commit_bench";
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 7;
  const std::size_t dim = argc > 3 ? static_cast<std::size_t>(std::atoi(argv[3])) : 128;
  std::map<std::string, std::vector<double>> rates;
  for (int round = -1; round < rounds; ++round) {  // the first is not counted
    const std::map<std::string, double> taken = {
        {"bare_disk", bare_rate(folder, dim)},
        {"1_disk", add_rate(folder, dim, Durability::kDisk, 1, kSyncedBySingle)},
        {"16_disk", add_rate(folder, dim, Durability::kDisk, kWriters, kSyncedByEach)},
        {"1_os", add_rate(folder, dim, Durability::kOs, 1, kUnsynced)},
    };
    if (round < 0) continue;
    for (const auto& [name, rate] : taken) rates[name].push_back(rate);
  }
  std::filesystem::remove_all(folder);
  const char* before = "{";
  for (const auto& [name, values] : rates) {
    std::printf("%s\"%s\": [", before, name.c_str());
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::printf("%s%.1f", i == 0 ? "" : ", ", values[i]);
    }
    std::printf("]");
    before = ",\n ";
  }
  std::printf("}\n");
  return 0;
}
