// SPDX-License-Identifier: Apache-2.0
// Forward of RoIAlign for parts whose taps fill more than their slots in shared memory, or whose columns more than a
// tile: straight from the samples.
#pragma once

#include "core/fast_math.h"
#include "roi/roi_part.cuh"

namespace ldie::roi {

// The cells of one row at a sample's column; a cell of weight 0 must not matter, whatever stands in it.
template <typename T, typename A>
__device__ __forceinline__ A blend(const AxisTap<A>& x, const T* row, int64_t column_stride) {
  const A low = x.low_weight * A(row[x.low * column_stride]);
  return x.high_weight > A(0) ? mul_add(x.high_weight, A(row[x.high * column_stride]), low) : low;
}

// One output. The strides are those of the feature map.
template <typename T>
__device__ __forceinline__ acc_t<T> sample_mean(const T* cells, int64_t row_stride, int64_t column_stride,
                                                const Roi<acc_t<T>>& roi, int64_t bin_y, int64_t bin_x) {
  using A = acc_t<T>;
  const SampleRange rows = samples_reading(roi.y, bin_y, 0, roi.y.cells);
  const SampleRange columns = samples_reading(roi.x, bin_x, 0, roi.x.cells);
  A sum = 0;
  for (int32_t j = rows.begin; j < rows.end; ++j) {
    AxisTap<A> y, x;
    if (!roi.y.tap(bin_y, j, y)) continue;
    const T *const low = cells + y.low * row_stride, *const high = cells + y.high * row_stride;
    for (int32_t i = columns.begin; i < columns.end; ++i) {
      if (!roi.x.tap(bin_x, i, x)) continue;
      sum = mul_add(y.low_weight, blend(x, low, column_stride), sum);
      if (y.high_weight > A(0)) sum = mul_add(y.high_weight, blend(x, high, column_stride), sum);
    }
  }
  return sum;
}

// By a block: an output each thread. It reads 4 cells a sample, and neighbours share most of them. Rare, and kept out
// of the kernels' own code and registers.
template <typename T>
__device__ __forceinline__ void make_wide(const RoiAlign<T>& args, const ForwardPart& part, int64_t row) {
  const auto& layout = args.layout;
  const bool last = layout.channels_last;
  const int64_t step = last ? layout.channels : 1;
  const int bins = part.bins_y * part.bins_x;
  const Roi<acc_t<T>> roi = layout.roi(row);
  const RoiLevel<acc_t<T>> level = layout.levels[roi.level];
  const T* const image = args.features[roi.level] + roi.image * layout.channels * level.cells();
  T* const output = args.output + row * layout.channels * layout.bins();
  for (int i = int(threadIdx.x); i < bins * part.channels; i += kForwardThreads) {
    const int bin = last ? i / part.channels : i % bins;
    const int64_t channel = part.channel + (last ? i % part.channels : i / bins);
    const int64_t y = part.first_y + bin / part.bins_x, x = part.first_x + bin % part.bins_x;
    const int64_t place = y * layout.bins_x + x;
    output[last ? place * layout.channels + channel : channel * layout.bins() + place] =
        T(sample_mean(image + (last ? channel : channel * level.cells()), level.width * step, step, roi, y, x));
  }
}

}  // namespace ldie::roi
