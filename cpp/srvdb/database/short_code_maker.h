// The short codes of one generation: whether there are to be any, and keeping them in step.
// Internal to Indexer, whose mutex guards it.
//
// reduction.bin says how they are made, short.i8 has them. Whether short codes pay, and of which
// form (quant/short_coder.h), depends on the rows, so it is decided by a sample of those there are:
// by how much few directions hold, and by trying them (short_code_trial.h); components first, which
// are shorter. It is decided again when rows have become four times as many, or a quarter of them
// came since, while this process had the generation open, and the components hold less of these,
// or signs no longer pass the trial.
// What was decided outlasts the process: the manifest's entry names no file where there are to be
// none. Which rows there are at that moment depends on timing, and so do short codes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "srvdb/base/interrupt.h"
#include "srvdb/database/code_files.h"
#include "srvdb/database/index_view.h"
#include "srvdb/database/view.h"
#include "srvdb/index/row_mapping.h"
#include "srvdb/quant/short_coder.h"
#include "srvdb/storage/manifest.h"

namespace srvdb {

inline constexpr const char* kReductionName = "reduction.bin";

// What short codes with that header were made by. Throws Error(kCorruption) when reduction.bin is
// something else, or does not fit them; what the file layer throws when it is not there.
ShortCoder read_short_coder(FileSystem& files, const std::string& directory,
                            const StridedHeader& codes, std::size_t dim, Metric metric);

// For tests: as if ShortCodeMaker::kLeastRows were that many from now on.
void set_least_short_coded_rows_for_tests(Row rows);

class ShortCodeMaker {
 public:
  // Rows from which there may be any: the usual codes of fewer lie in the processor's caches.
  static constexpr Row kLeastRows = 16'384;

  struct Config {
    std::string directory;  // of the generation
    Uuid uuid{};
    std::uint64_t generation = 0;
    std::size_t dim = 0;
    Metric metric = Metric::kCosine;
    bool read_only = false;
  };
  ShortCodeMaker(FileSystem& files, Config config);

  // Takes over what the entry says. Throws Error(kCorruption); then nothing is decided.
  void load(const ManifestDerived& entry, Row rows);
  // As before any decision; the files stay until others take their place.
  void forget();

  // Whether it is worth deciding anew with so many rows; sooner when the caller was asked to do
  // all that helps. `scratch` is what memory that may take, in bytes.
  bool due(Row rows, bool asked, std::size_t scratch) const noexcept;
  // Decides by rows [0, rows) of the view, which have these usual codes. Where there are to be
  // other short codes than before they all lag then. `scratch` as in due(). Error(kInterrupted):
  // nothing has changed.
  void decide(const View& view, const CodesView& codes, const ScalarQuantizer& quantizer, Row rows,
              std::size_t scratch, Interrupt* interrupt);
  // No short codes until there are many more rows, as far as this process goes: making them fails.
  void give_up(Row rows);
  // Whether rows below `last` are to have short codes and have none yet.
  bool lags(Row last) const noexcept { return made_ && made_->rows() < last; }
  // Codes a piece of the rows below `last`, of which some have to lag.
  void follow(const View& view, Row last, std::size_t threads, Interrupt* interrupt);

  // What was decided, and carried out, is not in the manifest. From any thread.
  bool unsaved() const noexcept { return unsaved_.load(std::memory_order_relaxed); }
  // What the next View is to show.
  void show(IndexView& out) const;
  // Makes what is there of `published` rows durable; what the manifest is to say.
  std::optional<ManifestDerived> save(Row published);
  // For compaction: writes those that a view shows of the rows that the mapping keeps into the
  // directory of `generation`, synced; what its manifest is to say. From any thread. Throws
  // DerivedDamage.
  std::optional<ManifestDerived> copy(const IndexView& index, const std::string& directory,
                                      std::uint64_t generation, const RowMapping& mapping,
                                      Interrupt* interrupt) const;

 private:
  bool may_have_components(std::size_t scratch) const noexcept;
  bool drifted(Row rows) const noexcept;
  void write_coder(const std::string& directory, const std::string& bytes) const;
  StridedHeader header(const ShortCoder& coder, std::uint64_t generation, const std::string& bytes,
                       Row decided) const;
  std::string path(const char* name) const { return config_.directory + "/" + name; }

  FileSystem& files_;
  const Config config_;
  Row decided_rows_ = 0;  // that there were when it was decided; 0: not decided
  bool given_up_ = false;
  std::atomic<bool> unsaved_{false};
  std::shared_ptr<const ShortCoder> coder_;
  std::unique_ptr<CodeFiles> made_;       // null where there are none
  std::shared_ptr<const CodePart> part_;  // what is shown of them
  Reduction::Held held_;                  // of rows that were coded since the decision, here,
  Row held_rows_ = 0;                     //   how many they are
};

}  // namespace srvdb
