// SPDX-License-Identifier: Apache-2.0
// The boxes of run lengths.
#pragma once

#include "masks/mask_set.h"

namespace ldie::masks {

struct RleToBoxes {
  RunSet masks;
  const int64_t* sizes;  // [count, 2] height and width
  float* boxes;          // [count, 4] x1 y1 x2 y2, the last pixel + 1; 0 0 0 0 of a mask without pixels

  // Never 0, whatever a GPU is given: runs are divided by it.
  LDIE_HD int64_t height(int64_t mask) const { return sizes[2 * mask] > 1 ? sizes[2 * mask] : 1; }

  LDIE_HD void write(int64_t mask, const MaskBox& box) const {
    float* const to = boxes + 4 * mask;
    const bool empty = box.empty();
    to[0] = empty ? 0 : float(box.left);
    to[1] = empty ? 0 : float(box.top);
    to[2] = float(box.right);
    to[3] = float(box.bottom);
  }
};

void rle_to_boxes(const RleToBoxes& args, Context& context);

}  // namespace ldie::masks
