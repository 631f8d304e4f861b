// The parts of repair(): what is read of the damaged database, and how the new one is written.
//
// repair.cpp reads the manifest and the log, repair_rows.cpp finds out which rows can be saved and
// copies them, repair_store.cpp makes the new metadata.db. One thread. Errors as in repair.h.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "srvdb/database/field_catalogue.h"
#include "srvdb/database/inspect.h"
#include "srvdb/database/repair.h"
#include "srvdb/database/store_salvage.h"
#include "srvdb/database/verify_parts.h"
#include "srvdb/storage/row_files.h"
#include "srvdb/storage/wal.h"

namespace srvdb {

class StoreFiller;  // repair_store.cpp

inline constexpr std::uint64_t kRepairedGeneration = 1;

class Repairer {
 public:
  Repairer(std::string path, std::string target, const RepairOptions& options, RepairReport& report)
      : path_(std::move(path)),
        target_(std::move(target)),
        options_(options),
        files_(options.files != nullptr ? *options.files : posix_file_system()),
        report_(report),
        problems_(path_, problem_report_) {}

  // Makes the new database in the target, an empty directory, ready to be opened.
  void run();

 private:
  std::uint32_t dimension() const noexcept { return manifest_.spaces[0].dimension; }
  std::size_t stride() const noexcept { return std::max<std::size_t>(dimension(), 1) * 4; }

  void tell(RepairItem::Kind kind, std::string id, Row row, std::string what) {
    if (report_.items.size() >= RepairReport::kMaxItems) {
      ++report_.omitted;
    } else {
      report_.items.push_back({kind, std::move(id), row, std::move(what)});
    }
  }
  void lost(const std::string& what) { tell(RepairItem::Kind::kLost, "", kNoRow, what); }
  void doubtful(const std::string& what) { tell(RepairItem::Kind::kDoubtful, "", kNoRow, what); }

  void read_manifest_or_guess();
  void find_state(StoreSalvage& store);
  Row rows_before_log(Sequence applied) const;
  void find_ids(StoreSalvage& store);
  void take_id(const PageWalk::Entry& entry);
  void take_rows_without_entry();
  void drop_lost_rows();
  void make_directories();
  void copy_rows();
  void copy_rows_behind(RowFiles& out);
  void fill_store(StoreSalvage& store);
  void fill_ids(StoreFiller& out, StoreSalvage& store);
  void fill_metadata(StoreFiller& out, StoreSalvage& store);
  void fill_expiry(StoreFiller& out, StoreSalvage& store);
  void fill_log(StoreFiller& out, StoreSalvage& store);
  FieldCatalogue wanted_fields(const StoreSalvage& store);
  Manifest new_manifest() const;
  void copy_log();
  bool has_its_rows(const WalRecord& record) const;

  const std::string path_;
  const std::string target_;
  const RepairOptions& options_;
  FileSystem& files_;
  RepairReport& report_;
  VerifyReport problem_report_;
  ProblemList problems_;

  Manifest manifest_;
  std::string directory_;  // of the damaged generation
  std::unique_ptr<RawRows> rows_;
  std::unique_ptr<RawIds> ids_;
  MetaState state_;            // as it was; what the new store begins with
  bool log_is_placed_ = true;  // it is known which of its records are applied
  RowBits gone_{0};
  RowBits soft_{0};
  RowBits taken_{0};                            // rows that are saved, with their ids
  std::unordered_map<Row, std::string> known_;  // ids that only the store still knows
  std::vector<Row> added_;                      // taken without an entry that leads to them
  std::uint64_t id_bytes_ = 0;                  // of the new ids.bin
};

}  // namespace srvdb
