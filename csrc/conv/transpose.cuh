// SPDX-License-Identifier: Apache-2.0
// What the products of matrices want in another order or many times, written with contiguous accesses.
#pragma once

#include "conv/deform_conv2d.h"
#include "core/integers.h"
#include "core/pack.cuh"

namespace ldie::conv {

constexpr int kTransposeTile = 32, kTransposeRows = 8;  // a tile's side; rows of threads, so 4 loads each under way

// Through tiles in shared memory. Reads and writes every element once: 17 MB for 2 images of 256 x 50 x 84 floats and 5
// MB for 256 x 256 x 3 x 3 weights, 5 us at a copy's speed on an H200, where the two launches take 14.9.
template <typename T>
__global__ void __launch_bounds__(kTransposeTile* kTransposeRows) transpose_kernel(Transpose<T> args) {
  LDIE_SHARED(T, tile, [kTransposeTile][kTransposeTile + 1]);
  const int64_t across = ceil_div(args.columns, kTransposeTile);
  const int64_t down = ceil_div(args.rows, kTransposeTile);
  const int x = int(threadIdx.x) % kTransposeTile, y = int(threadIdx.x) / kTransposeTile;
  for (int64_t i = blockIdx.x; i < args.count * down * across; i += gridDim.x) {
    const int64_t line = divide_size(i, across), matrix = divide_size(line, down);
    const int64_t column = (i - line * across) * kTransposeTile, row = (line - matrix * down) * kTransposeTile;
    const T* const input = args.input + matrix * args.rows * args.columns;
    T* const output = args.output + matrix * args.rows * args.columns;
    T loaded[kTransposeTile / kTransposeRows];
#pragma unroll
    for (int k = 0; k < kTransposeTile / kTransposeRows; ++k) {
      const int64_t from = row + y + k * kTransposeRows;
      loaded[k] = T(0.f);
      if (from < args.rows && column + x < args.columns) loaded[k] = input[from * args.columns + column + x];
    }
#pragma unroll
    for (int k = 0; k < kTransposeTile / kTransposeRows; ++k) tile[y + k * kTransposeRows][x] = loaded[k];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kTransposeTile; k += kTransposeRows) {
      const bool inside = column + y + k < args.columns && row + x < args.rows;
      if (inside) output[(column + y + k) * args.rows + row + x] = tile[x][y + k];
    }
    __syncthreads();  // before the next tile overwrites this one
  }
}

// Writes every element once, 16 bytes a store where rows consist of whole ones: 3.9 us for the 8.6 MB of that output.
template <int kWidth, typename T>
__global__ void __launch_bounds__(kTransposeTile* kTransposeRows) repeat_row_kernel(RepeatRow<T> args) {
  const int64_t across = args.columns / kWidth, step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < args.rows * across; i += step) {
    store_pack<kWidth>(args.output, i, load_pack<kWidth>(args.row, i - divide_size(i, across) * across));
  }
}

}  // namespace ldie::conv
