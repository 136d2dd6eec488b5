// SPDX-License-Identifier: Apache-2.0
// A block draws a tile of 64 x 64 pixels of one RoI in shared memory: all of it at the usual sizes. Bytes are few (128
// masks of 28 x 28: 0.1 MB, and their vertices once), so that the launch is the floor; the work is a handful of edges a
// thread.
#include "masks/draw_polygon.cuh"
#include "masks/polygons_to_roi_masks.h"

namespace ldie {
namespace {

constexpr int kTile = 64;
using Canvas = BitCanvas<kTile / 32, kTile, 32>;

template <typename T>
__global__ void __launch_bounds__(Canvas::kThreads)
    polygons_to_roi_masks_kernel(PolygonsToRoiMasks<T> args, int64_t tiles_across) {
  LDIE_SHARED(Canvas, canvas, );
  const RowRange parts = args.parts_of(blockIdx.x);
  const PolygonFrame frame = args.frame(blockIdx.x);
  uint8_t* const mask = args.masks + int64_t(blockIdx.x) * args.size * args.size;
  for (int64_t tile = blockIdx.y; tile < tiles_across * tiles_across; tile += gridDim.y) {
    const int64_t top = tile / tiles_across * kTile, left = tile % tiles_across * kTile;
    canvas.clear();
    for (int64_t part = parts.begin; part < parts.end; ++part) {
      draw_part(canvas, args.polygons, args.polygons.points_of(part), frame, top, left, args.size, args.size);
    }
    __syncthreads();
    canvas.store(mask, args.size, false, top, left, args.size, args.size);
    __syncthreads();
  }
}

}  // namespace

template <typename T>
void polygons_to_roi_masks(const PolygonsToRoiMasks<T>& args, Context& context) {
  const int64_t across = (args.size + kTile - 1) / kTile, tiles = across * across;
  const dim3 grid(unsigned(args.rois), unsigned(tiles < 65535 ? tiles : 65535));
  LDIE_LAUNCH(polygons_to_roi_masks_kernel<T>, grid, dim3(Canvas::kThreads), 0, context.stream, args, across);
}

template void polygons_to_roi_masks(const PolygonsToRoiMasks<float>&, Context&);
template void polygons_to_roi_masks(const PolygonsToRoiMasks<double>&, Context&);
template void polygons_to_roi_masks(const PolygonsToRoiMasks<Half>&, Context&);
template void polygons_to_roi_masks(const PolygonsToRoiMasks<BFloat16>&, Context&);

}  // namespace ldie
