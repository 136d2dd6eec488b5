// SPDX-License-Identifier: Apache-2.0
// The samples of a RoI along one axis, found once by a warp and kept in shared memory for all channels.
#pragma once

#include "core/reduce.cuh"
#include "core/simt.cuh"
#include "roi/roi_align.h"

namespace ldie::roi {

constexpr int kBinBlock = 16;  // bins along an axis that a block handles at a time
constexpr int kTapSlots = 256;

// How many of the bin's samples lie left of `limit`, where positions increase. Found on the positions themselves, so
// that rounding cannot lose a sample.
template <typename A>
__device__ __forceinline__ int32_t samples_below(const RoiAxis<A>& axis, int64_t bin, A limit) {
  int32_t low = 0, high = axis.grid;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    if (axis.position(bin, middle) < limit) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// A range that holds all samples of the bin that read a cell of [begin, end): a short walk, however fine the grid is.
template <typename A>
__device__ __forceinline__ SampleRange samples_reading(const RoiAxis<A>& axis, int64_t bin, int32_t begin,
                                                       int32_t end) {
  constexpr int32_t kShort = 8;
  if (axis.grid <= kShort || !(axis.bin > A(0))) return {0, axis.grid};
  return {samples_below(axis, bin, A(begin) - A(1)), samples_below(axis, bin, A(end) + A(1))};
}

// Each bin's weights on the cells that it reads; samples that share a cell are merged.
template <typename A>
struct AxisTaps {
  CellWeight<A> taps[kTapSlots];
  int32_t count[kBinBlock];
  int32_t stride;   // slots of a bin
  CellRange cells;  // what the bins read lies in here
  bool fits;        // false: too many taps for the slots

  __device__ const CellWeight<A>* bin(int index) const { return taps + index * stride; }
};

// Stores a bin's taps as they are merged.
template <typename A>
struct TapCollector {
  CellWeight<A>* taps;
  int32_t slots, begin, end;
  int32_t count = 0;
  bool fits = true;

  LDIE_HD bool operator()(const CellWeight<A>& tap) {
    fits = count < slots;
    if (!fits) return false;
    taps[count++] = tap;
    begin = tap.cell < begin ? tap.cell : begin;
    end = tap.cell < end ? end : tap.cell + 1;
    return true;
  }
};

// By one warp, a bin each lane; all its lanes must call.
template <typename A>
__device__ __forceinline__ void find_taps(const RoiAxis<A>& axis, int64_t first_bin, int bins, AxisTaps<A>& result) {
  const int lane = int(threadIdx.x) % kWarpSize, stride = kTapSlots / bins;
  TapCollector<A> collector{result.taps + lane * stride, stride, axis.cells, 0};
  if (lane < bins) {
    const int64_t bin = first_bin + lane;
    merge_taps(axis, bin, samples_reading(axis, bin, 0, axis.cells), collector);
    result.count[lane] = collector.count;
  }
  const int32_t begin = warp_reduce(collector.begin, Minimum()), end = warp_reduce(collector.end, Maximum());
  const bool fits = __all_sync(kFullWarp, collector.fits);
  if (lane == 0) {
    result.stride = stride;
    result.cells = {begin, end};
    result.fits = fits;
  }
}

}  // namespace ldie::roi
