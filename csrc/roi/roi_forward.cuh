// SPDX-License-Identifier: Apache-2.0
// Forward of RoIAlign. A block makes up to kBinBlock x kBinBlock bins of some channels of one RoI: two of its warps
// find the taps of the two axes, then all warps apply them. The RoIs are the fastest index of the grid, so that blocks
// that run together read the same channels: what they share stays in the L2 cache, and the features come from memory
// once.
#pragma once

#include "core/fast_math.h"
#include "core/integers.h"
#include "core/pack.cuh"
#include "roi/roi_wide.cuh"

namespace ldie::roi {

// Of a multiprocessor: what registers allow.
template <typename A>
constexpr int kForwardBlocks = sizeof(A) == 8 ? 2 : 3;

// Planes that a warp makes at once: as many as there are registers for 64 bytes of loads under way.
template <typename A>
constexpr int kMostPlanes = 16 / int(sizeof(A));

// Taps of each plane whose loads are under way at once.
template <int kPlanes>
constexpr int kTapsAtOnce = kPlanes == 1 ? 8 : 4;

// Cells of a plane that a warp keeps between the two passes.
template <typename A, int kPlanes>
constexpr int kTileCells = 4096 / (int(sizeof(A)) * kPlanes);

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

// sums[j] += weight * read(j, cell) over the taps of a bin, in their order. All loads of a round come before its sums.
template <int kPlanes, typename A, typename Read>
__device__ __forceinline__ void add_taps(const CellWeight<A>* taps, int count, const Read& read, A (&sums)[kPlanes]) {
  constexpr int kTaps = kTapsAtOnce<kPlanes>;
  using Value = decltype(read(0, 0));
  for (int first = 0; first < count; first += kTaps) {
    A weights[kTaps] = {};
    Value values[kTaps][kPlanes];
#pragma unroll
    for (int k = 0; k < kTaps; ++k) {
#pragma unroll
      for (int j = 0; j < kPlanes; ++j) values[k][j] = Value(0.f);
      if (first + k < count) {
        const CellWeight<A> tap = taps[first + k];
        weights[k] = tap.weight;
#pragma unroll
        for (int j = 0; j < kPlanes; ++j) values[k][j] = read(j, tap.cell);
      }
    }
#pragma unroll
    for (int k = 0; k < kTaps; ++k) {
#pragma unroll
      for (int j = 0; j < kPlanes; ++j) sums[j] = mul_add(weights[k], A(values[k][j]), sums[j]);
    }
  }
}

// Planes that lie one behind the other, of the features and of the output. The last ones of a map are taken again where
// fewer than kPlanes are left; those below `first` are then another warp's to write.
template <typename T, int kPlanes>
struct Planes {
  const T* features;
  T* output;
  int64_t cells, bins;  // of a plane
  int first;
  int32_t width;      // of the features
  int64_t out_width;  // of the output

