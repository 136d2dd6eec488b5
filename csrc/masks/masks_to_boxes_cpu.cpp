// SPDX-License-Identifier: Apache-2.0
#include "masks/mask_set_cpu.h"
#include "masks/masks_to_boxes.h"

namespace ldie::masks {

void masks_to_boxes(const MasksToBoxes& args, Context&) {
  parallel_for(args.masks.count, masks_per_task(args.masks), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) args.write(n, pixel_box(args.masks, n));
  });
}

}  // namespace ldie::masks
