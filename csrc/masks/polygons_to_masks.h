// SPDX-License-Identifier: Apache-2.0
// Polygons to masks, bit for bit as the COCO API draws them; the parts of an instance unite.
#pragma once

#include "core/context.h"
#include "masks/mask_output.h"
#include "masks/polygon_set.h"

namespace ldie::masks {

struct PolygonsToMasks {
  PolygonSet polygons;
  MaskOutput out;
};

void polygons_to_masks(const PolygonsToMasks& args, Context& context);

}  // namespace ldie::masks
