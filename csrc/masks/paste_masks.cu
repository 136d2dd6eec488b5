// SPDX-License-Identifier: Apache-2.0
// A block pastes a rectangle of 256 columns and 32 rows of one mask, as bits in shared memory, and writes it once. A
// lane owns a column: its tap and the four cells that it reads stay in registers from row to row. The floor is the
// output, count * height * row_bytes(); the masks come from the cache.
#include "core/bits.cuh"
#include "masks/paste_masks.h"

namespace ldie {
namespace {

constexpr int kWords = 8, kRows = 32, kThreads = 32 * kWords;
constexpr unsigned kAllLanes = 0xffffffffu;

template <typename A>
struct Rectangle {
  PasteTap<A> taps[kRows];
  uint32_t words[kRows][kWords];
};

// A cell counted with the frame, where it is 0.
template <typename T>
__device__ acc_t<T> framed_cell(const PasteMasks<T>& args, const T* mask, int32_t row, int32_t column) {
  if (row < 1 || row > args.rows || column < 1 || column > args.columns) return 0;
  return acc_t<T>(mask[(row - 1) * args.columns + (column - 1)]);
}

template <typename T>
__device__ PasteCells<acc_t<T>> framed_cells(const PasteMasks<T>& args, const T* mask, int32_t row, int32_t column) {
  return {framed_cell(args, mask, row, column), framed_cell(args, mask, row, column + 1),
          framed_cell(args, mask, row + 1, column), framed_cell(args, mask, row + 1, column + 1)};
}

// One warp's 32 columns of the rectangle.
template <PasteRule rule, typename T>
__device__ void paste_columns(const PasteMasks<T>& args, int64_t n, const PasteTap<acc_t<T>>& x,
                              Rectangle<acc_t<T>>& rectangle) {
  const T* const mask = args.masks + n * args.rows * args.columns;
  const int word = threadIdx.x / 32, lane = threadIdx.x % 32;
  const bool any = __ballot_sync(kAllLanes, x.reached()) != 0;
  PasteCells<acc_t<T>> cells{};
  int32_t cells_row = -1;
  uint32_t own = 0;  // the bits of row `lane`
  for (int row = 0; row < kRows; ++row) {
    const PasteTap<acc_t<T>> y = rectangle.taps[row];
    if (!any || !y.reached()) continue;
    if (x.reached() && y.low != cells_row) cells = framed_cells(args, mask, y.low, x.low);
    cells_row = y.low;
    const bool set = x.reached() && paste_pixel<rule>(cells, y, x, acc_t<T>(args.threshold));
    const uint32_t bits = __ballot_sync(kAllLanes, set);
    if (row == lane) own = bits;
  }
  rectangle.words[lane][word] = own;
}

template <PasteRule rule, typename T>
__global__ void __launch_bounds__(kThreads) paste_masks_kernel(PasteMasks<T> args, int64_t strips) {
  LDIE_SHARED(Rectangle<acc_t<T>>, rectangle, );
  const int64_t n = blockIdx.x / strips, left = blockIdx.x % strips * kThreads;
  const PasteAxis<acc_t<T>> axis_y = args.axis_y(n);
  const int64_t column = left + threadIdx.x;
  const PasteTap<acc_t<T>> x = column < args.width ? args.axis_x(n).tap(column) : PasteTap<acc_t<T>>::none();
  uint8_t* const output = args.output + n * args.height * args.row_bytes();
  for (int64_t top = int64_t(blockIdx.y) * kRows; top < args.height; top += int64_t(gridDim.y) * kRows) {
    if (threadIdx.x < kRows) rectangle.taps[threadIdx.x] = axis_y.tap(top + threadIdx.x);
    __syncthreads();
    paste_columns<rule>(args, n, x, rectangle);
    __syncthreads();
    store_rectangle<kThreads>(rectangle.words, output, args.row_bytes(), args.packed, top, left, args.height,
                              args.width);
  }
}

}  // namespace

template <typename T>
void paste_masks(const PasteMasks<T>& args, Context& context) {
  const int64_t strips = (args.width + kThreads - 1) / kThreads, bands = (args.height + kRows - 1) / kRows;
  const dim3 grid(unsigned(args.count * strips), unsigned(bands < 65535 ? bands : 65535)), block(kThreads);
  if (args.rule == PasteRule::detectron2) {
    LDIE_LAUNCH((paste_masks_kernel<PasteRule::detectron2, T>), grid, block, 0, context.stream, args, strips);
  } else {
    LDIE_LAUNCH((paste_masks_kernel<PasteRule::torchvision, T>), grid, block, 0, context.stream, args, strips);
  }
}

template void paste_masks(const PasteMasks<float>&, Context&);
template void paste_masks(const PasteMasks<double>&, Context&);
template void paste_masks(const PasteMasks<Half>&, Context&);
template void paste_masks(const PasteMasks<BFloat16>&, Context&);

}  // namespace ldie
