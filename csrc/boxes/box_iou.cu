// SPDX-License-Identifier: Apache-2.0
// A warp has kRows rows by kColumns columns of pairs: a lane keeps one column's box, the rows' boxes come around from
// the lanes. Reads and writes of the matrix are whole lines of 128 bytes (float). Few rows, and all of them at once,
// because matrices are small and a pair's divisions long: for 2000 x 200 and 100 x 30 pairs a forward takes 3.6 and 2.3
// us on an H200, a backward 8.7 and 4.1; with 32 rows one after another they took 9.2 and 8.5, 28 and 25.
#include "boxes/box_iou.h"
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/reduce.cuh"
#include "core/simt.cuh"

namespace ldie::boxes {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kRows = 4, kColumns = kWarpSize;
constexpr int kBlockRows = kRows * kWarps;  // a block's warps stand below each other

// The blocks' rectangles of pairs.
struct Tiles {
  int64_t a_count, b_count;

  LDIE_HD int64_t down() const { return ceil_div(a_count, kBlockRows); }
  LDIE_HD int64_t across() const { return ceil_div(b_count, kColumns); }
};

// Calls body(row_tile, column_tile) for the block's share of the tiles.
template <typename Body>
__device__ __forceinline__ void for_each_tile(const Tiles& tiles, const Body& body) {
  const int64_t across = tiles.across(), count = tiles.down() * across;
  for (int64_t i = blockIdx.x; i < count; i += gridDim.x) body(i / across, i % across);
}

// The box of another lane; all lanes must call.
template <BoxIouKind kKind, typename A>
__device__ __forceinline__ PairBox<A> box_of_lane(const PairBox<A>& mine, int lane) {
  PairBox<A> other;
  other.box = {__shfl_sync(kFullWarp, mine.box.x1, lane), __shfl_sync(kFullWarp, mine.box.y1, lane),
               __shfl_sync(kFullWarp, mine.box.x2, lane), __shfl_sync(kFullWarp, mine.box.y2, lane)};
  other.area = __shfl_sync(kFullWarp, mine.area, lane);
  other.angle = kKind == BoxIouKind::kComplete ? __shfl_sync(kFullWarp, mine.angle, lane) : A(0);
  return other;
}

// The warp's part of a tile: kRows rows from `row` on, and this lane's column. Boxes past the end are the last again.
template <BoxIouKind kKind, typename T>
struct WarpPairs {
  using A = acc_t<T>;
  int64_t row, column;
  PairBox<A> of_row, of_column;  // lane l has row l % kRows

  __device__ __forceinline__ WarpPairs(const T* a, const T* b, const Tiles& tiles, int64_t row_tile,
                                       int64_t column_tile) {
    const int lane = int(threadIdx.x) % kWarpSize;
    row = row_tile * kBlockRows + int64_t(threadIdx.x) / kWarpSize * kRows;
    column = column_tile * kColumns + lane;
    const int64_t i = row + lane % kRows;
    of_row = PairBox<A>(load_box(a, i < tiles.a_count ? i : tiles.a_count - 1), kKind);
    of_column = PairBox<A>(load_box(b, column < tiles.b_count ? column : tiles.b_count - 1), kKind);
  }
};

// Writes 4 bytes a pair, 2.3 us at a copy's speed for 5000 x 500 on an H200; the 15 (IoU) to 40 (CIoU) operations
// decide: 11.8 and 18.4 us.
template <BoxIouKind kKind, typename T>
__global__ void __launch_bounds__(kThreads) box_iou_kernel(BoxIou<T> args) {
  const Tiles tiles{args.a_count, args.b_count};
  for_each_tile(tiles, [&](int64_t row_tile, int64_t column_tile) {
    const WarpPairs<kKind, T> pairs(args.a, args.b, tiles, row_tile, column_tile);
    if (pairs.row >= args.a_count) return;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const auto iou = pair_iou<kKind, T>(box_of_lane<kKind>(pairs.of_row, r), pairs.of_column, args.eps);
      if (pairs.row + r < args.a_count && pairs.column < args.b_count) {
        args.iou[(pairs.row + r) * args.b_count + pairs.column] = iou;
      }
    }
  });
}

