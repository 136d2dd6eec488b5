// SPDX-License-Identifier: Apache-2.0
// Polygons to run lengths, bit for bit as the COCO API encodes them; the parts of an instance unite.
#pragma once

#include "core/context.h"
#include "masks/polygon_set.h"
#include "masks/runs.h"

namespace ldie::masks {

struct PolygonsToRle {
  PolygonSet polygons;
  int64_t height, width;
  int64_t* offsets;  // [instances + 1], runs of an instance

  LDIE_HD int64_t pixels() const { return height * width; }
};

// Runs beyond the allocator's capacity are not written; offsets has them all.
void polygons_to_rle(const PolygonsToRle& args, RunAllocator& allocator, Context& context);

}  // namespace ldie::masks
