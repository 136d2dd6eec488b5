// SPDX-License-Identifier: Apache-2.0
// A block takes a heatmap at a time, which stays in the first-level cache: it bounds every cell, a thread going down a
// column of them, and lists the few that can hold the greatest pixel, whose pixels then cost a thread a cell. The floor
// is the read of the heatmaps, 5 us for 100 x 17 x 56 x 56 at a copy's speed on an H200; but a cell costs four loads
// and some 30 operations, and those maps 84 us with a peak each, 106 of noise.
#include "core/fast_math.h"
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/limits.h"
#include "core/reduce.cuh"
#include "heatmap/decode_keypoints.h"

namespace ldie::heatmap {
namespace {

constexpr int kThreads = 256;
constexpr int kListed = 4096;  // cells at a time

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

// The 4 x 4 values around a cell.
template <typename A>
struct CellValues {
  A values[kTaps][kTaps];

  __device__ A across(int row, const CubicWeights<A>& w) const { return w.sum(values[row]); }
  // The greatest pixel of the cell.
  __device__ void search(const ResizedAxis<A>& y_axis, const ResizedAxis<A>& x_axis, int64_t row, int64_t column,
                         ResizedPeak<A>& peak) const {
    const int64_t first = x_axis.first_pixel(column), last = x_axis.first_pixel(column + 1);
    const int64_t bottom = first < last ? y_axis.first_pixel(row + 1) : 0;
    for (int64_t y = first < last ? y_axis.first_pixel(row) : 0; y < bottom; ++y) {
      const CubicWeights<A> down(y_axis.source(y) - A(row - 1));
      for (int64_t x = first; x < last; ++x) {
        const CubicWeights<A> w(x_axis.source(x) - A(column - 1));
        const A value = down.sum(across(0, w), across(1, w), across(2, w), across(3, w));
        peak.raise(value, y * x_axis.outputs + x);
      }
    }
  }
};

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

// Cells [top, bottom) x [left, right) of a map, at most kListed of them.
struct CellTile {
  int64_t top, bottom, left, right;
};

// Lists the cells of a tile that are not below a value.
template <typename T>
__device__ void list_cells(const T* map, int64_t height, int64_t width, const CellTile& tile, acc_t<T> value,
                           int32_t* list, int32_t* listed) {
  using A = acc_t<T>;
  const int32_t columns = int32_t(tile.right - tile.left), rows = int32_t(tile.bottom - tile.top);
  const int32_t segments = min(rows, max(1, kThreads / columns)), segment_rows = ceil_div(rows, segments);
  for (int32_t item = threadIdx.x; item < columns * segments; item += kThreads) {
    const int32_t begin = item / columns * segment_rows, end = min(rows, begin + segment_rows);
    const int64_t column = tile.left + item % columns;
    int32_t x[kTaps];
#pragma unroll
    for (int i = 0; i < kTaps; ++i) x[i] = int32_t(min(max(column - 2 + i, int64_t(0)), width - 1));
    const auto row_bound = [&](int64_t y) {
      const T* const row = map + min(max(y, int64_t(0)), height - 1) * width;
      return bound_row(A(row[x[0]]), A(row[x[1]]), A(row[x[2]]), A(row[x[3]]));
    };
    RowBound<A> bounds[kTaps];
#pragma unroll
    for (int j = 1; j < kTaps; ++j) bounds[j] = row_bound(tile.top + begin - 3 + j);
#pragma unroll 1
    for (int32_t row = begin; row < end; ++row) {
#pragma unroll
      for (int j = 1; j < kTaps; ++j) bounds[j - 1] = bounds[j];
      bounds[kTaps - 1] = row_bound(tile.top + row + 1);
      if (!(bound_cell(bounds) < value)) list[atomicAdd(listed, 1)] = row * columns + item % columns;
    }
  }
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

// The greatest pixel that this thread found; all threads of the block must call.
template <typename T>
__device__ ResizedPeak<acc_t<T>> search_map(const DecodeKeypoints<T>& args, int64_t i,
                                            const ResizedAxis<acc_t<T>>& y_axis, const ResizedAxis<acc_t<T>>& x_axis) {
  LDIE_SHARED(int32_t, list, [kListed]);
  LDIE_SHARED(int32_t, listed, );
  const T* const map = args.heatmap(i);
  ResizedPeak<acc_t<T>> peak = first_guess(args, i, y_axis, x_axis);
  const int64_t columns = min(int64_t(kListed), x_axis.cells()), rows = kListed / columns;
  for (int64_t top = 0; top < y_axis.cells(); top += rows) {
    for (int64_t left = 0; left < x_axis.cells(); left += columns) {
      const CellTile tile{top, min(y_axis.cells(), top + rows), left, min(x_axis.cells(), left + columns)};
      if (threadIdx.x == 0) listed = 0;
      __syncthreads();
      list_cells(map, args.height, args.width, tile, peak.value, list, &listed);
      __syncthreads();
      const int32_t count = listed, across = int32_t(tile.right - left);
      for (int32_t item = threadIdx.x; item < count; item += kThreads) {
        const int64_t row = top + list[item] / across, column = left + list[item] % across;
        load_cell(map, args.height, args.width, row, column).search(y_axis, x_axis, row, column, peak);
      }
      __syncthreads();
    }
  }
  return peak;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) decode_keypoints_kernel(DecodeKeypoints<T> args) {
  using A = acc_t<T>;
  for (int64_t i = blockIdx.x; i < args.count; i += gridDim.x) {
    const T* const map = args.heatmap(i);
    const ResizedPeak<A> peak = block_peak(search_map(args, i, args.y_axis(i), args.x_axis(i)));
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
  const dim3 grid(grid_side(args.count));
  LDIE_LAUNCH(decode_keypoints_kernel<T>, grid, dim3(kThreads), 0, context.stream, args);
}

LDIE_INSTANTIATE(decode_keypoints, DecodeKeypoints);

}  // namespace ldie::heatmap
