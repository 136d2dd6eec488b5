// SPDX-License-Identifier: Apache-2.0
// Floor: the bytes of the masks. 44 us on an H200 for 100 dense ones of 800 x 1333, 57 % of a copy's speed; 20 us
// packed.
#include "masks/mask_centers.h"
#include "masks/mask_moments.cuh"

namespace ldie::masks {
namespace {

struct WriteCenter {
  MaskCenters args;
  __device__ void operator()(int64_t mask, const MaskMoments& moments) const { args.write(mask, moments); }
};

}  // namespace

void mask_centers(const MaskCenters& args, Context& context) { use_moments(context, args.masks, WriteCenter{args}); }

}  // namespace ldie::masks
