// SPDX-License-Identifier: Apache-2.0
// A block draws a rectangle of 256 columns of one instance, 256 rows at a time, in shared memory, and writes it once.
// The floor is that write: instances * height * row_bytes(). Edges are read again by every rectangle (some KB an
// instance, from L2), and crossings outside of it are not computed.
#include "core/bits.cuh"
#include "masks/polygon_canvas.cuh"
#include "masks/polygons_to_masks.h"

namespace ldie {
namespace {

using Canvas = PolygonCanvas<8, 256, 32>;
constexpr int kRows = 256;

// 16 columns a thread, so that a warp stores two whole rows of the rectangle.
__device__ void store_rectangle(const PolygonsToMasks& args, const Canvas& canvas, uint8_t* mask, int64_t top,
                                int64_t left) {
  constexpr int kStores = Canvas::kColumns / kCellsPerStore;
  for (int i = threadIdx.x; i < kRows * kStores; i += Canvas::kThreads) {
    const int row = i / kStores, store = i % kStores;
    const int64_t y = top + row, x = left + store * kCellsPerStore;
    if (y >= args.height || x >= args.width) continue;
    const uint32_t bits = canvas.united[row][store / 2] >> (store % 2 * kCellsPerStore);
    const int32_t count = int32_t(min(int64_t(kCellsPerStore), args.width - x));
    store_cells(mask + y * args.row_bytes(), x, count, bits & 0xffffu, args.packed);
  }
}

__global__ void __launch_bounds__(Canvas::kThreads) polygons_to_masks_kernel(PolygonsToMasks args, int64_t strips) {
  LDIE_SHARED(Canvas, canvas, );
  const int64_t instance = blockIdx.x / strips, left = blockIdx.x % strips * Canvas::kColumns;
  const RowRange parts = args.polygons.parts_of(instance);
  uint8_t* const mask = args.masks + instance * args.height * args.row_bytes();
  for (int64_t top = int64_t(blockIdx.y) * kRows; top < args.height; top += int64_t(gridDim.y) * kRows) {
    canvas.clear();
    for (int64_t part = parts.begin; part < parts.end; ++part) {
      canvas.draw(args.polygons, args.polygons.points_of(part), PolygonFrame(), top, left, args.height, args.width);
    }
    __syncthreads();
    store_rectangle(args, canvas, mask, top, left);
    __syncthreads();
  }
}

}  // namespace

void polygons_to_masks(const PolygonsToMasks& args, Context& context) {
  const int64_t strips = (args.width + Canvas::kColumns - 1) / Canvas::kColumns;
  const int64_t rectangles = (args.height + kRows - 1) / kRows;
  const dim3 grid(unsigned(args.polygons.instances * strips), unsigned(rectangles < 65535 ? rectangles : 65535));
  LDIE_LAUNCH(polygons_to_masks_kernel, grid, dim3(Canvas::kThreads), 0, context.stream, args, strips);
}

}  // namespace ldie
