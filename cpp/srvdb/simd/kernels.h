// The compute kernels: one constant table for each instruction set, all of the same meaning.
//
// Conventions. dim >= 1 unless said; pointers need the alignment of their element type and no more;
// nothing is read or written outside the stated arrays (prefetches excepted). All values are
// finite. Rows are row-major. Kernels keep no state: any thread, any time. Denormals count (never
// flushed).
//
//   *_f32   fast; the order of summation differs between instruction sets. distance/margin.h has
//           error bounds that hold for all of them. Overflow gives an infinity or a NaN.
//   *_f64   double precision over float32 input in 8 logical lanes (component i goes to lane i % 8,
//           products and sums rounded separately, one fixed reduction tree): the same bits on every
//           instruction set. Scores that users see come from these.
//   codes   integer arithmetic: the same keys on every instruction set.
//
// This header is included by translation units compiled for a single instruction set: it must
// define no function.
#pragma once

#include <cstddef>
#include <cstdint>

namespace srvdb::simd {

// One survivor of a tile: positions inside the tile's query and row panel.
struct TileHit {
  std::uint16_t query;
  std::uint16_t row;
  float score;
};

// Integer distances ("keys", lower is better) between a prepared query and rows of 8-bit codes.
// `stride`, the bytes of a code row, is a multiple of 64, and both the query and the codes are
// filled with zeros beyond the dimension. `query` is an array of `stride` elements whose type
// belongs to the kernel: int16 for l2_u8, int8 for dot_u8s8.
struct CodeKernels {
  std::int32_t (*one)(const void* query, const std::uint8_t* code, std::size_t stride) noexcept;
  // out[i] is the key of row ids[i]; ids may repeat and come in any order, and lie below the number
  // of rows at `base`. Prefetches ahead: made for rows scattered in memory.
  void (*many)(const void* query, const std::uint8_t* base, std::size_t stride,
               const std::uint32_t* ids, std::size_t n, std::int32_t* out) noexcept;
  // The rows of ids[0..n) whose key is at most `limit`, as pool words (below), in the order of ids;
  // returns their number; `out` has room for n + 16 words. Made for a graph walk, which has asked
  // for ids[0..asked) from memory before. Asks for ids[asked..last) on the way, a line for each
  // line it measures: asked for all at once they would keep the processor waiting for room for its
  // requests. `last` may be beyond n: rows to be measured the next time.
  std::size_t (*near)(const void* query, const std::uint8_t* base, std::size_t stride,
                      const std::uint32_t* ids, std::size_t n, std::size_t asked, std::size_t last,
                      std::int32_t limit, std::uint64_t* out) noexcept;
  // out[i] is the key of row i of n consecutive rows: made for scans.
  void (*rows)(const void* query, const std::uint8_t* base, std::size_t stride, std::size_t n,
               std::int32_t* out) noexcept;
};

inline constexpr std::size_t kScoredAtOnce = 4;  // rows of dot_f64_rows and its like

// A candidate of a graph walk in one word, so that candidates order by key, then row: the key with
// its sign bit turned over in the upper half, the row (below 2^31 - 1) in the next 31 bits, in the
// lowest a mark. A pool is a sorted array of them, 64-byte aligned; free places hold kNoCandidate.
inline constexpr std::uint64_t kNoCandidate = ~std::uint64_t{0};

struct PoolKernels {
  // Puts n candidates, none of which is in it, into a pool of `ef` places; those that do not fit
  // fall off its end. `ef` rounded up to 8 places are memory; those beyond ef stay free. Returns a
  // place before which nothing has changed.
  std::size_t (*insert)(std::uint64_t* pool, std::size_t ef, const std::uint64_t* candidates,
                        std::size_t n) noexcept;
  // The first place that holds an unmarked candidate, when there is none before `from`; `ef` or
  // more: there is none at all.
  std::size_t (*open)(const std::uint64_t* pool, std::size_t ef, std::size_t from) noexcept;
  // Of ids[0..n), which differ, those below `limit` whose bit in `marks` (bit id % 64 of word
  // id / 64) is clear, in order, to out, which has room for n + 16; sets their bits. Returns their
  // number, and the largest of all ids (0 where there are none) in `largest`.
  std::size_t (*take)(std::uint64_t* marks, const std::uint32_t* ids, std::size_t n,
                      std::uint32_t limit, std::uint32_t* out, std::uint32_t* largest) noexcept;
  // The same; those below `limit` whose bit was set go to `others`, in order, which has room for
  // n + 16. Adds their number to n_others.
  std::size_t (*part)(std::uint64_t* marks, const std::uint32_t* ids, std::size_t n,
                      std::uint32_t limit, std::uint32_t* out, std::uint32_t* others,
                      std::size_t* n_others, std::uint32_t* largest) noexcept;
};

inline constexpr std::size_t kHadamardLanes = 16;
// The largest magnitude of a component of a query that select_signs() is given.
inline constexpr int kMostSignQuery = 15;

// What the codes of rows' signs are compared with (quant/sign_quantizer.h).
struct SignTest {
  std::int32_t sum;  // of all components of the query
  float weight;      // of a row's addend
  float least;
};

inline constexpr std::size_t kPairColumns = 64;  // of a panel of codes come in multiples of it

// How encode_u8 maps a component: code = clamp(nearest_even((x - shift) * mul), 0, max_code), in
// float32; it stands for the value offset + scale * code, compared with x * unit in double.
struct EncodeParams {
  float shift;
  float mul;
  float max_code;
  double unit;
  double scale;
  double offset;
};

// How a query, of finite components, is rounded: code = nearest_even(clamp((x * unit - shift) *
// (1 / step), low, high)), where step is above 0, low and high are whole numbers that a code can
// be; it stands for the value shift + step * code. All in double precision.
struct RoundParams {
  double unit;
  double shift;
  double step;
  double low;
  double high;
};
struct Rounded {
  double error2;     // sum of (x * unit - (shift + step * code))^2
  std::int64_t sum;  // of the codes
};

struct Kernels {
  const char* name;  // "baseline", "avx2", "avx512", "avx512vnni", "amxint8" or "neon"

