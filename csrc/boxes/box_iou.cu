// SPDX-License-Identifier: Apache-2.0
// A warp has a tile of 32 x 32 pairs: a lane keeps one column's box, and the rows' boxes come around from the lanes.
// Reads and writes of the matrix are whole lines of 128 bytes (float).
#include "boxes/box_iou.h"
#include "core/reduce.cuh"
#include "core/simt.cuh"

namespace ldie {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = kWarpSize;

struct Tiles {
  int64_t a_count, b_count;

  LDIE_HD int64_t down() const { return (a_count + kTile - 1) / kTile; }
  LDIE_HD int64_t across() const { return (b_count + kTile - 1) / kTile; }
};

// Calls body(row_tile, column_tile) for the warp's share of the tiles.
template <typename Body>
__device__ __forceinline__ void for_each_tile(const Tiles& tiles, const Body& body) {
  const int64_t across = tiles.across(), count = tiles.down() * across;
  const int64_t step = int64_t(gridDim.x) * kThreads / kWarpSize;
  for (int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kWarpSize; i < count; i += step) {
    body(i / across, i % across);
  }
}

// This lane's box of a tile; past the end the last one again.
template <BoxIouKind kKind, typename T>
__device__ __forceinline__ PairBox<acc_t<T>> tile_box(const T* boxes, int64_t count, int64_t tile) {
  const int64_t i = tile * kTile + int64_t(threadIdx.x) % kWarpSize;
  return PairBox<acc_t<T>>(load_box(boxes, i < count ? i : count - 1), kKind);
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

// Calls body(i, row, j, column) for the rows of a tile and this lane's column, which may be past the end.
template <BoxIouKind kKind, typename T, typename Body>
__device__ __forceinline__ void for_each_row(const T* a, const T* b, const Tiles& tiles, int64_t row_tile,
                                             int64_t column_tile, const Body& body) {
  const auto rows = tile_box<kKind>(a, tiles.a_count, row_tile);
  const auto column = tile_box<kKind>(b, tiles.b_count, column_tile);
  const int64_t first = row_tile * kTile, j = column_tile * kTile + int64_t(threadIdx.x) % kWarpSize;
  const int count = int(tiles.a_count - first < kTile ? tiles.a_count - first : kTile);
  for (int r = 0; r < count; ++r) body(first + r, box_of_lane<kKind>(rows, r), j, column);
}

// Writes 4 bytes a pair, which takes longer than the 15 (IoU) to 40 (CIoU) operations.
template <BoxIouKind kKind, typename T>
__global__ void __launch_bounds__(kThreads) box_iou_kernel(BoxIou<T> args) {
  using A = acc_t<T>;
  const Tiles tiles{args.a_count, args.b_count};
  for_each_tile(tiles, [&](int64_t row_tile, int64_t column_tile) {
    for_each_row<kKind>(args.a, args.b, tiles, row_tile, column_tile,
                        [&](int64_t i, const PairBox<A>& row, int64_t j, const PairBox<A>& column) {
                          const A iou = pair_iou<kKind, T>(row, column, args.eps);
                          if (j < args.b_count) args.iou[i * args.b_count + j] = iou;
                        });
  });
}

template <typename A>
__device__ __forceinline__ BoxGradient<A> warp_sum_gradient(const BoxGradient<A>& mine) {
  return {warp_sum(mine.x1), warp_sum(mine.y1),   warp_sum(mine.x2),
          warp_sum(mine.y2), warp_sum(mine.area), warp_sum(mine.angle)};
}

// Reads 4 bytes a pair and leaves the sums over tiles, 1.5 bytes a pair; 50 (IoU) to 100 (CIoU) operations a pair, and
// as many shuffles and additions again.
template <BoxIouKind kKind, typename T>
__global__ void __launch_bounds__(kThreads)
    pair_gradients_kernel(BoxIouBackward<T> args, BoxGradient<acc_t<T>>* of_a, BoxGradient<acc_t<T>>* of_b) {
  using A = acc_t<T>;
  const Tiles tiles{args.a_count, args.b_count};
  const int lane = int(threadIdx.x) % kWarpSize;
  for_each_tile(tiles, [&](int64_t row_tile, int64_t column_tile) {
    BoxGradient<A> column_sum{};
    for_each_row<kKind>(args.a, args.b, tiles, row_tile, column_tile,
                        [&](int64_t i, const PairBox<A>& row, int64_t j, const PairBox<A>& column) {
                          const A grad = j < args.b_count ? args.grad[i * args.b_count + j] : A(0);
                          const auto pair = pair_gradient<kKind, T>(row, column, args.eps, grad);
                          column_sum += pair.b;
                          const BoxGradient<A> row_sum = warp_sum_gradient(pair.a);
                          if (lane == 0) of_a[i * tiles.across() + column_tile] = row_sum;
                        });
    const int64_t j = column_tile * kTile + lane;
    if (j < args.b_count) of_b[j * tiles.down() + row_tile] = column_sum;
  });
}

// A warp adds a box's sums of `tiles` tiles, in a fixed order.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    finish_kernel(const T* boxes, int64_t count, const BoxGradient<acc_t<T>>* sums, int64_t tiles, T* grad) {
  using A = acc_t<T>;
  const int lane = int(threadIdx.x) % kWarpSize;
  const int64_t step = int64_t(gridDim.x) * kThreads / kWarpSize;
  for (int64_t i = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kWarpSize; i < count; i += step) {
    BoxGradient<A> sum{};
    for (int64_t tile = lane; tile < tiles; tile += kWarpSize) sum += sums[i * tiles + tile];
    const Box<A> result = warp_sum_gradient(sum).of_coordinates(load_box(boxes, i));
    if (lane == 0) {
      grad[4 * i] = T(result.x1);
      grad[4 * i + 1] = T(result.y1);
      grad[4 * i + 2] = T(result.x2);
      grad[4 * i + 3] = T(result.y2);
    }
  }
}

// Blocks of a loop in which a warp does an item at a time.
dim3 warp_loop_grid(int64_t items) {
  constexpr int64_t kMostBlocks = 65535, kWarps = kThreads / kWarpSize;
  const int64_t blocks = (items + kWarps - 1) / kWarps;
  return dim3(unsigned(blocks < kMostBlocks ? blocks : kMostBlocks));
}

}  // namespace

