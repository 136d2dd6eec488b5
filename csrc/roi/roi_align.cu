// SPDX-License-Identifier: Apache-2.0
// Forward: a thread for each element of the output, which reads its taps through the cache; at the least it moves the
// output and the cells that the RoIs cover. Backward: a thread for each cell of a gradient, which gathers over the
// RoIs of its image in their order, so that nothing is added atomically and results do not change from run to run.
#include "core/simt.cuh"
#include "roi/roi_align.h"

namespace ldie {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1 << 16;

dim3 blocks_for(int64_t items) {
  const int64_t blocks = (items + kThreads - 1) / kThreads;
  return dim3(unsigned(blocks < kMostBlocks ? blocks : kMostBlocks));
}

// Element (n, channel, cell) of a tensor in either format, from its index in memory.
struct Place {
  int64_t n, channel, cell;

  __device__ Place(int64_t index, int64_t channels, int64_t cells, bool channels_last)
      : n(index / (channels * cells)),
        channel(channels_last ? index % channels : index / cells % channels),
        cell(channels_last ? index / channels % cells : index % cells) {}
};

template <typename A>
__device__ int64_t index_of(const RoiLayout<A>& layout, int64_t n, int64_t channel, int64_t cell, int64_t cells) {
  if (layout.channels_last) return (n * cells + cell) * layout.channels + channel;
  return (n * layout.channels + channel) * cells + cell;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) forward_kernel(RoiAlign<T> args) {
  using A = acc_t<T>;
  const RoiLayout<A>& layout = args.layout;
  const int64_t total = layout.rois * layout.channels * layout.bins();
  for (int64_t i = blockIdx.x * int64_t(kThreads) + threadIdx.x; i < total; i += int64_t(gridDim.x) * kThreads) {
    const Place place(i, layout.channels, layout.bins(), layout.channels_last);
    const Roi<A> roi = layout.roi(place.n);
    const T* const feature = args.features[roi.level];
    const int64_t cells = layout.levels[roi.level].cells();
    const auto value = [&](int64_t y, int64_t x) {
      return A(feature[index_of(layout, roi.image, place.channel, y * roi.x.cells + x, cells)]);
    };
    A sum = 0;
    AxisTap<A> y, x;
    for (int32_t v = 0; roi.valid() && v < roi.y.grid; ++v) {
      if (!roi.y.tap(place.cell / layout.bins_x, v, y)) continue;
      for (int32_t u = 0; u < roi.x.grid; ++u) {
        if (!roi.x.tap(place.cell % layout.bins_x, u, x)) continue;
        sum += y.low_weight * (x.low_weight * value(y.low, x.low) + x.high_weight * value(y.low, x.high)) +
               y.high_weight * (x.low_weight * value(y.high, x.low) + x.high_weight * value(y.high, x.high));
      }
    }
    args.output[i] = T(sum);
  }
}

// The weight of a cell in a bin along one axis.
template <typename A>
__device__ A axis_weight(const RoiAxis<A>& axis, int64_t bin, int32_t cell) {
  A sum = 0;
  AxisTap<A> tap;
  for (int32_t i = 0; i < axis.grid; ++i) {
    if (!axis.tap(bin, i, tap)) continue;
    if (tap.low == cell) sum += tap.low_weight;
    if (tap.high == cell) sum += tap.high_weight;
  }
  return sum;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) backward_kernel(RoiAlignBackward<T> args, int32_t level) {
  using A = acc_t<T>;
  const RoiLayout<A>& layout = args.layout;
  const int64_t cells = layout.levels[level].cells(), total = layout.batch * layout.channels * cells;
  for (int64_t i = blockIdx.x * int64_t(kThreads) + threadIdx.x; i < total; i += int64_t(gridDim.x) * kThreads) {
    const Place place(i, layout.channels, cells, layout.channels_last);
    const int32_t cell_y = int32_t(place.cell / layout.levels[level].width);
    const int32_t cell_x = int32_t(place.cell % layout.levels[level].width);
    A sum = 0;
    for (int64_t row = 0; row < layout.rois; ++row) {
      const Roi<A> roi = layout.roi(row);
      if (roi.image != place.n || roi.level != level) continue;
      for (int64_t p = 0; p < layout.bins_y; ++p) {
        const A weight_y = axis_weight(roi.y, p, cell_y);
        for (int64_t q = 0; weight_y != A(0) && q < layout.bins_x; ++q) {
          const int64_t bin = index_of(layout, row, place.channel, p * layout.bins_x + q, layout.bins());
          sum += weight_y * axis_weight(roi.x, q, cell_x) * A(args.grad_output[bin]);
        }
      }
    }
    args.grad_features[level][i] = T(sum);
  }
}

}  // namespace

template <typename T>
void roi_align(const RoiAlign<T>& args, Context& context) {
  const dim3 grid = blocks_for(args.layout.rois * args.layout.channels * args.layout.bins());
  LDIE_LAUNCH(forward_kernel<T>, grid, dim3(kThreads), 0, context.stream, args);
}

template <typename T>
void roi_align_backward(const RoiAlignBackward<T>& args, Context& context) {
  for (int32_t level = 0; level < args.layout.choice.count; ++level) {
    const dim3 grid = blocks_for(args.layout.batch * args.layout.channels * args.layout.levels[level].cells());
    LDIE_LAUNCH(backward_kernel<T>, grid, dim3(kThreads), 0, context.stream, args, level);
  }
}

#define LDIE_INSTANTIATE(T)                              \
  template void roi_align(const RoiAlign<T>&, Context&); \
  template void roi_align_backward(const RoiAlignBackward<T>&, Context&);
LDIE_INSTANTIATE(float)
LDIE_INSTANTIATE(double)
LDIE_INSTANTIATE(Half)
LDIE_INSTANTIATE(BFloat16)
#undef LDIE_INSTANTIATE

}  // namespace ldie
