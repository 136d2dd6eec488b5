// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "masks/draw_polygon_cpu.h"
#include "masks/polygons_to_roi_masks.h"

namespace ldie::masks {

template <typename T>
void polygons_to_roi_masks(const PolygonsToRoiMasks<T>& args, Context&) {
  constexpr int64_t kRoisPerTask = 8;
  const int64_t mask_bytes = args.size * args.size;
  parallel_for(args.rois, kRoisPerTask, [&](int64_t begin, int64_t end) {
    BitCanvas canvas;
    for (int64_t roi = begin; roi < end; ++roi) {
      uint8_t* const mask = args.masks + roi * mask_bytes;
      std::memset(mask, 0, size_t(mask_bytes));
      const RowRange parts = args.parts_of(roi);
      const PolygonFrame frame = args.frame(roi);
      for (int64_t part = parts.begin; part < parts.end; ++part) {
        draw_part(canvas, args.polygons, args.polygons.points_of(part), frame, args.size, args.size);
        canvas.unite_into(mask, args.size, false);
      }
    }
  });
}

LDIE_INSTANTIATE(polygons_to_roi_masks, PolygonsToRoiMasks);

}  // namespace ldie::masks