  __device__ Planes(const RoiAlign<T>& args, const RoiPart<acc_t<T>>& part, int channel)
      : cells(args.layout.levels[part.level].cells()),
        bins(args.layout.bins()),
        width(args.layout.levels[part.level].width),
        out_width(args.layout.bins_x) {
    const int64_t channels = args.layout.channels, wanted = part.channel + channel;
    const int64_t plane = min(wanted, channels - kPlanes);
    first = int(wanted - plane);
    features = args.features[part.level] + (part.image * channels + plane) * cells;
    output = args.output + (part.row * channels + plane) * bins + part.first_y * out_width + part.first_x;
  }
};

// Rows of a part's bins that a warp makes at a time.
struct BinRows {
  int first, count;
};

// tile[bin row, column] = sum over y of wy * feature: lanes lie along the rows, whose loads are contiguous.
template <typename T, int kPlanes>
__device__ __forceinline__ void blend_rows(const Planes<T, kPlanes>& planes, const AxisTaps<acc_t<T>>& y,
                                           const BinRows& rows, int first_column, int columns, acc_t<T>* tile) {
  using A = acc_t<T>;
  const int lane = int(threadIdx.x) % kWarpSize;
  LaneCursor at(lane, columns);
  for (int i = lane; i < rows.count * columns; i += kWarpSize, at.advance()) {
    const int bin = rows.first + at.row, column = first_column + at.column;
    A sums[kPlanes] = {};
    add_taps(
        y.bin(bin), y.count[bin],
        [&](int j, int32_t cell) { return planes.features[int64_t(cell) * planes.width + column + j * planes.cells]; },
        sums);
#pragma unroll
    for (int j = 0; j < kPlanes; ++j) tile[j * kTileCells<A, kPlanes> + i] = sums[j];
  }
}

// output[bin row, bin] = sum over x of wx * tile: lanes lie along the bins, which are stored side by side.
template <typename T, int kPlanes>
__device__ __forceinline__ void blend_columns(const Planes<T, kPlanes>& planes, const AxisTaps<acc_t<T>>& x,
                                              const BinRows& rows, int bins, int columns, const acc_t<T>* tile) {
  using A = acc_t<T>;
  const int lane = int(threadIdx.x) % kWarpSize;
  LaneCursor at(lane, bins);
  for (int i = lane; i < rows.count * bins; i += kWarpSize, at.advance()) {
    const A* const row = tile + at.row * columns - x.cells.begin;
    A sums[kPlanes] = {};
    add_taps(
        x.bin(at.column), x.count[at.column],
        [&](int j, int32_t cell) { return row[j * kTileCells<A, kPlanes> + cell]; }, sums);
    const int64_t place = (rows.first + at.row) * planes.out_width + at.column;
#pragma unroll
    for (int j = 0; j < kPlanes; ++j) {
      if (j >= planes.first) planes.output[place + j * planes.bins] = T(sums[j]);
    }
  }
}

// By one warp of a block: some planes and rows of bins at a time, as many rows as its tile holds, but fewer where there
// are too few planes to give each warp some.
template <int kPlanes, typename T>
__device__ __forceinline__ void make_planes(const RoiAlign<T>& args, const RoiPart<acc_t<T>>& part, acc_t<T>* tile) {
  const int columns = max(part.x.cells.count(), 0), groups = ceil_div(part.channels, kPlanes);
  const int most_rows = columns > 0 ? min(part.bins_y, kTileCells<acc_t<T>, kPlanes> / columns) : part.bins_y;
  const int least_chunks = max(ceil_div(part.bins_y, most_rows), min(part.bins_y, kForwardWarps / groups));
  const int height = ceil_div(part.bins_y, least_chunks), chunks = ceil_div(part.bins_y, height);
  for (int i = int(threadIdx.x) / kWarpSize; i < groups * chunks; i += kForwardWarps) {
    const int first = i % chunks * height;
    const Planes<T, kPlanes> planes(args, part, i / chunks * kPlanes);
    const BinRows rows{first, min(height, part.bins_y - first)};
    __syncwarp();  // the tile may still be read
    if (columns > 0) blend_rows(planes, part.y, rows, part.x.cells.begin, columns, tile);
    __syncwarp();
    blend_columns(planes, part.x, rows, part.bins_x, columns, tile);
  }
}

// Writes the output and reads what the RoIs cover: 512 RoIs of 256 x 7 x 7 floats write 26 MB and read at most the
// 182 MB of P2 to P5 of two 800 x 1344 images: 49 us at a copy's speed on an H200, where it takes 104 us (158 before a
// warp had 16 loads under way, and all had work). For 2000 RoIs it takes 322 us; 0.27 GB come from and go to memory
// then, and 63 % of the issue slots are busy, 47 % of the L2 cache. In two passes a bin row's 21 columns take 3
// contiguous row loads each, and 4 of the tile for each bin.
template <typename T, int kPlanes>
__global__ void __launch_bounds__(kForwardThreads, kForwardBlocks<acc_t<T>>)
    roi_align_planes_kernel(const __grid_constant__ RoiAlign<T> args, unsigned parts, int block_channels) {
  using A = acc_t<T>;
  constexpr int kMostColumns = kTileCells<A, kPlanes>;
  LDIE_SHARED(RoiPart<A>, part, );
  LDIE_SHARED(A, tiles, [kForwardWarps][kPlanes * kMostColumns]);
  for (unsigned i = blockIdx.y; i < parts; i += gridDim.y) {
    for (int64_t row = blockIdx.x; row < args.layout.rois; row += gridDim.x) {
      find_roi(args.layout, row, i, block_channels, part);
      if (part.fits(kMostColumns)) {
        make_planes<kPlanes>(args, part, tiles[threadIdx.x / kWarpSize]);
      } else {
        make_wide(args, part, row);
      }
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
// 62 us for those 512 RoIs, 171 for 2000.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kForwardThreads, kForwardBlocks<acc_t<T>>)
    roi_align_channels_kernel(const __grid_constant__ RoiAlign<T> args, unsigned parts, int block_channels) {
  using A = acc_t<T>;
  LDIE_SHARED(RoiPart<A>, part, );
  const auto& layout = args.layout;
  const int warp = int(threadIdx.x) / kWarpSize, lane = int(threadIdx.x) % kWarpSize;
  for (unsigned i = blockIdx.y; i < parts; i += gridDim.y) {
    for (int64_t row = blockIdx.x; row < layout.rois; row += gridDim.x) {
      find_roi(layout, row, i, block_channels, part);
      const bool fits = part.fits(INT32_MAX);
      if (!fits) make_wide(args, part, row);
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

}  // namespace ldie::roi
