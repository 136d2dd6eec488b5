// SPDX-License-Identifier: Apache-2.0
// What a block of RoIAlign's forward makes, and the taps that it needs for it.
#pragma once

#include "core/integers.h"
#include "roi/roi_taps.cuh"

namespace ldie::roi {

constexpr int kForwardThreads = 256;
constexpr int kForwardWarps = kForwardThreads / kWarpSize;

// What a block makes: channels, and bins (x, y) from its first.
struct ForwardPart {
  int64_t channel, first_y, first_x;
  int channels, bins_y, bins_x;
};

// A part holds at most kBinBlock^2 bins of some channels, so fewer than 2^32 parts make any output that fits a GPU.
template <typename A>
int64_t count_parts(const RoiLayout<A>& layout, int64_t block_channels) {
  return ceil_div(layout.bins_x, kBinBlock) * ceil_div(layout.bins_y, kBinBlock) *
         ceil_div(layout.channels, block_channels);
}

template <typename A>
__device__ __forceinline__ ForwardPart find_part(const RoiLayout<A>& layout, unsigned index, int block_channels) {
  const unsigned columns = unsigned(ceil_div(layout.bins_x, kBinBlock));
  const unsigned rows = unsigned(ceil_div(layout.bins_y, kBinBlock));
  ForwardPart part{int64_t(index) * block_channels, 0, 0, 0, 0, 0};
  if (rows * columns > 1) {  // divisions take longer than the rest
    part.first_x = int64_t(index % columns) * kBinBlock;
    part.first_y = int64_t(index / columns % rows) * kBinBlock;
    part.channel = int64_t(index / columns / rows) * block_channels;
  }
  part.bins_x = int(min(layout.bins_x - part.first_x, int64_t(kBinBlock)));
  part.bins_y = int(min(layout.bins_y - part.first_y, int64_t(kBinBlock)));
  part.channels = int(min(layout.channels - part.channel, int64_t(block_channels)));
  return part;
}

// A part of one RoI and the taps of its bins, in shared memory.
template <typename A>
struct RoiPart : ForwardPart {
  int64_t row, image;
  int32_t level;
  AxisTaps<A> y, x;

  // Whether the taps are here. Where not - bins of dozens of cells or samples - make_wide makes the part.
  __device__ bool fits(int most_columns) const { return y.fits && x.fits && x.cells.count() <= most_columns; }
};

// By the first two warps of a block, an axis each. All threads must call.
template <typename A>
__device__ __forceinline__ void find_roi(const RoiLayout<A>& layout, int64_t row, unsigned index, int block_channels,
                                         RoiPart<A>& shared) {
  const int warp = int(threadIdx.x) / kWarpSize;
  __syncthreads();  // the part before may still be read
  if (warp < 2) {
    const Roi<A> roi = layout.roi(row);
    const ForwardPart part = find_part(layout, index, block_channels);
    RoiAxis<A> axis = warp == 0 ? roi.y : roi.x;
    if (!roi.valid()) axis.grid = 0;
    find_taps(axis, warp == 0 ? part.first_y : part.first_x, warp == 0 ? part.bins_y : part.bins_x,
              warp == 0 ? shared.y : shared.x);
    if (threadIdx.x == 0) {
      static_cast<ForwardPart&>(shared) = part;
      shared.row = row;
      shared.image = roi.valid() ? roi.image : 0;
      shared.level = roi.level;
    }
  }
  __syncthreads();
}

}  // namespace ldie::roi
