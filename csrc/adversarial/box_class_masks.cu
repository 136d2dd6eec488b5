// SPDX-License-Identifier: Apache-2.0
// Every output byte is written once and nothing big is read, so the floor is the store bandwidth: batch * planes *
// height * row_bytes. A block owns consecutive cells of one plane, 16 a thread; it first lists the boxes that reach
// them, so that the many planes without a box cost no more than a memset.
#include "adversarial/box_class_masks.h"
#include "core/bits.cuh"
#include "core/simt.cuh"

namespace ldie {
namespace {

constexpr int kThreads = 128;
constexpr int kListed = 128;  // boxes held in shared memory at a time

// A thread's cells within the row `y`, from cell x on, `count` of them.
struct Span {
  int64_t y, x;
  int32_t count;
};

template <typename T>
__global__ void __launch_bounds__(kThreads) box_class_masks_kernel(BoxClassMasks<T> args, int64_t spans_per_row) {
  LDIE_SHARED(PixelBox, listed, [kListed]);
  LDIE_SHARED(int, count, );
  const int64_t plane_index = blockIdx.x, image = plane_index / args.planes, plane = plane_index % args.planes;
  const RowRange range = row_range(args.offsets, image, args.rows);
  uint8_t* const mask = args.masks + plane_index * args.height * args.row_bytes();
  const int64_t spans = args.height * spans_per_row;

  for (int64_t first = int64_t(blockIdx.y) * kThreads; first < spans; first += int64_t(gridDim.y) * kThreads) {
    const int64_t index = first + threadIdx.x;
    Span span{index / spans_per_row, index % spans_per_row * kCellsPerStore, 0};
    if (index < spans) span.count = int32_t(min(int64_t(kCellsPerStore), args.width - span.x));
    const int64_t top = first / spans_per_row, bottom = min(args.height, (first + kThreads - 1) / spans_per_row + 1);

    uint32_t bits = 0;
    for (int64_t base = range.begin; base < range.end; base += kListed) {
      if (threadIdx.x == 0) count = 0;
      __syncthreads();
      const int64_t i = base + threadIdx.x;
      if (i < range.end && args.in_plane(i, plane)) {
        const PixelBox box = args.cells(i);
        if (box.x1 < box.x2 && box.y1 < bottom && box.y2 > top) listed[atomicAdd(&count, 1)] = box;
      }
      __syncthreads();
      for (int k = 0; k < count; ++k) {
        const PixelBox box = listed[k];
        if (box.y1 <= span.y && span.y < box.y2) bits |= covered_bits(box.x1, box.x2, span.x, kCellsPerStore);
      }
      __syncthreads();
    }
    if (span.count > 0) store_cells(mask + span.y * args.row_bytes(), span.x, span.count, bits, args.packed);
  }
}

}  // namespace

template <typename T>
void box_class_masks(const BoxClassMasks<T>& args, Context& context) {
  static_assert(kListed == kThreads, "every thread offers one box a round");
  const int64_t spans_per_row = (args.width + kCellsPerStore - 1) / kCellsPerStore;
  const int64_t blocks = (args.height * spans_per_row + kThreads - 1) / kThreads;
  const dim3 grid(unsigned(args.batch * args.planes), unsigned(blocks < 65535 ? blocks : 65535));
  LDIE_LAUNCH(box_class_masks_kernel<T>, grid, dim3(kThreads), 0, context.stream, args, spans_per_row);
}

template void box_class_masks(const BoxClassMasks<float>&, Context&);
template void box_class_masks(const BoxClassMasks<double>&, Context&);
template void box_class_masks(const BoxClassMasks<Half>&, Context&);
template void box_class_masks(const BoxClassMasks<BFloat16>&, Context&);

}  // namespace ldie
