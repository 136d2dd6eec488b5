// SPDX-License-Identifier: Apache-2.0
// Runs and polygons as pixels that kernels read. Include it in .cu files.
#pragma once

#include "masks/mask_set.h"
#include "masks/polygons_to_masks.h"
#include "masks/rle_decode.h"

namespace ldie::masks {

// The set, runs and polygons drawn to packed rows in scratch memory.
inline MaskSet with_pixels(Context& context, const MaskSet& set) {
  if (set.has_pixels()) return set;
  MaskSet drawn = set;
  drawn.form = MaskForm::packed;
  auto* const masks = context.scratch_array<uint8_t>(drawn.count * drawn.mask_bytes());
  drawn.masks = masks;
  const MaskOutput out{.masks = masks, .height = set.height, .width = set.width, .packed = true, .zeroed = false};
  if (set.form == MaskForm::runs) {
    rle_decode({set.runs, out}, context);
  } else {
    polygons_to_masks({set.polygons, out}, context);
  }
  return drawn;
}

}  // namespace ldie::masks
