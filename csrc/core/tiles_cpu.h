// SPDX-License-Identifier: Apache-2.0
// Elementwise CPU loops in tiles that stay in the first-level cache, and sums over them that do not depend on the
// number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/context.h"
#include "core/fast_math.h"
#include "core/half.h"
#include "core/integers.h"
#include "core/lanes_cpu.h"
#include "core/limits.h"
#include "core/parallel_cpu.h"

namespace ldie {

constexpr int64_t kTile = 2048;

// `count` elements in the type to compute in: the elements themselves, or 16-bit ones converted into `buffer`.
template <typename T>
const acc_t<T>* load_tile(const T* elements, int64_t count, acc_t<T>* buffer) {
  if constexpr (std::is_same_v<T, acc_t<T>>) {
    return elements;
  } else {
    for (int64_t i = 0; i < count; ++i) buffer[i] = elements[i];
    return buffer;
  }
}

// e^-|x| of a tile, what logistic() takes, in a loop of its own: the operations on an element in one loop are a longer
// chain than a processor overlaps with those on the next, and take 1.5 times as long.
template <typename A>
inline __attribute__((always_inline)) void exp_minus_abs(const A* x, int64_t count, A* powers) {
  for (int64_t i = 0; i < count; ++i) powers[i] = exp_minus_abs(x[i]);
}

// Sum of at most a tile: independent lanes that vectorise, joined in double. Their number is part of the result.
template <typename A>
double tile_sum(const A* values, int64_t count) {
  constexpr int64_t kSums = 16;
  A lanes[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= count; i += kSums) {
    for (int64_t lane = 0; lane < kSums; ++lane) lanes[lane] += values[i + lane];
  }
  double sum = 0;
  for (; i < count; ++i) sum += double(values[i]);
  for (int64_t lane = 0; lane < kSums; ++lane) sum += double(lanes[lane]);
  return sum;
}

// The greatest value; NaN is passed over, and of nothing it is -infinity.
template <typename A>
A tile_maximum(const A* values, int64_t count) {
  Lanes<A> lanes = all_lanes(-kInfinite<A>);
  int64_t i = 0;
  for (; i + kLanes<A> <= count; i += kLanes<A>) {
    const Lanes<A> next = load_lanes(values + i);
    lanes = next > lanes ? next : lanes;
  }
  A greatest = -kInfinite<A>;
  for (; i < count; ++i) greatest = std::max(greatest, values[i]);
  for (int64_t lane = 0; lane < kLanes<A>; ++lane) greatest = std::max(greatest, A(lanes[lane]));
  return greatest;
}

// Calls body(begin, count) for the tiles of [0, total), over threads.
template <typename Body>
void for_each_tile(int64_t total, const Body& body) {
  constexpr int64_t kTilesPerTask = 16;
  parallel_for(ceil_div(total, kTile), kTilesPerTask, [&](int64_t first, int64_t last) {
    for (int64_t tile = first; tile < last; ++tile) {
      const int64_t begin = tile * kTile;
      body(begin, total - begin < kTile ? total - begin : kTile);
    }
  });
}

// The sum of body(begin, count), a double or any type with +=, over the tiles of [0, total), added in their order.
template <typename Body>
auto sum_over_tiles(Context& context, int64_t total, const Body& body) {
  using Sum = decltype(body(int64_t(), int64_t()));
  const int64_t tiles = ceil_div(total, kTile);
  Sum* const sums = context.scratch_array<Sum>(tiles);
  for_each_tile(total, [&](int64_t begin, int64_t count) { sums[begin / kTile] = body(begin, count); });
  Sum sum{};
  for (int64_t tile = 0; tile < tiles; ++tile) sum += sums[tile];
  return sum;
}

}  // namespace ldie
