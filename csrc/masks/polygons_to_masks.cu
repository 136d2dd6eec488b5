// SPDX-License-Identifier: Apache-2.0
// A block draws a rectangle of 256 columns of one instance, 256 rows at a time, in shared memory, and writes it once.
// The floor is that write: instances * height * row_bytes(). Edges are read again by every rectangle (some KB an
// instance, from L2), and crossings outside of it are not computed.
#include "masks/draw_polygon.cuh"
#include "masks/polygons_to_masks.h"

namespace ldie {
namespace {

constexpr int kRows = 256;
using Canvas = BitCanvas<8, kRows, 32>;

__global__ void __launch_bounds__(Canvas::kThreads) polygons_to_masks_kernel(PolygonsToMasks args, int64_t strips) {
  LDIE_SHARED(Canvas, canvas, );
  const int64_t instance = blockIdx.x / strips, left = blockIdx.x % strips * Canvas::kColumns;
  const RowRange parts = args.polygons.parts_of(instance);
  uint8_t* const mask = args.masks + instance * args.height * args.row_bytes();
  for (int64_t top = int64_t(blockIdx.y) * kRows; top < args.height; top += int64_t(gridDim.y) * kRows) {
    canvas.clear();
    for (int64_t part = parts.begin; part < parts.end; ++part) {
      draw_part(canvas, args.polygons, args.polygons.points_of(part), PolygonFrame(), top, left, args.height,
                args.width);
    }
    __syncthreads();
    canvas.store(mask, args.row_bytes(), args.packed, top, left, args.height, args.width);
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
