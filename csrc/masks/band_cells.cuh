// SPDX-License-Identifier: Apache-2.0
// How many pixels of a band of a mask lie in each cell of a stride, in shared memory. Include it in .cu files.
#pragma once

#include "masks/band.cuh"
#include "masks/mask_target_pyramid.h"

namespace ldie::masks {

constexpr int kBandStride = 64;  // the greatest whose cells lie in one band: its rows

// Cells of a stride in a band: rows, and columns of the widest one.
LDIE_HD int band_cell_rows(int stride) { return kBandStride / stride; }
LDIE_HD int band_cell_columns(int stride) { return int(kBandColumns) / stride; }

template <int kThreads>
struct BandCells {
  using Bits = BandBits<kThreads, kBandStride>;

  uint8_t squares[(kBandStride / kSquare) * (kBandColumns / kSquare)];  // cells of stride 4
  uint16_t sums[2720];                                                  // of strides 8 to 64, one after the other

  // Pixels [x, x + 32) of a row, 0 beyond the band.
  static __device__ uint32_t pixels(const Bits& bits, const Band<const uint8_t>& band, int y, int x) {
    return y < band.rows && x < band.width ? bits.pixels(band, y, x) : 0;
  }

  // All strides from 4 on. All threads call, before and behind a barrier.
  __device__ void count(const Bits& bits, const Band<const uint8_t>& band, int largest_stride) {
    const int columns = ceil_div(band.width, kBandStride);  // of the coarsest cells; finer ones fill them
    for (int i = threadIdx.x; i < 2 * columns * band_cell_rows(kSquare); i += kThreads) {
      const int y = i / (2 * columns), x = i - y * 2 * columns;
      uint32_t fours[kSquare];
#pragma unroll
      for (int row = 0; row < kSquare; ++row) {
        fours[row] = uint32_t(count_fours<uint64_t>(pixels(bits, band, kSquare * y + row, 32 * x)));
      }
      const uint64_t upper = fours[0] + fours[1], lower = fours[2] + fours[3];
      const uint64_t even = even_squares(upper, lower), odd = odd_squares(upper, lower);
      uint8_t* const to = squares + y * band_cell_columns(kSquare) + 8 * x;
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        to[2 * pair] = uint8_t(even >> 8 * pair);
        to[2 * pair + 1] = uint8_t(odd >> 8 * pair);
      }
    }
    for (int stride = 2 * int(kSquare); stride <= min(largest_stride, kBandStride); stride *= 2) {
      __syncthreads();
      const int width = columns * (kBandStride / stride);
      for (int i = threadIdx.x; i < width * band_cell_rows(stride); i += kThreads) {
        const int y = i / width, x = i - y * width, fine = stride / 2;
        sums[sum_place(stride, y, x)] = uint16_t(counted(fine, 2 * y, 2 * x) + counted(fine, 2 * y, 2 * x + 1) +
                                                 counted(fine, 2 * y + 1, 2 * x) + counted(fine, 2 * y + 1, 2 * x + 1));
      }
    }
  }

  // Of any stride up to 64; the finest are not kept.
  __device__ int cell(const Bits& bits, const Band<const uint8_t>& band, int stride, int y, int x) const {
    if (stride >= kSquare) return counted(stride, y, x);
    if (stride == 1) return int(pixels(bits, band, y, x) & 1);
    return __popc(pixels(bits, band, 2 * y, 2 * x) & 3) + __popc(pixels(bits, band, 2 * y + 1, 2 * x) & 3);
  }

 private:
  static __device__ int sum_place(int stride, int y, int x) {
    const int all = kBandStride * int(kBandColumns), before = (all / 64 - all / (stride * stride)) * 4 / 3;
    return before + y * band_cell_columns(stride) + x;
  }

  __device__ int counted(int stride, int y, int x) const {
    return stride == kSquare ? squares[y * band_cell_columns(kSquare) + x] : sums[sum_place(stride, y, x)];
  }
};

}  // namespace ldie::masks
