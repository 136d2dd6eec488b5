// SPDX-License-Identifier: Apache-2.0
// Floor: the bytes of the masks.
#include "masks/mask_centers.h"
#include "masks/mask_moments_cpu.h"

namespace ldie::masks {

void mask_centers(const MaskCenters& args, Context&) {
  for_each_moments(args.masks, [&](int64_t mask, const MaskMoments& moments) { args.write(mask, moments); });
}

}  // namespace ldie::masks
