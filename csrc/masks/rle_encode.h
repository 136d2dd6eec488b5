// SPDX-License-Identifier: Apache-2.0
// Masks to run lengths: pixels read column by column, alternating runs, zeros first (COCO's encoding).
#pragma once

#include "masks/mask_set.h"
#include "masks/runs.h"

namespace ldie::masks {

struct RleEncode {
  MaskSet masks;     // not of runs
  int64_t* offsets;  // [count + 1], runs of a mask
};

// Runs beyond the capacity are not written; offsets has them all.
void rle_encode(const RleEncode& args, RunAllocator& allocator, Context& context);

}  // namespace ldie::masks
