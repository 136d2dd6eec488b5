// SPDX-License-Identifier: Apache-2.0
// Intersection over union of all pairs of two sets of masks.
#pragma once

#include "masks/mask_set.h"

namespace ldie::masks {

struct MaskIou {
  MaskSet a, b;          // of one form and size
  const uint8_t* crowd;  // [b.count], or null: none is a crowd
  double* iou;           // [a.count, b.count]
};

void mask_iou(const MaskIou& args, Context& context);

}  // namespace ldie::masks
