// SPDX-License-Identifier: Apache-2.0
// How many blocks a kernel gets that loops in strides of its grid. Include it in .cu files.
#pragma once

#include <cstdint>

#include "core/integers.h"
#include "core/simt.cuh"

namespace ldie {

// What CUDA allows a grid: of x, and of y or z.
constexpr int64_t kMostBlocksX = (int64_t(1) << 31) - 1, kMostBlocks = 65535;

// One block for each piece of work, as far as they go.
inline unsigned grid_side(int64_t pieces, int64_t most = kMostBlocks) {
  return unsigned(pieces < most ? pieces : most);
}

// Blocks that do `per_block` of the items each.
inline unsigned grid_blocks(int64_t items, int64_t per_block, int64_t most = kMostBlocks) {
  return grid_side(ceil_div(items, per_block), most);
}

// Enough to fill every GPU, and few enough to add their partial sums quickly.
inline unsigned loop_blocks(int64_t items, int threads) { return grid_blocks(items, threads, 2048); }

// The place of this thread among all of a one-dimensional grid, and how many they are: where a loop begins, its stride.
template <int kThreads>
__device__ __forceinline__ int64_t thread_index() {
  return int64_t(blockIdx.x) * kThreads + threadIdx.x;
}
template <int kThreads>
__device__ __forceinline__ int64_t grid_threads() {
  return int64_t(gridDim.x) * kThreads;
}

}  // namespace ldie
