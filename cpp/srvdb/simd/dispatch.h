// Which kernels this process runs.
//
// The processor and the operating system (which must save the wide registers) are asked once. The
// environment variable SRVDB_SIMD = baseline | avx2 | avx512 | avx512vnni | amxint8 | neon picks a
// table by name; tests run every one that way. Thread-safe.
#pragma once

#include <string_view>
#include <vector>

#include "srvdb/simd/code_tiles.h"
#include "srvdb/simd/kernels.h"

namespace srvdb::simd {

// The table in use: the widest supported one, or the one SRVDB_SIMD names. Chosen on the first
// call. Throws Error(kInvalidInput) while SRVDB_SIMD holds a name that is unknown or not supported
// here.
const Kernels& kernels();

// Tiles of codes to go with a table, or nullptr. For "amxint8" the operating system is asked for
// the tile registers on the first call, for the whole process and for good; when it refuses, those
// of "avx512vnni" are given.
const CodeTiles* code_tiles(const Kernels& of = kernels());

// Every table that this processor can run, narrowest first.
const std::vector<const Kernels*>& supported_kernels();

// The table of that name; "" means the widest supported. Throws Error(kInvalidInput), listing the
// names that would do.
const Kernels& kernels_named(std::string_view name);

}  // namespace srvdb::simd
