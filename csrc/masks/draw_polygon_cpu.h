// SPDX-License-Identifier: Apache-2.0
// One part of a polygon on a canvas, on the CPU.
#pragma once

#include "core/integers.h"
#include "masks/bit_canvas_cpu.h"
#include "masks/polygon_set.h"

namespace ldie::masks {

// Places the canvas where an image of height x width may be covered by the part, and draws it.
inline void draw_part(BitCanvas& canvas, const PolygonSet& polygons, const RowRange& part, const PolygonFrame& frame,
                      int64_t height, int64_t width) {
  int32_t left = INT32_MAX, right = INT32_MIN, upper = INT32_MAX, lower = INT32_MIN;
  for (int64_t point = part.begin; point < part.end; ++point) {
    const double* const xy = polygons.coords + 2 * point;
    const int32_t x = frame.fine_x(xy), y = frame.fine_y(xy);
    left = std::min(left, x);
    right = std::max(right, x);
    upper = std::min(upper, y);
    lower = std::max(lower, y);
  }
  if (part.begin >= part.end) {
    canvas.place(0, 0, 0, 0);
    return;
  }
  const PolygonEdge span(left, 0, right, 0);
  canvas.place(first_row(upper, height), std::min(height, last_row(lower, height) + 1), span.first_column() / 64,
               ceil_div(span.end_column(width), 64));
  for (int64_t point = part.begin; point < part.end; ++point) {
    const PolygonEdge edge = fine_edge(polygons, part, point, frame).edge();
    const int64_t end = edge.end_column(width);
    for (int64_t column = edge.first_column(); column < end; ++column) canvas.toggle(edge.row(column, height), column);
  }
  canvas.inherit();
}

}  // namespace ldie::masks
