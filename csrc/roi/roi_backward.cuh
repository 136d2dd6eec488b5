// SPDX-License-Identifier: Apache-2.0
// Backward of RoIAlign, gathered: a block owns a tile of one map for some channels, adds what each RoI that reads the
// tile passes back, in the order of the RoIs, and writes the tile once. No atomics, no zeroing beforehand.
//
// Of the two axes one is in registers: a thread keeps kRegisterCells cells along it for kWidth channels. Along the
// other it has one cell. So that loads and stores are contiguous, lanes are
//   planes:        columns; half a warp has 4 channels, a thread 8 rows of its column for each
//   channels last: channels; a warp has a row, a thread 8 columns of it for each of its channels
// The gradient of a RoI to the cell (r, c), r along the registers, is sum_a across[a, r] sum_b along[b, c] grad[a, b],
// and the inner sum is common to all r.
#pragma once

#include "core/fast_math.h"
#include "roi/roi_taps.cuh"
#include "roi/tile_threads.cuh"

namespace ldie::roi {

constexpr int kRegisterCells = 8;
constexpr int kRoiSlots = kTileWarps;  // RoIs whose weights stand in shared memory: one made by each warp

// The weights of a block of one RoI's bins on the cells of a tile.
template <typename A, int kThreadCells>
struct TileWeights {
  alignas(16) A across[kBinBlock][kRegisterCells];  // along the axis in registers
  A along[kBinBlock][kThreadCells + 1];             // along the other; 1 more, so that rows differ in their banks
  unsigned across_bins;                             // a bit for each bin with a weight in `across`
  uint8_t begin[kThreadCells], end[kThreadCells];   // the bins with a weight on a cell of `along`
};

// A bin's weights on the cells from `first`; whether it has any.
template <typename A>
__device__ __forceinline__ bool spread_bin(const RoiAxis<A>& axis, int64_t bin, int32_t first, int cells, A* weights) {
  for (int i = 0; i < cells; ++i) weights[i] = A(0);
  bool any = false;
  const SampleRange samples = samples_reading(axis, bin, first, first + cells);
  for (int32_t sample = samples.begin; sample < samples.end; ++sample) {
    AxisTap<A> tap;
    if (!axis.tap(bin, sample, tap)) continue;
    const int low = tap.low - first, high = tap.high - first;
    if (low >= 0 && low < cells) weights[low] += tap.low_weight;
    if (tap.high_weight > A(0) && high >= 0 && high < cells) weights[high] += tap.high_weight;
    any = any || (low < cells && high >= 0);
  }
  return any;
}

// The bins of an axis that a slot holds, and the tile's first cell along it.
struct AxisBlock {
  int64_t bin, bins;
  int32_t cell;
};

// By one warp: half of the lanes take the bins of one axis, half those of the other. All its lanes must call.
template <typename A, int kThreadCells>
__device__ __forceinline__ void spread_roi(const RoiAxis<A>& across, const AxisBlock& across_block,
                                           const RoiAxis<A>& along, const AxisBlock& along_block,
                                           TileWeights<A, kThreadCells>& slot) {
  static_assert(2 * kBinBlock == kWarpSize);
  const int lane = int(threadIdx.x) % kWarpSize, index = lane % kBinBlock;
  const bool first_half = lane < kBinBlock;
  RoiAxis<A> axis = first_half ? across : along;
  const AxisBlock block = first_half ? across_block : along_block;
  if (block.bin + index >= block.bins) axis.grid = 0;
  const bool any = spread_bin(axis, block.bin + index, block.cell, first_half ? kRegisterCells : kThreadCells,
                              first_half ? slot.across[index] : slot.along[index]);
  const unsigned touched = __ballot_sync(kFullWarp, any);
  __syncwarp();
  if (lane == 0) slot.across_bins = touched & ((1u << kBinBlock) - 1);
  if (lane < kThreadCells) {
    int begin = kBinBlock, end = 0;
    for (int bin = 0; bin < kBinBlock; ++bin) {
      if (slot.along[bin][lane] == A(0)) continue;
      begin = min(begin, bin);
      end = bin + 1;
    }
    slot.begin[lane] = uint8_t(begin);
    slot.end[lane] = uint8_t(end);
  }
}

// The cells of a thread.
template <typename A, int kWidth>
struct TileSums {
  Pack<A, kWidth> cells[kRegisterCells];
};

// inner[a] = sum over a cell's bins of along * grad for the bins across[a], -1 for none. The gradients of two bins each
// way are read before any is added: a warp waits for memory once for all of them.
template <typename Reader, typename A, int kWidth, int kThreadCells, int kAcross>
__device__ __forceinline__ void sum_along(const Reader& read, const TileWeights<A, kThreadCells>& slot, int cell,
                                          const int (&across)[kAcross], A (&inner)[kAcross][kWidth]) {
  constexpr int kAlong = 2;
  const int end = slot.end[cell];
  for (int first = slot.begin[cell]; first < end; first += kAlong) {
    decltype(read(0, 0)) grads[kAcross][kAlong];
#pragma unroll
    for (int a = 0; a < kAcross; ++a) {
#pragma unroll
      for (int b = 0; b < kAlong; ++b) {
#pragma unroll
        for (int v = 0; v < kWidth; ++v) grads[a][b].values[v] = {};
        if (across[a] >= 0 && first + b < end) grads[a][b] = read(across[a], first + b);
      }
    }
#pragma unroll
    for (int b = 0; b < kAlong; ++b) {
      const A weight = first + b < end ? slot.along[first + b][cell] : A(0);
#pragma unroll
      for (int a = 0; a < kAcross; ++a) {
#pragma unroll
        for (int v = 0; v < kWidth; ++v) inner[a][v] = mul_add(weight, A(grads[a][b].values[v]), inner[a][v]);
      }
    }
  }
}

// Adds what a block of one RoI's bins passes back.
template <typename Reader, typename A, int kWidth, int kThreadCells>
__device__ __forceinline__ void add_roi(const Reader& read, const TileWeights<A, kThreadCells>& slot, int cell,
                                        TileSums<A, kWidth>& sums) {
  constexpr int kAcross = 2;
  unsigned bins = slot.across_bins;
  while (bins != 0) {
    int across[kAcross];
#pragma unroll
    for (int a = 0; a < kAcross; ++a) {
      across[a] = __ffs(int(bins)) - 1;
      bins &= bins - 1;
    }
    A inner[kAcross][kWidth] = {};
    sum_along(read, slot, cell, across, inner);
#pragma unroll
    for (int a = 0; a < kAcross; ++a) {
      if (across[a] < 0) continue;
#pragma unroll
      for (int r = 0; r < kRegisterCells; ++r) {
        const A weight = slot.across[across[a]][r];
        if (weight == A(0)) continue;  // not only for speed: a gradient that is not finite stays with its cells
#pragma unroll
        for (int v = 0; v < kWidth; ++v) {
          sums.cells[r].values[v] = mul_add(weight, inner[a][v], sums.cells[r].values[v]);
        }
      }
    }
  }
}

// A block's work and the shared memory that it does it in.
template <typename T, typename Threads>
struct TileBlock {
  using A = acc_t<T>;
  using Weights = TileWeights<A, Threads::kThreadCells>;
  const RoiAlignBackward<T>& args;
  MapTile tile;
  int64_t channel;  // of the thread
  int cell;
  const uint32_t* rows;  // RoIs that meet the tile
  Weights* slots;

