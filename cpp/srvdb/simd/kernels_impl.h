// The kernels as templates over an instruction set, and the table made of them.
//
// Included only by kernels_<set>.cpp, which defines a struct `Isa` with
//   Arch            the xsimd architecture
//   kTileVectors    registers of rows in a tile, kTileQueries queries in a tile
//   load_partial    the first n floats of a register (n < its width), the rest zero
//   load_double     batch<double>::size floats widened to double
//   Codes           64-byte steps of the code kernels (impl_codes.h), and of signs (impl_signs.h)
//   Pool            the pool of a graph walk (impl_pool.h)
//   Pairs           all pairs of codes, where it has its own way (impl_pairs.h has the plain one)
// Everything stands in an anonymous namespace and uses no inline function of the standard library:
// an object compiled with wide instructions must give the linker nothing that other code could
// pick.
#pragma once

#include "srvdb/simd/impl_codes.h"
#include "srvdb/simd/impl_double.h"
#include "srvdb/simd/impl_float.h"
#include "srvdb/simd/impl_hadamard.h"
#include "srvdb/simd/impl_pairs.h"
#include "srvdb/simd/impl_pool.h"
#include "srvdb/simd/impl_rounding.h"
#include "srvdb/simd/impl_signs.h"
#include "srvdb/simd/impl_tile.h"
#include "srvdb/simd/kernels.h"

namespace srvdb::simd {
namespace {

template <class Isa>
struct PairsOf {
  using Type = PlainPairs<typename Isa::Codes::NegDot>;
};
template <class Isa>
requires requires {
  typename Isa::Pairs;
}
struct PairsOf<Isa> {
  using Type = typename Isa::Pairs;
};

template <class Isa>
constexpr Kernels make_kernels(const char* name) {
  using Tile = TileKernels<Isa>;
  using Float = FloatKernels<Isa>;
  using Double = DoubleKernels<Isa>;
  using Rounding = RoundingKernels<Isa>;
  using Pairs = typename PairsOf<Isa>::Type;
  return {
      .name = name,
      .dot_f32 = &Float::template pair<Dot>,
      .l2sq_f32 = &Float::template pair<L2>,
      .dot_f32_rows = &Float::template rows<Dot>,
      .l2sq_f32_rows = &Float::template rows<L2>,
      .tile_rows = Tile::kRows,
      .tile_queries = Tile::kQueries,
      .pack_rows = &Tile::pack_rows,
      .pack_queries = &Tile::pack_queries,
      .tile_dot = &Tile::tile_dot,
      .select_not_below_f32 = &Float::select_not_below,
      .select_not_above_f32 = &Float::select_not_above,
      .select_not_above_i32 = &Float::select_keys_not_above,
      .dot_f64 = &Double::dot,
      .l2sq_f64 = &Double::l2sq,
      .dot_norm_f64 = &Double::dot_norm,
      .dot_f64_rows = &Double::dot_rows,
      .l2sq_f64_rows = &Double::l2sq_rows,
      .dot_norm_f64_rows = &Double::dot_norm_rows,
      .norm2_f64 = &Double::norm2,
      .largest_f32 = &Rounding::largest,
      .encode_u8 = &Double::encode,
      .round_i8 = &Rounding::template round<std::int8_t>,
      .round_i16 = &Rounding::template round<std::int16_t>,
      .l2_u8 = make_code_kernels<typename Isa::Codes::L2, typename Isa::Pool>(),
      .dot_u8s8 = make_code_kernels<typename Isa::Codes::NegDot, typename Isa::Pool>(),
      .hadamard_f32 = &hadamard<Isa>,
      .select_signs = &SignLoops<typename Isa::Codes::Signs>::select,
      .pool = make_pool_kernels<typename Isa::Pool>(),
      .pack_pairs = &Pairs::pack,
      .pair_keys = &Pairs::keys,
  };
}

}  // namespace
}  // namespace srvdb::simd
