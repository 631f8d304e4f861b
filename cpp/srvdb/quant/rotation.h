// A fixed rotation of vectors that looks random to their components, which spreads what is in a few
// of them evenly over all, as 1-bit codes need (Gao and Long, RaBitQ, 2024).
//
// Rounds of a permutation, signs turned over at random, and Hadamard transforms down the columns of
// the vector as a matrix 16 wide: that takes a step of vectors of 16 where a transform of the whole
// takes shuffles. A number of rows that is no power of two is covered by two transforms that
// overlap. The same for all time for a number of components. Immutable: thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace srvdb {

class Rotation {
 public:
  // Of vectors of so many components, a multiple of 64, at most 65,536.
  explicit Rotation(std::size_t components);

  std::size_t components() const noexcept { return signs_.size(); }
  // Rotates components() floats in place; `room` is for as many.
  void apply(float* vector, float* room) const noexcept;

 private:
  std::vector<std::uint16_t> from_;  // where a component comes from in each round,
  std::vector<float> signs_;         //   and what it is multiplied by
  std::size_t width_;                // components of a transform
  float unit_;                       // makes it a rotation
};

}  // namespace srvdb