// Adds each of kRows rows over the lanes; the lanes l with l * kRows / kWarpSize == r get that of row r. Halves are
// exchanged, so this takes little more than a shuffle a row, where sums for all lanes take five.
template <typename A>
__device__ __forceinline__ A sum_rows(A (&values)[kRows]) {
  const int lane = int(threadIdx.x);
#pragma unroll
  for (int half = kRows / 2; half > 0; half /= 2) {
    const int distance = half * (kWarpSize / kRows);
    const bool upper = lane & distance;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const A kept = upper ? values[i + half] : values[i], given = upper ? values[i] : values[i + half];
      values[i] = kept + __shfl_xor_sync(kFullWarp, given, distance);
    }
  }
#pragma unroll
  for (int distance = kWarpSize / kRows / 2; distance > 0; distance /= 2) {
    values[0] += __shfl_xor_sync(kFullWarp, values[0], distance);
  }
  return values[0];
}

// Gradients of the boxes of one warp, value by value.
template <typename A>
struct RowGradients {
  A x1[kRows], y1[kRows], x2[kRows], y2[kRows], area[kRows], angle[kRows];

  __device__ __forceinline__ void set(int r, const BoxGradient<A>& gradient) {
    x1[r] = gradient.x1;
    y1[r] = gradient.y1;
    x2[r] = gradient.x2;
    y2[r] = gradient.y2;
    area[r] = gradient.area;
    angle[r] = gradient.angle;
  }

  template <BoxIouKind kKind>
  __device__ __forceinline__ BoxGradient<A> sum() {
    return {sum_rows(x1), sum_rows(y1),   sum_rows(x2),
            sum_rows(y2), sum_rows(area), kKind == BoxIouKind::kComplete ? sum_rows(angle) : A(0)};
  }
};

// Reads 4 bytes a pair and leaves the sums over tiles, 1.5 bytes a pair; 50 (IoU) to 100 (CIoU) operations a pair, and
// 20 to 30 more to add them: 33 and 47 us for 5000 x 500.
template <BoxIouKind kKind, typename T>
__global__ void __launch_bounds__(kThreads)
    pair_gradients_kernel(BoxIouBackward<T> args, BoxGradient<acc_t<T>>* of_a, BoxGradient<acc_t<T>>* of_b) {
  using A = acc_t<T>;
  LDIE_SHARED(BoxGradient<A>, of_warp, [kWarps][kColumns]);
  const Tiles tiles{args.a_count, args.b_count};
  const int lane = int(threadIdx.x) % kWarpSize, warp = int(threadIdx.x) / kWarpSize;
  for_each_tile(tiles, [&](int64_t row_tile, int64_t column_tile) {
    const WarpPairs<kKind, T> pairs(args.a, args.b, tiles, row_tile, column_tile);
    A grad[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const bool inside = pairs.row + r < args.a_count && pairs.column < args.b_count;
      grad[r] = inside ? args.grad[(pairs.row + r) * args.b_count + pairs.column] : A(0);
    }
    BoxGradient<A> column_sum{};
    if (pairs.row < args.a_count) {
      RowGradients<A> rows;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        auto pair = pair_gradient<kKind, T>(box_of_lane<kKind>(pairs.of_row, r), pairs.of_column, args.eps, grad[r]);
        if (pairs.column >= args.b_count) pair.a = {};
        if (pairs.row + r >= args.a_count) pair.b = {};
        rows.set(r, pair.a);
        column_sum += pair.b;
      }
      const BoxGradient<A> row_sum = rows.template sum<kKind>();
      constexpr int kLanes = kWarpSize / kRows;
      const int64_t i = pairs.row + lane / kLanes;
      if (lane % kLanes == 0 && i < args.a_count) of_a[i * tiles.across() + column_tile] = row_sum;
    }
    of_warp[warp][lane] = column_sum;
    __syncthreads();
    if (warp == 0) {
#pragma unroll
      for (int w = 1; w < kWarps; ++w) column_sum += of_warp[w][lane];
      if (pairs.column < args.b_count) of_b[pairs.column * tiles.down() + row_tile] = column_sum;
    }
    __syncthreads();
  });
}