  __device__ void fill_slot(uint32_t row, int64_t first_y, int64_t first_x, Weights& slot) const {
    const Roi<A> roi = args.layout.roi(row);
    const AxisBlock y{first_y, args.layout.bins_y, tile.y}, x{first_x, args.layout.bins_x, tile.x};
    if constexpr (Threads::kAcrossIsY) {
      spread_roi(roi.y, y, roi.x, x, slot);
    } else {
      spread_roi(roi.x, x, roi.y, y, slot);
    }
  }

  // All threads must call: kRoiSlots RoIs at most, one block of their bins.
  __device__ void add_bins(const uint32_t* batch, int count, int64_t first_y, int64_t first_x,
                           TileSums<A, Threads::kWidth>& sums) const {
    const RoiLayout<A>& layout = args.layout;
    const int warp = int(threadIdx.x) / kWarpSize;
    __syncthreads();  // the slots may still be read
    if (warp < count) fill_slot(batch[warp], first_y, first_x, slots[warp]);
    __syncthreads();
    if (channel >= layout.channels) return;  // no barrier until the next call
    const int64_t corner = (first_y * layout.bins_x + first_x) * (layout.channels_last ? layout.channels : 1);
    for (int i = 0; i < count; ++i) {
      const T* const grad = args.grad_output + batch[i] * layout.channels * layout.bins() + corner;
      add_roi(typename Threads::Reader(layout, grad, channel), slots[i], cell, sums);
    }
  }