template <typename T>
void box_iou(const BoxIou<T>& args, Context& context) {
  const Tiles tiles{args.a_count, args.b_count};
  with_kind(args.kind, [&](auto kind) {
    LDIE_LAUNCH((box_iou_kernel<decltype(kind)::value, T>), warp_loop_grid(tiles.down() * tiles.across()),
                dim3(kThreads), 0, context.stream, args);
  });
}

template <typename T>
void box_iou_backward(const BoxIouBackward<T>& args, Context& context) {
  using Sum = BoxGradient<acc_t<T>>;
  const Tiles tiles{args.a_count, args.b_count};
  Sum* const of_a = context.scratch_array<Sum>(args.a_count * tiles.across());
  Sum* const of_b = context.scratch_array<Sum>(args.b_count * tiles.down());
  with_kind(args.kind, [&](auto kind) {
    LDIE_LAUNCH((pair_gradients_kernel<decltype(kind)::value, T>), warp_loop_grid(tiles.down() * tiles.across()),
                dim3(kThreads), 0, context.stream, args, of_a, of_b);
  });
  LDIE_LAUNCH(finish_kernel<T>, warp_loop_grid(args.a_count), dim3(kThreads), 0, context.stream, args.a, args.a_count,
              of_a, tiles.across(), args.grad_a);
  LDIE_LAUNCH(finish_kernel<T>, warp_loop_grid(args.b_count), dim3(kThreads), 0, context.stream, args.b, args.b_count,
              of_b, tiles.down(), args.grad_b);
}

#define LDIE_INSTANTIATE(T)                          \
  template void box_iou(const BoxIou<T>&, Context&); \
  template void box_iou_backward(const BoxIouBackward<T>&, Context&);
LDIE_INSTANTIATE(float)
LDIE_INSTANTIATE(double)
LDIE_INSTANTIATE(Half)
LDIE_INSTANTIATE(BFloat16)
#undef LDIE_INSTANTIATE

}  // namespace ldie
