// SPDX-License-Identifier: Apache-2.0
// COCO's rasterisation of polygons straight to runs; no dense mask is ever made.
#pragma once

#include <cstdint>

#include "host/rle.h"

namespace ldie::host {

// A closed polygon of `points` vertices x, y; coordinates may lie anywhere, but must be finite.
Rle draw_polygon(const double* xy, int64_t points, int64_t height, int64_t width);

}  // namespace ldie::host