  __device__ void add_listed(int count, TileSums<A, Threads::kWidth>& sums) const {
    for (int first = 0; first < count; first += kRoiSlots) {
      for (int64_t y = 0; y < args.layout.bins_y; y += kBinBlock) {
        for (int64_t x = 0; x < args.layout.bins_x; x += kBinBlock) {
          add_bins(rows + first, min(kRoiSlots, count - first), y, x, sums);
        }
      }
    }
  }

  __device__ void store(const TileSums<A, Threads::kWidth>& sums) const {
    const RoiLayout<A>& layout = args.layout;
    const RoiLevel<A> level = layout.levels[tile.level];
    T* const map = args.grad_features[tile.level] + tile.image * layout.channels * level.cells();
#pragma unroll
    for (int r = 0; r < kRegisterCells; ++r) {
      const int32_t y = tile.y + (Threads::kAcrossIsY ? r : cell), x = tile.x + (Threads::kAcrossIsY ? cell : r);
      if (channel < layout.channels && y < level.height && x < level.width) {
        Threads::store(map, layout, level, channel, y, x, sums.cells[r]);
      }
    }
  }
};

// Writes every gradient of a feature, 182 MB for 256 channels of P2 to P5 of two 800 x 1344 images in floats, and reads
// those of the outputs, 26 MB for 512 RoIs of 7 x 7: 49 us at a copy's speed on an H200, where planes take 177 us and
// channels last 124. A RoI of 16 x 21 cells meets 7 tiles of 8 x 16 for 64 channels each, with 3 bin rows a tile, of
// which two are read at once. Of 2000 RoIs, 464 and 336 us, 59 and 48 % of the issue slots are busy, 23 and 22 % of the
// L2 cache, and 25 and 30 lanes of a warp.
// Blocks start with the coarsest level: a tile there meets the most RoIs, and the stores of the finest end the kernel.
template <typename T, typename Threads>
__global__ void __launch_bounds__(kTileThreads, 2)
    roi_align_backward_kernel(const __grid_constant__ RoiAlignBackward<T> args, RoisByMap rois,
                              const __grid_constant__ MapTiles tiles) {
  using A = acc_t<T>;
  using Block = TileBlock<T, Threads>;
  LDIE_SHARED(uint32_t, rows, [kTileThreads]);
  LDIE_SHARED(typename Block::Weights, slots, [kRoiSlots]);
  const RoiLayout<A>& layout = args.layout;
  const int levels = layout.choice.count;
  for (int64_t i = tiles.begin[levels] - 1 - blockIdx.y; i >= 0; i -= gridDim.y) {
    const MapTile tile(tiles, i, levels);
    for (int64_t channel = int64_t(blockIdx.x) * Threads::kBlockChannels; channel < layout.channels;
         channel += int64_t(gridDim.x) * Threads::kBlockChannels) {
      const Block block{args, tile, channel + Threads::channel(), Threads::cell(), rows, slots};
      const int64_t map = tile.level * layout.batch + tile.image;
      const int64_t end = layout.rois > 0 ? rois.starts[map + 1] : 0;
      TileSums<A, Threads::kWidth> sums{};
      for (int64_t first = layout.rois > 0 ? rois.starts[map] : 0; first < end; first += kTileThreads) {
        block.add_listed(list_rois(rois, first, end, tile, tiles, rows), sums);
      }
      block.store(sums);
    }
  }
}

}  // namespace ldie::roi
