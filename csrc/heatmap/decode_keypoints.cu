// SPDX-License-Identifier: Apache-2.0
// A block takes a heatmap at a time, a thread a cell at a time; the map stays in the first-level cache. The floor is
// the read of the heatmaps; every cell costs some 35 operations, and the few that can hold the greatest pixel their
// pixels.
#include "core/fast_math.h"
#include "core/reduce.cuh"
#include "heatmap/decode_keypoints.h"

namespace ldie {
namespace {

constexpr int kThreads = 256;
constexpr unsigned kMostBlocks = 1u << 16;

template <typename A>
__device__ ResizedPeak<A> block_peak(const ResizedPeak<A>& mine) {
  constexpr A kLowest = -kInfinite<A>;
  constexpr int64_t kNone = INT64_MAX;
  const bool found = mine.value == mine.value;
  const A value = block_reduce<kThreads>(found ? mine.value : kLowest, kLowest, Maximum());
  const int64_t pixel = block_reduce<kThreads>(found && mine.value == value ? mine.pixel : kNone, kNone, Minimum());
  ResizedPeak<A> peak;
  if (pixel != kNone) peak = {value, pixel};
  return peak;
}

// The first of the greatest values of the map.
template <typename T>
__device__ int64_t greatest_cell(const T* map, int64_t size) {
  ResizedPeak<acc_t<T>> mine;
  for (int64_t i = threadIdx.x; i < size; i += kThreads) mine.raise(acc_t<T>(map[i]), i);
  return block_peak(mine).pixel;
}

template <typename T>
__device__ CellValues<acc_t<T>> load_cell(const T* map, int64_t height, int64_t width, int64_t row, int64_t column) {
  CellValues<acc_t<T>> cell;
#pragma unroll
  for (int j = 0; j < kTaps; ++j) {
    const int64_t y = min(max(row - 2 + j, int64_t(0)), height - 1);
#pragma unroll
    for (int i = 0; i < kTaps; ++i) {
      const int64_t x = min(max(column - 2 + i, int64_t(0)), width - 1);
      cell.values[j][i] = acc_t<T>(map[y * width + x]);
    }
  }
  return cell;
}

template <typename A>
__device__ A bound(const CellValues<A>& cell) {
  A least = cell.values[0][0], greatest = least;
#pragma unroll
  for (int i = 1; i < kTaps * kTaps; ++i) {
    least = minimum(least, cell.values[i / kTaps][i % kTaps]);
    greatest = maximum(greatest, cell.values[i / kTaps][i % kTaps]);
  }
  return cell_bound(least, greatest);
}

// What the four cells around the greatest map value hold, which most others are below; the same for all threads.
template <typename T>
__device__ ResizedPeak<acc_t<T>> first_guess(const DecodeKeypoints<T>& args, int64_t i,
                                             const ResizedAxis<acc_t<T>>& y_axis, const ResizedAxis<acc_t<T>>& x_axis) {
  const int64_t at = greatest_cell(args.heatmap(i), args.height * args.width);
  ResizedPeak<acc_t<T>> mine;
  if (threadIdx.x < 4) {
    const int64_t row = at / args.width + threadIdx.x / 2, column = at % args.width + threadIdx.x % 2;
    load_cell(args.heatmap(i), args.height, args.width, row, column).search(y_axis, x_axis, row, column, mine);
  }
  return block_peak(mine);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) decode_keypoints_kernel(DecodeKeypoints<T> args) {
  using A = acc_t<T>;
  for (int64_t i = blockIdx.x; i < args.count; i += gridDim.x) {
    const T* const map = args.heatmap(i);
    const ResizedAxis<A> y_axis = args.y_axis(i), x_axis = args.x_axis(i);
    ResizedPeak<A> peak = first_guess(args, i, y_axis, x_axis);
    for (int64_t c = threadIdx.x; c < y_axis.cells() * x_axis.cells(); c += kThreads) {
      const int64_t row = c / x_axis.cells(), column = c % x_axis.cells();
      const CellValues<A> cell = load_cell(map, args.height, args.width, row, column);
      if (!(bound(cell) < peak.value)) cell.search(y_axis, x_axis, row, column, peak);
    }
    peak = block_peak(peak);
    A score = peak.value;
    if (args.softmax) {
      A sum = 0;
      for (int64_t c = threadIdx.x; c < args.height * args.width; c += kThreads) {
        sum += fast_exp(A(map[c]) - peak.value);
      }
      score = A(1) / block_sum<kThreads>(sum);
    }
    if (threadIdx.x == 0) args.write(i, peak, score);
  }
}

}  // namespace

template <typename T>
void decode_keypoints(const DecodeKeypoints<T>& args, Context& context) {
  const dim3 grid(args.count < kMostBlocks ? unsigned(args.count) : kMostBlocks);
  LDIE_LAUNCH(decode_keypoints_kernel<T>, grid, dim3(kThreads), 0, context.stream, args);
}

template void decode_keypoints(const DecodeKeypoints<float>&, Context&);
template void decode_keypoints(const DecodeKeypoints<double>&, Context&);
template void decode_keypoints(const DecodeKeypoints<Half>&, Context&);
template void decode_keypoints(const DecodeKeypoints<BFloat16>&, Context&);

}  // namespace ldie
