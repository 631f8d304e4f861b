// Proven bounds on the rounding error of the float32 kernels, so that a float32 pass can drop only
// rows that cannot be in the exact answer.
//
// The model (N. Higham, Accuracy and Stability of Numerical Algorithms, ch. 3 and 4): with u =
// 2^-24 and g(n) = n u / (1 - n u), a sum of n products in any order, with or without fused
// multiply-add, is off by at most g(n) * sum |a_i b_i| <= g(n) |a| |b|, plus n * 2^-150 where
// products underflow gradually. Results are infinite where an intermediate value could overflow:
// then nothing is dropped. Norms given here must not be below the true ones. The functions round
// their own result upward.
#pragma once

#include <cstddef>

namespace srvdb {

// |dot_f32(a, b) - <a, b>| <= this. Holds for dot_f32, dot_f32_rows and tile_dot without scales or
// bias.
double dot_margin(std::size_t dim, double norm_a, double norm_b) noexcept;

// |l2sq_f32(a, b) - |a-b|^2| <= this, where `computed` is what the kernel returned.
double l2_margin(std::size_t dim, double computed) noexcept;

// For tile_dot used on unit rows: rows packed with the scale float(1 / |x|), queries with float(1 /
// |q|), no bias. |score - cosine(q, x)| <= this, for 2^-100 <= |x|, |q| <= 2^100 (tile_scale() says
// which).
double tile_cosine_margin(std::size_t dim) noexcept;

// For tile_dot used on l2: bias[j] = float(-|x_j|^2 / 2) from a double-precision norm; then
// score ~ (|q|^2 - |q - x|^2) / 2. |score - exact| <= this. Monotone in norm_x: a bound for the
// largest norm of a block holds for all of the block.
double tile_l2_margin(std::size_t dim, double norm_q, double norm_x) noexcept;

// The scale to pack a row or query of that norm with under cosine: float(1 / norm); 0 for a zero
// vector (whose score is 0), NaN outside the range of tile_cosine_margin: every score of that row
// or query then is a hit and is rescored.
float tile_scale(double norm) noexcept;

}  // namespace srvdb