  // --- float32, one pair: <a, b> and ||a - b||^2.
  float (*dot_f32)(const float* a, const float* b, std::size_t dim) noexcept;
  float (*l2sq_f32)(const float* a, const float* b, std::size_t dim) noexcept;

  // --- float32, one query against n rows that begin `stride` floats apart; results to out[0..n).
  void (*dot_f32_rows)(const float* query, const float* rows, std::size_t stride, std::size_t n,
                       std::size_t dim, float* out) noexcept;
  void (*l2sq_f32_rows)(const float* query, const float* rows, std::size_t stride, std::size_t n,
                        std::size_t dim, float* out) noexcept;

  // --- float32 tiles, for batches of queries: up to tile_queries queries times up to tile_rows
  // rows. A panel of rows takes dim * tile_rows floats, a panel of queries dim * tile_queries
  // floats; panels are best aligned to 64 bytes. Both are padded with zeros by the pack functions.
  std::size_t tile_rows;
  std::size_t tile_queries;
  // Packs n rows (1 <= n <= tile_rows), given by address, each multiplied by its scale
  // (scales == nullptr: by one).
  void (*pack_rows)(const float* const* rows, std::size_t n, std::size_t dim, const float* scales,
                    float* panel) noexcept;
  void (*pack_queries)(const float* const* queries, std::size_t n, std::size_t dim,
                       const float* scales, float* panel) noexcept;
  // For each query i < n_queries and row j < n_rows: score = <query i, row j> + bias[j] (bias ==
  // nullptr: no bias). Writes a hit unless score < thresholds[i]: a NaN always becomes a hit, so it
  // is rescored rather than lost. Returns the number of hits, at most n_queries * n_rows, for which
  // `hits` must have room. bias and thresholds hold n_rows and n_queries values.
  std::size_t (*tile_dot)(const float* row_panel, const float* bias, std::size_t n_rows,
                          const float* query_panel, const float* thresholds, std::size_t n_queries,
                          std::size_t dim, TileHit* hits) noexcept;

  // --- threshold tests over an array of n results; the positions that pass go to out (room for n),
  // in order; returns their number. f32: everything that is not below / not above (a NaN passes).
  std::size_t (*select_not_below_f32)(const float* scores, std::size_t n, float threshold,
                                      std::uint32_t* out) noexcept;
  std::size_t (*select_not_above_f32)(const float* scores, std::size_t n, float threshold,
                                      std::uint32_t* out) noexcept;
  std::size_t (*select_not_above_i32)(const std::int32_t* keys, std::size_t n,
                                      std::int32_t threshold, std::uint32_t* out) noexcept;

