// SPDX-License-Identifier: Apache-2.0
// Floor: the bytes of the masks.
#include "masks/mask_moments_cpu.h"
#include "masks/masks_to_boxes.h"

namespace ldie::masks {

void masks_to_boxes(const MasksToBoxes& args, Context&) {
  for_each_moments(args.masks, [&](int64_t mask, const MaskMoments& moments) { args.write(mask, moments.box); });
}

}  // namespace ldie::masks
