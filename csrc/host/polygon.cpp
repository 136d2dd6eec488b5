// SPDX-License-Identifier: Apache-2.0
#include "host/polygon.h"

#include "masks/polygon_crossings.h"
#include "masks/polygon_set.h"

namespace ldie::host {

Rle draw_polygon(const double* xy, int64_t points, int64_t height, int64_t width) {
  mask_cells(height, width);
  masks::PolygonCrossings crossings(height, width);
  const masks::PolygonSet polygon{xy, nullptr, nullptr, points, 1, 1};
  const RowRange all{0, points};
  for (int64_t point = 0; point < points; ++point)
    crossings.add(masks::fine_edge(polygon, all, point, masks::PolygonFrame()).edge());
  std::vector<Span> spans;
  crossings.append_spans(spans);
  return from_ones(spans, height, width);
}

}  // namespace ldie::host