  // --- double precision, same bits everywhere.
  double (*dot_f64)(const float* a, const float* b, std::size_t dim) noexcept;
  double (*l2sq_f64)(const float* a, const float* b, std::size_t dim) noexcept;
  // Returns <a, b> and stores <b, b>.
  double (*dot_norm_f64)(const float* a, const float* b, std::size_t dim, double* b_norm2) noexcept;
  // The same for kScoredAtOnce rows b[0], b[1], ... side by side, which is quicker; b[r] may
  // repeat. Asks for the rows at ahead[r] from memory on the way (hints: any address will do).
  void (*dot_f64_rows)(const float* a, const float* const* b, const float* const* ahead,
                       std::size_t dim, double* out) noexcept;
  void (*l2sq_f64_rows)(const float* a, const float* const* b, const float* const* ahead,
                        std::size_t dim, double* out) noexcept;
  void (*dot_norm_f64_rows)(const float* a, const float* const* b, const float* const* ahead,
                            std::size_t dim, double* out, double* b_norm2) noexcept;
  // Sum of squares. May be given any bits: the result is finite exactly when every component is.
  double (*norm2_f64)(const float* a, std::size_t dim) noexcept;
  // Largest magnitude of the components, 0 where there are none; not for a NaN.
  float (*largest_f32)(const float* a, std::size_t dim) noexcept;

  // --- 8-bit codes.
  // Codes `dim` components (not the padding) and returns the squared error, sum of
  // (x * unit - (offset + scale * code))^2. Same codes and same bits everywhere.
  double (*encode_u8)(const float* row, std::size_t dim, const EncodeParams& params,
                      std::uint8_t* code) noexcept;
  // Rounds `dim` components of a query (not the padding). Same codes and same bits everywhere.
  Rounded (*round_i8)(const float* query, std::size_t dim, const RoundParams& params,
                      std::int8_t* codes) noexcept;
  Rounded (*round_i16)(const float* query, std::size_t dim, const RoundParams& params,
                       std::int16_t* codes) noexcept;
  // key = sum of (code - query)^2, query int16. The caller keeps the sum below 2^31 and every
  // difference within int16 (quant/scalar_quantizer.h says how).
  CodeKernels l2_u8;
  // key = -sum of code * query, query int8. Cannot overflow up to kMaxDimension.
  CodeKernels dot_u8s8;

  // --- codes of signs. The Walsh-Hadamard transform of each of the kHadamardLanes columns of a
  // row-major matrix of n floats in place, times `unit`. n is kHadamardLanes times a power of two.
  // The same bits everywhere.
  void (*hadamard_f32)(float* x, std::size_t n, float unit) noexcept;
  // Of ids[0..n), in order, those for which
  //   factor * (2 * sum of the query's components at set bits - test.sum) + test.weight * addend
  // is not below test.least (a NaN passes), to out, which has room for n; returns their number. A
  // row is `bits` (a multiple of 64) bits, component i in bit i % 8 of byte i / 8, then factor and
  // addend as float32. The same rows on every instruction set.
  std::size_t (*select_signs)(const std::int8_t* query, std::size_t bits, const std::uint8_t* base,
                              std::size_t stride, const std::uint32_t* ids, std::size_t n,
                              const SignTest& test, std::uint32_t* out) noexcept;

  PoolKernels pool;
  // --- 8-bit codes, all pairs. A panel holds n rows ("columns") of codes in a layout that belongs
  // to the kernel: round_up(n, kPairColumns) * stride bytes, aligned to 64.
  void (*pack_pairs)(const std::uint8_t* base, const std::uint32_t* ids, std::size_t n,
                     std::size_t stride, std::uint8_t* panel) noexcept;
  // out[i * out_stride + j] = bias[j] - (sum of row i * column j << shift), modulo 2^32. Rows are
  // int8, `stride` apart, 64-byte aligned; any value may stand where the columns are padded. bias
  // and each row of out have room for round_up(n_columns, kPairColumns) values; what is written
  // beyond n_columns means nothing.
  void (*pair_keys)(const std::int8_t* rows, std::size_t n_rows, const std::uint8_t* panel,
                    std::size_t n_columns, std::size_t stride, const std::int32_t* bias, int shift,
                    std::int32_t* out, std::size_t out_stride) noexcept;
};

// Defined where the build has them; dispatch.h says which of them the processor can run.
extern const Kernels kBaselineKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512VnniKernels;
extern const Kernels kNeonKernels;

}  // namespace srvdb::simd
