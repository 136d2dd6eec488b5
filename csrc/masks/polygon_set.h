// SPDX-License-Identifier: Apache-2.0
// The polygons of many instances, as ops see them, and the frame in which they are drawn.
#pragma once

#include <cstdint>

#include "core/ragged.h"
#include "masks/polygon_edge.h"

namespace ldie::masks {

struct PolygonSet {
  const double* coords;             // [points, 2] x y
  const int64_t* part_offsets;      // [parts + 1], points of a part
  const int64_t* instance_offsets;  // [instances + 1], parts of an instance
  int64_t points, parts, instances;

  LDIE_HD RowRange parts_of(int64_t instance) const { return row_range(instance_offsets, instance, parts); }
  LDIE_HD RowRange points_of(int64_t part) const { return row_range(part_offsets, part, points); }
};

// Pixel = (coordinate - origin) * scale. The default changes nothing, not even by rounding.
struct PolygonFrame {
  double x = 0, y = 0, scale_x = 1, scale_y = 1;

  LDIE_HD int32_t fine_x(const double* point) const { return fine_coordinate((point[0] - x) * scale_x); }
  LDIE_HD int32_t fine_y(const double* point) const { return fine_coordinate((point[1] - y) * scale_y); }
};

// The ends of an edge, which say where it lies before it is known where it crosses columns.
struct FineEdge {
  int32_t xa, ya, xb, yb;

  LDIE_HD PolygonEdge edge() const { return PolygonEdge(xa, ya, xb, yb); }
};

// From a point of a part to the next; the last edge closes it.
LDIE_HD FineEdge fine_edge(const PolygonSet& polygons, const RowRange& part, int64_t point, const PolygonFrame& frame) {
  const double* const start = polygons.coords + 2 * point;
  const double* const end = polygons.coords + 2 * (point + 1 < part.end ? point + 1 : part.begin);
  return {frame.fine_x(start), frame.fine_y(start), frame.fine_x(end), frame.fine_y(end)};
}

}  // namespace ldie::masks
