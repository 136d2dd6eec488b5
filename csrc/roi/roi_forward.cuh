// SPDX-License-Identifier: Apache-2.0
// Forward of RoIAlign. A block makes up to kBinBlock x kBinBlock bins of some channels of one RoI: two of its warps
// find the taps of the two axes, then all warps apply them. The RoIs are the fastest index of the grid, so that blocks
// that run together read the same channels: what they share stays in the L2 cache, and the features come from memory
// once.
#pragma once

#include "core/fast_math.h"
#include "core/pack.cuh"
#include "roi/roi_part.cuh"

namespace ldie {

constexpr int kPlaneChannels = 32;  // of a block, where a channel is a plane
constexpr int kPlanes = 2;          // channels that a warp makes at once

// Cells of a plane that a warp keeps between the two passes.
template <typename A>
constexpr int kTileCells = 2048 / int(sizeof(A));

// Walks the elements lane, lane + 32, ... of rows of `width` without a division at each.
class LaneCursor {
 public:
  int row, column;

  __device__ LaneCursor(int lane, int width)
      : row(lane / width), column(lane % width), width_(width), rows_(kWarpSize / width), columns_(kWarpSize % width) {}
  __device__ void advance() {
    row += rows_;
    column += columns_;
    if (column >= width_) {
      column -= width_;
      ++row;
    }
  }

