// The parts of verify(): where problems are gathered, and the look at one generation directory.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "srvdb/database/code_files.h"
#include "srvdb/database/inspect.h"
#include "srvdb/database/verify.h"
#include "srvdb/storage/page_walk.h"

namespace srvdb {

// Problems under names relative to the database, each once, at most kMaxProblems of them.
class ProblemList {
 public:
  ProblemList(std::string root, VerifyReport& report) : root_(std::move(root)), report_(report) {}
  // `path` is a path below the root.
  void add(const std::string& path, std::uint64_t offset, const std::string& what,
           Problem::Kind kind = Problem::Kind::kDamage);
  void count_file() { ++report_.files; }
  // The path relative to the root.
  std::string shown(const std::string& path) const;

 private:
  const std::string root_;
  VerifyReport& report_;
  std::set<std::pair<std::string, std::string>> told_;
};

// Everything in one generation directory: of the database, or of a snapshot.
class GenerationCheck {
 public:
  GenerationCheck(FileSystem& files, std::string directory, const Manifest& manifest,
                  const VerifyOptions& options, ProblemList& problems);
  void run();

  const MetaState& state() const noexcept { return state_; }  // after run()
  // Null when the manifest knows no dimension.
  const RawRows* rows() const noexcept { return rows_.get(); }

 private:
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::uint32_t dimension() const noexcept { return manifest_.spaces[0].dimension; }
  bool check_length(const MappedFile& file, std::uint64_t expected);
  void check_header();
  void check_row_sums();
  void tell_bad_row(Row row);
  void check_id_sums();
  void tell_bad_id(Row row);
  void check_store(PageWalk& walk);
  void read_bits(PageWalk& walk);
  void check_ids_tree(PageWalk& walk);
  void check_id_entry(const PageWalk::Entry& entry);
  void check_other_trees(PageWalk& walk);
  void check_columns(PageWalk& walk);
  void check_derived();
  void check_codes(const ManifestDerived& entry, const CodeKind& kind);
  void check_codes_header(const StridedHeader& header, const CodeKind& kind);
  void check_graph(const ManifestDerived& entry);
  void derived(const std::string& name, std::uint64_t offset, const std::string& what);

  FileSystem& files_;
  const std::string directory_;
  const Manifest& manifest_;
  const VerifyOptions& options_;
  ProblemList& problems_;
  MetaState state_;
  std::unique_ptr<RawRows> rows_;
  std::unique_ptr<RawIds> ids_;
  RowBits gone_{0};
  RowBits soft_{0};
  RowBits found_{0};  // rows that an id leads to
};

// The log of a database whose store has applied everything up to `applied`. `live`: a writer is at
// work, so the log's end may be in the middle of a record.
void check_log(FileSystem& files, const std::string& directory, Sequence applied,
               const RawRows* rows, bool live, ProblemList& problems);

}  // namespace srvdb