template <typename A>
__device__ __forceinline__ BoxGradient<A> warp_sum_gradient(const BoxGradient<A>& mine) {
  return {warp_sum(mine.x1), warp_sum(mine.y1),   warp_sum(mine.x2),
          warp_sum(mine.y2), warp_sum(mine.area), warp_sum(mine.angle)};
}

// Boxes of one side, and their sums of `tiles` tiles each.
template <typename T>
struct Side {
  const T* boxes;
  int64_t count, tiles;
  BoxGradient<acc_t<T>>* sums;
  T* grad;
};

// A warp adds a box's sums, in a fixed order.
template <typename T>
__device__ void finish_box(const Side<T>& side, int64_t i) {
  const int lane = int(threadIdx.x) % kWarpSize;
  BoxGradient<acc_t<T>> sum{};
  for (int64_t tile = lane; tile < side.tiles; tile += kWarpSize) sum += side.sums[i * side.tiles + tile];
  const Box<acc_t<T>> result = warp_sum_gradient(sum).of_coordinates(load_box(side.boxes, i));
  if (lane == 0) {
    side.grad[4 * i] = T(result.x1);
    side.grad[4 * i + 1] = T(result.y1);
    side.grad[4 * i + 2] = T(result.x2);
    side.grad[4 * i + 3] = T(result.y2);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) finish_kernel(Side<T> a, Side<T> b) {
  const int64_t step = int64_t(gridDim.x) * kWarps;
  for (int64_t i = thread_index<kThreads>() / kWarpSize; i < a.count + b.count; i += step) {
    if (i < a.count) {
      finish_box(a, i);
    } else {
      finish_box(b, i - a.count);
    }
  }
}

dim3 loop_grid(int64_t blocks) { return dim3(grid_side(blocks)); }

}  // namespace

template <typename T>
void box_iou(const BoxIou<T>& args, Context& context) {
  const Tiles tiles{args.a_count, args.b_count};
  with_kind(args.kind, [&](auto kind) {
    LDIE_LAUNCH((box_iou_kernel<decltype(kind)::value, T>), loop_grid(tiles.down() * tiles.across()), dim3(kThreads), 0,
                context.stream, args);
  });
}

template <typename T>
void box_iou_backward(const BoxIouBackward<T>& args, Context& context) {
  using Sum = BoxGradient<acc_t<T>>;
  const Tiles tiles{args.a_count, args.b_count};
  Side<T> a{args.a, args.a_count, tiles.across(), nullptr, args.grad_a};
  Side<T> b{args.b, args.b_count, tiles.down(), nullptr, args.grad_b};
  a.sums = context.scratch_array<Sum>(a.count * a.tiles);
  b.sums = context.scratch_array<Sum>(b.count * b.tiles);
  with_kind(args.kind, [&](auto kind) {
    LDIE_LAUNCH((pair_gradients_kernel<decltype(kind)::value, T>), loop_grid(tiles.down() * tiles.across()),
                dim3(kThreads), 0, context.stream, args, a.sums, b.sums);
  });
  LDIE_LAUNCH(finish_kernel<T>, loop_grid(ceil_div(a.count + b.count, kWarps)), dim3(kThreads), 0, context.stream, a,
              b);
}

LDIE_INSTANTIATE(box_iou, BoxIou);
LDIE_INSTANTIATE(box_iou_backward, BoxIouBackward);

}  // namespace ldie::boxes
