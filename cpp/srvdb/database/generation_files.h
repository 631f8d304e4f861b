// The files of one generation, taken to another directory: linked for a snapshot, copied for a
// backup and for restoring.
//
// metadata.db goes first, by the caller: its state says how many rows the other files must hold.
// They are append-only below what is published, so they may grow meanwhile. Codes and graph come
// along when they fit what the manifest says of them, and are left out otherwise: they can be made
// again. Errors: kStorage, kCorruption (a file that is too short); then an unknown part is left.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "srvdb/storage/manifest.h"
#include "srvdb/storage/meta_store.h"

namespace srvdb {

struct GenerationFiles {
  std::string from;  // directories, both there
  std::string to;
  const Manifest* manifest = nullptr;  // of the source
  MetaState state;                     // of the metadata store that goes with them
  // The target's number; when it is not the source's, the headers that name it are written anew.
  std::uint64_t generation = 0;
  bool link = false;  // where the file system can and nothing is written anew; else copied
};

struct TakenFiles {
  std::vector<ManifestDerived> derived;
  std::vector<ManifestFile> lengths;  // of the files, names without directory
};

// Copies are synced, links were; the directory is not.
TakenFiles take_generation(FileSystem& files, const GenerationFiles& what);

}  // namespace srvdb
