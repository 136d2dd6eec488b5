// SPDX-License-Identifier: Apache-2.0
// Masks to run lengths: pixels read column by column, alternating runs, zeros first (COCO's encoding).
#pragma once

#include <cstdint>

#include "core/bits.h"
#include "core/context.h"
#include "core/hd.h"
#include "masks/runs.h"

namespace ldie::masks {

struct RleEncode {
  const uint8_t* masks;  // [count, height, row_bytes()], 0 or 1, or 8 pixels a byte with bit 0 leftmost
  int64_t count, height, width;
  bool packed;
  int64_t* offsets;  // [count + 1], runs of a mask

  LDIE_HD int64_t row_bytes() const { return mask_row_bytes(width, packed); }
  LDIE_HD int64_t mask_bytes() const { return height * row_bytes(); }
  LDIE_HD int64_t pixels() const { return height * width; }
};

// Runs beyond the capacity are not written; offsets has them all.
void rle_encode(const RleEncode& args, RunAllocator& allocator, Context& context);

}  // namespace ldie::masks
