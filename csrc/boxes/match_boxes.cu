// SPDX-License-Identifier: Apache-2.0
// A thread has a candidate, a block a tile of ground truths in shared memory. The greatest IoUs of ground truths are
// found on the bits: there exceeds() is the order of integers, and atomicMax gives the same whatever the order of the
// threads.
#include <cstring>

#include "boxes/match_boxes.h"
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/ragged.h"
#include "core/reduce.cuh"
#include "core/simt.cuh"

namespace ldie::boxes {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 256;  // ground truths in shared memory

// The bits of an IoU as an integer: numbers from 0 up keep their order, NaN is above them.
template <typename T>
struct Order;
template <>
struct Order<float> {
  using Key = int;
  static constexpr Key kNaN = 0x7fc00000;
};
template <>
struct Order<double> {
  using Key = long long;
  static constexpr Key kNaN = 0x7ff8000000000000LL;
};
template <typename T>
using key_t = typename Order<T>::Key;

template <typename T>
__device__ __forceinline__ key_t<T> iou_key(T iou) {
  if (iou != iou) return Order<T>::kNaN;
  key_t<T> key;
  memcpy(&key, &iou, sizeof key);
  return key;
}

template <typename T>
__device__ __forceinline__ T key_iou(key_t<T> key) {
  T iou;
  memcpy(&iou, &key, sizeof iou);
  return iou;
}

// 0 over a union that is a number other than 0 needs no division; that is the case of most pairs. No -0 comes out.
template <typename T>
__device__ __forceinline__ T pair_iou(const MatchBoxes<T>& args, const Box<T>& gt, T gt_area, const Box<T>& box,
                                      T area) {
  const T intersection = box_intersection(gt, box), sum = gt_area + area;
  if (intersection == T(0) && sum == sum && sum != T(0)) return T(0);
  return args.iou_of(intersection, gt_area, area) + T(0);  // -0, from an inverted box, is 0
}

template <typename T>
struct GroundTruth {
  Box<T> box;
  T area;
  key_t<T> peak;  // of its greatest IoU
  bool left_out;
};

struct Tile {
  int64_t first;  // row in gt
  int count;
};

// All threads of the block load a tile together. A null `peaks` stands for zeros.
template <typename T>
__device__ __forceinline__ void load_tile(const MatchBoxes<T>& args, const Tile& tile, const key_t<T>* peaks,
                                          GroundTruth<T>* gts) {
  __syncthreads();  // the tile before may still be read
  const int i = int(threadIdx.x);
  if (i < tile.count) {
    const int64_t row = tile.first + i;
    const Box<T> box = load_box(args.gt, row);
    gts[i] = {box, box_area(box), peaks ? peaks[row] : 0, args.left_out(row)};
  }
  __syncthreads();
}

// Calls body(image, base): the block's share of the images and of their candidates, kThreads from `base` on.
template <typename T, typename Body>
__device__ __forceinline__ void for_each_share(const MatchBoxes<T>& args, const Body& body) {
  for (int64_t image = blockIdx.y; image < args.batch; image += gridDim.y) {
    for (int64_t base = int64_t(blockIdx.x) * kThreads; base < args.count; base += grid_threads<kThreads>()) {
      body(image, base);
    }
  }
}

// Calls body(tile) for an image's ground truths.
template <typename T, typename Body>
__device__ __forceinline__ void for_each_tile(const MatchBoxes<T>& args, int64_t image, const Body& body) {
  const RowRange range = row_range(args.gt_offsets, image, args.gt_count);
  for (int64_t first = range.begin; first < range.end; first += kTile) {
    body(Tile{first, int(range.end - first < kTile ? range.end - first : kTile)});
  }
}

// A thread past the end of the candidates works on the last one again, which changes no maximum.
template <typename T>
__device__ __forceinline__ Box<T> load_candidate(const MatchBoxes<T>& args, int64_t image, int64_t index) {
  return load_box(args.candidates_of(image), index < args.count ? index : args.count - 1);
}

template <typename Key>
__global__ void __launch_bounds__(kThreads) clear_kernel(Key* keys, int64_t count) {
  const int64_t step = grid_threads<kThreads>();
  for (int64_t i = thread_index<kThreads>(); i < count; i += step) keys[i] = 0;
}

// The greatest IoU of each ground truth. 16 bytes a candidate, and about 12 operations a pair: these are the time, on
// an H200 7.7 us for 268569 candidates and 10 ground truths, 94 for 200.
template <typename T>
__global__ void __launch_bounds__(kThreads) peaks_kernel(MatchBoxes<T> args, key_t<T>* peaks) {
  LDIE_SHARED(GroundTruth<T>, gts, [kTile]);
  for_each_share(args, [&](int64_t image, int64_t base) {
    const Box<T> box = load_candidate(args, image, base + threadIdx.x);
    const T area = box_area(box);
    for_each_tile(args, image, [&](const Tile& tile) {
      load_tile<T>(args, tile, nullptr, gts);
      for (int i = 0; i < tile.count; ++i) {
        const key_t<T> key = iou_key(pair_iou(args, gts[i].box, gts[i].area, box, area));
        if (!__any_sync(kFullWarp, key > 0)) continue;         // few pairs overlap
        const key_t<T> highest = warp_reduce(key, Maximum());  // 32 atomics on one word would go one by one
        if (threadIdx.x % kWarpSize == 0) atomicMax(&gts[i].peak, highest);
      }
      __syncthreads();
      const int i = int(threadIdx.x);
      if (i < tile.count && gts[i].peak > 0) atomicMax(&peaks[tile.first + i], gts[i].peak);
    });
  });
}

// `peaks` is null without the low-quality rule. 16 bytes in and 12 out a candidate, 12 operations a pair: 8.2 and 110
// us for those.
template <typename T>
__global__ void __launch_bounds__(kThreads) match_kernel(MatchBoxes<T> args, const key_t<T>* peaks) {
  LDIE_SHARED(GroundTruth<T>, gts, [kTile]);
  for_each_share(args, [&](int64_t image, int64_t base) {
    const Box<T> box = load_candidate(args, image, base + threadIdx.x);
    const T area = box_area(box);
    const int64_t first = row_range(args.gt_offsets, image, args.gt_count).begin;
    T best = T(-1);
    int64_t row = kBelowLow;
    bool at_peak = false;
    for_each_tile(args, image, [&](const Tile& tile) {
      load_tile(args, tile, peaks, gts);
      for (int i = 0; i < tile.count; ++i) {
        if (gts[i].left_out) continue;
        const T iou = pair_iou(args, gts[i].box, gts[i].area, box, area);
        if (exceeds(iou, best)) {
          best = iou;
          row = tile.first + i - first;
        }
        at_peak |= iou == key_iou<T>(gts[i].peak);
      }
    });
    const int64_t index = base + threadIdx.x;
    if (index >= args.count) return;  // of the lambda
    const bool restored = peaks != nullptr && at_peak, any_gt = row >= 0;
    args.iou[image * args.count + index] = any_gt ? best : T(0);
    args.matches[image * args.count + index] = restored || !any_gt ? row : args.match(best, row);
  });
}

}  // namespace

template <typename T>
void match_boxes(const MatchBoxes<T>& args, Context& context) {
  const dim3 grid(grid_blocks(args.count, kThreads), grid_side(args.batch));
  key_t<T>* peaks = nullptr;
  if (args.allow_low_quality) {
    peaks = context.scratch_array<key_t<T>>(args.gt_count);
    const dim3 clear_grid(unsigned(ceil_div(args.gt_count, kThreads)));
    LDIE_LAUNCH(clear_kernel<key_t<T>>, clear_grid, dim3(kThreads), 0, context.stream, peaks, args.gt_count);
    LDIE_LAUNCH(peaks_kernel<T>, grid, dim3(kThreads), 0, context.stream, args, peaks);
  }
  LDIE_LAUNCH(match_kernel<T>, grid, dim3(kThreads), 0, context.stream, args, peaks);
}

LDIE_INSTANTIATE_WIDE(match_boxes, MatchBoxes);

}  // namespace ldie::boxes
