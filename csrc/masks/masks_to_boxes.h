// SPDX-License-Identifier: Apache-2.0
// The boxes of masks.
#pragma once

#include "masks/mask_moments.h"

namespace ldie::masks {

struct MasksToBoxes {
  MaskSet masks;
  bool beyond;   // x2 and y2 are one beyond the last pixel (detectron2), or its indices (torchvision)
  float* boxes;  // [count, 4] x1 y1 x2 y2

  // A mask without pixels has the box 0 0 0 0.
  LDIE_HD void write(int64_t mask, const MaskBox& box) const {
    float* const to = boxes + 4 * mask;
    const bool empty = box.empty();
    to[0] = empty ? 0 : float(box.left);
    to[1] = empty ? 0 : float(box.top);
    to[2] = empty ? 0 : float(box.right - !beyond);
    to[3] = empty ? 0 : float(box.bottom - !beyond);
  }
};

void masks_to_boxes(const MasksToBoxes& args, Context& context);

}  // namespace ldie::masks
