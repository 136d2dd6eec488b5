// SPDX-License-Identifier: Apache-2.0
// Polygons to masks, bit for bit as the COCO API draws them; the parts of an instance unite.
#pragma once

#include "core/bits.h"
#include "core/context.h"
#include "masks/polygon_set.h"

namespace ldie::masks {

struct PolygonsToMasks {
  PolygonSet polygons;
  int64_t height, width;
  bool packed;
  bool zeroed;     // the masks are zero already (CPU)
  uint8_t* masks;  // [instances, height, row_bytes()], 0 or 1, or 8 pixels a byte with bit 0 leftmost

  LDIE_HD int64_t row_bytes() const { return mask_row_bytes(width, packed); }
};

void polygons_to_masks(const PolygonsToMasks& args, Context& context);

}  // namespace ldie::masks