 private:
  int width_, rows_, columns_;
};

// kPlanes planes of the features and of the output; where there is no second channel, the first stands twice.
template <typename T>
struct PlanePair {
  const T* features[kPlanes];
  T* output[kPlanes];
  int32_t width;      // of the features
  int64_t out_width;  // of the output
};

// tile[bin row, column] = sum over y of wy * feature: lanes lie along the rows, whose loads are contiguous.
template <typename T>
__device__ __forceinline__ void blend_rows(const PlanePair<T>& planes, const AxisTaps<acc_t<T>>& y, int first_row,
                                           int rows, int first_column, int columns, acc_t<T>* tile) {
  using A = acc_t<T>;
  const int lane = int(threadIdx.x) % kWarpSize;
  LaneCursor at(lane, columns);
  for (int i = lane; i < rows * columns; i += kWarpSize, at.advance()) {
    const int bin = first_row + at.row;
    const CellWeight<A>* const taps = y.bin(bin);
    const int count = y.count[bin];
    A sums[kPlanes] = {};
#pragma unroll 4
    for (int k = 0; k < count; ++k) {
      const CellWeight<A> tap = taps[k];
      const int64_t cell = int64_t(tap.cell) * planes.width + (first_column + at.column);
#pragma unroll
      for (int j = 0; j < kPlanes; ++j) sums[j] = mul_add(tap.weight, A(planes.features[j][cell]), sums[j]);
    }
#pragma unroll
    for (int j = 0; j < kPlanes; ++j) tile[j * kTileCells<A> + i] = sums[j];
  }
}

// output[bin row, bin] = sum over x of wx * tile: lanes lie along the bins, which are stored side by side.
template <typename T>
__device__ __forceinline__ void blend_columns(const PlanePair<T>& planes, const AxisTaps<acc_t<T>>& x, int first_row,
                                              int rows, int bins, int columns, const acc_t<T>* tile) {
  using A = acc_t<T>;
  const int lane = int(threadIdx.x) % kWarpSize;
  LaneCursor at(lane, bins);
  for (int i = lane; i < rows * bins; i += kWarpSize, at.advance()) {
    const CellWeight<A>* const taps = x.bin(at.column);
    const int count = x.count[at.column];
    A sums[kPlanes] = {};
#pragma unroll 4
    for (int k = 0; k < count; ++k) {
      const CellWeight<A> tap = taps[k];
      const int cell = at.row * columns + tap.cell - x.begin;
#pragma unroll
      for (int j = 0; j < kPlanes; ++j) sums[j] = mul_add(tap.weight, tile[j * kTileCells<A> + cell], sums[j]);
    }
    const int64_t place = (first_row + at.row) * planes.out_width + at.column;
#pragma unroll
    for (int j = 0; j < kPlanes; ++j) {
      if (j == 0 || planes.output[j] != planes.output[0]) planes.output[j][place] = T(sums[j]);
    }
  }
}

template <typename T>
__device__ __forceinline__ PlanePair<T> plane_pair(const RoiAlign<T>& args, const RoiPart<acc_t<T>>& part,
                                                   int channel) {
  const auto& layout = args.layout;
  PlanePair<T> planes;
  planes.width = layout.levels[part.level].width;
  planes.out_width = layout.bins_x;
  const int64_t corner = part.first_y * layout.bins_x + part.first_x, cells = layout.levels[part.level].cells();
#pragma unroll
  for (int j = 0; j < kPlanes; ++j) {
    const int64_t plane = part.channel + min(channel + j, part.channels - 1);
    planes.features[j] = args.features[part.level] + (part.image * layout.channels + plane) * cells;
    planes.output[j] = args.output + (part.row * layout.channels + plane) * layout.bins() + corner;
  }
  return planes;
}

// By one warp: as many rows of bins at a time as its tile holds.
template <typename T>
__device__ __forceinline__ void make_planes(const RoiAlign<T>& args, const RoiPart<acc_t<T>>& part, acc_t<T>* tile) {
  const int warp = int(threadIdx.x) / kWarpSize, columns = max(part.x.end - part.x.begin, 0);
  const int most_rows = columns > 0 ? min(part.bins_y, kTileCells<acc_t<T>> / columns) : part.bins_y;
  for (int channel = warp * kPlanes; channel < part.channels; channel += kForwardWarps * kPlanes) {
    const PlanePair<T> planes = plane_pair(args, part, channel);
    for (int first = 0; first < part.bins_y; first += most_rows) {
      const int rows = min(most_rows, part.bins_y - first);
      __syncwarp();  // the tile may still be read
      if (columns > 0) blend_rows(planes, part.y, first, rows, part.x.begin, columns, tile);
      __syncwarp();
      blend_columns(planes, part.x, first, rows, part.bins_x, columns, tile);
    }
  }
}

// Writes the output and reads what the RoIs cover: 512 RoIs of 256 x 7 x 7 floats write 26 MB and read at most the
// 182 MB of P2 to P5 of two 800 x 1344 images: 43 us of an H200's bandwidth. Each bin takes at most 16 loads for 4
// samples; in two passes it takes about 14 row loads for a bin row's 20 columns, all contiguous, and 4 of the tile.
template <typename T>
__global__ void __launch_bounds__(kForwardThreads, 3)
    roi_align_planes_kernel(const __grid_constant__ RoiAlign<T> args, WideParts wide) {
  using A = acc_t<T>;
  LDIE_SHARED(RoiPart<A>, part, );
  LDIE_SHARED(A, tiles, [kForwardWarps][kPlanes * kTileCells<A>]);
  for (unsigned i = blockIdx.y; i < wide.parts; i += gridDim.y) {
    for (int64_t row = blockIdx.x; row < args.layout.rois; row += gridDim.x) {
      find_roi(args.layout, row, i, kPlaneChannels, part);
      const bool fits = part.fits(kTileCells<A>);
      wide.note(i, row, !fits);
      if (fits) make_planes(args, part, tiles[threadIdx.x / kWarpSize]);
    }
  }
}

// By one warp: one bin of 32 * kWidth channels.
template <int kWidth, typename T>
__device__ __forceinline__ void make_channels(const T* cells, const RoiPart<acc_t<T>>& part, int bin_y, int bin_x,
                                              int64_t row_stride, int64_t column_stride, T* output) {
  using A = acc_t<T>;
  const CellWeight<A>*const ys = part.y.bin(bin_y), *const xs = part.x.bin(bin_x);
  const int rows = part.y.count[bin_y], columns = part.x.count[bin_x];
  A sums[kWidth] = {};
  for (int j = 0; j < rows; ++j) {
    const CellWeight<A> y = ys[j];
#pragma unroll 4
    for (int i = 0; i < columns; ++i) {
      const CellWeight<A> x = xs[i];
      const A weight = y.weight * x.weight;
      const auto pack = load_pack<kWidth>(cells + y.cell * row_stride + x.cell * column_stride, 0);
#pragma unroll
      for (int v = 0; v < kWidth; ++v) sums[v] = mul_add(weight, A(pack.values[v]), sums[v]);
    }
  }
  Pack<T, kWidth> result;
#pragma unroll
  for (int v = 0; v < kWidth; ++v) result.values[v] = T(sums[v]);
  store_pack(output, 0, result);
}

// As above, from channels that lie side by side: a lane takes kWidth of them, a warp reads 512 contiguous bytes a tap.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kForwardThreads, 3)
    roi_align_channels_kernel(const __grid_constant__ RoiAlign<T> args, WideParts wide) {
  using A = acc_t<T>;
  LDIE_SHARED(RoiPart<A>, part, );
  const auto& layout = args.layout;
  const int warp = int(threadIdx.x) / kWarpSize, lane = int(threadIdx.x) % kWarpSize;
  for (unsigned i = blockIdx.y; i < wide.parts; i += gridDim.y) {
    for (int64_t row = blockIdx.x; row < layout.rois; row += gridDim.x) {
      find_roi(layout, row, i, kWarpSize * kWidth, part);
      const bool fits = part.fits(INT32_MAX);
      wide.note(i, row, !fits);
      const RoiLevel<A> level = layout.levels[part.level];
      const int64_t channel = part.channel + lane * kWidth;
      const T* const cells = args.features[part.level] + part.image * level.cells() * layout.channels + channel;
      const int bins = fits && channel < layout.channels ? part.bins_y * part.bins_x : 0;
      for (int bin = warp; bin < bins; bin += kForwardWarps) {
        const int y = bin / part.bins_x, x = bin % part.bins_x;
        const int64_t place = (part.first_y + y) * layout.bins_x + part.first_x + x;
        make_channels<kWidth>(cells, part, y, x, level.width * layout.channels, layout.channels,
                              args.output + (row * layout.bins() + place) * layout.channels + channel);
      }
    }
  }
}

}  // namespace ldie
