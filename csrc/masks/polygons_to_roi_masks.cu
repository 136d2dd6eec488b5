// SPDX-License-Identifier: Apache-2.0
// A block draws 64 rows of one RoI in shared memory: all of it at the usual sizes. Bytes are few (128
// masks of 28 x 28: 0.1 MB, and their vertices once), so that the launch is the floor; the work, a handful of edges a
// thread, makes it 9.7 us on an H200.
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "masks/draw_polygon.cuh"
#include "masks/polygons_to_roi_masks.h"

namespace ldie::masks {
namespace {

constexpr int kRows = 64, kThreads = 64;
using Canvas = BitCanvas<kRows, kThreads>;

template <typename T>
__global__ void __launch_bounds__(kThreads) polygons_to_roi_masks_kernel(PolygonsToRoiMasks<T> args, int64_t strips) {
  LDIE_DYNAMIC_SHARED(uint32_t, memory);
  const int64_t roi = blockIdx.x / strips, left = blockIdx.x % strips * kBandColumns;
  const RowRange parts = args.parts_of(roi);
  const PolygonFrame frame = args.frame(roi);
  uint8_t* const mask = args.masks + roi * args.size * args.size;
  for (int64_t top = int64_t(blockIdx.y) * kRows; top < args.size; top += int64_t(gridDim.y) * kRows) {
    Canvas canvas(memory, band_words(args.size), top, left);
    for (int64_t part = parts.begin; part < parts.end; ++part) {
      draw_part<kThreads>(canvas, args.polygons, args.polygons.points_of(part), frame, left, args.size, args.size);
    }
    canvas.store(mask, args.size, false, args.size, args.size);
    __syncthreads();
  }
}

}  // namespace

template <typename T>
void polygons_to_roi_masks(const PolygonsToRoiMasks<T>& args, Context& context) {
  const int64_t strips = band_strips(args.size), bands = ceil_div(args.size, kRows);
  const dim3 grid(unsigned(args.rois * strips), grid_side(bands));
  LDIE_LAUNCH(polygons_to_roi_masks_kernel<T>, grid, dim3(kThreads), Canvas::bytes(band_words(args.size)),
              context.stream, args, strips);
}

LDIE_INSTANTIATE(polygons_to_roi_masks, PolygonsToRoiMasks);

}  // namespace ldie::masks
