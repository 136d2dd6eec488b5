// SPDX-License-Identifier: Apache-2.0
// One part of a polygon on a block's canvas. Include it in .cu files.
#pragma once

#include "masks/bit_canvas.cuh"
#include "masks/polygon_set.h"

namespace ldie {

// An edge a thread; only the columns of the canvas are looked at.
template <typename Canvas>
__device__ void draw_part(Canvas& canvas, const PolygonSet& polygons, const RowRange& part, const PolygonFrame& frame,
                          int64_t top, int64_t left, int64_t height, int64_t width) {
  canvas.begin_piece();
  for (int64_t point = part.begin + threadIdx.x; point < part.end; point += Canvas::kThreads) {
    const PolygonEdge edge = polygon_edge(polygons, part, point, frame);
    const int64_t end = edge.end_column(min(width, left + Canvas::kColumns));
    for (int64_t column = max(left, edge.first_column()); column < end; ++column) {
      canvas.toggle(edge.row(column, height), column, top, left);
    }
  }
  canvas.end_piece();
}

}  // namespace ldie
