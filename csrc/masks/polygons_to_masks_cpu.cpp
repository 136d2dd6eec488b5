// SPDX-License-Identifier: Apache-2.0
// Dense masks are bound by writing them (or, fresh from the system, by the page faults of what is written); the drawing
// itself works on 64 pixels at a time.
#include <cstring>

#include "core/parallel_cpu.h"
#include "masks/draw_polygon_cpu.h"
#include "masks/polygons_to_masks.h"

namespace ldie::masks {
void polygons_to_masks(const PolygonsToMasks& args, Context&) {
  constexpr int64_t kBytesPerTask = 1 << 17;
  const int64_t mask_bytes = args.out.mask_bytes();
  parallel_for(args.polygons.instances, kBytesPerTask / (mask_bytes + 1) + 1, [&](int64_t begin, int64_t end) {
    BitCanvas canvas;
    for (int64_t n = begin; n < end; ++n) {
      uint8_t* const mask = args.out.mask(n);
      if (!args.out.zeroed) std::memset(mask, 0, size_t(mask_bytes));
      const RowRange parts = args.polygons.parts_of(n);
      for (int64_t part = parts.begin; part < parts.end; ++part) {
        draw_part(canvas, args.polygons, args.polygons.points_of(part), PolygonFrame(), args.out.height,
                  args.out.width);
        canvas.unite_into(mask, args.out.row_bytes(), args.out.packed);
      }
    }
  });
}

}  // namespace ldie::masks
