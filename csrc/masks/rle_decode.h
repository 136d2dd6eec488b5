// SPDX-License-Identifier: Apache-2.0
// Run lengths, read column by column, to masks.
#pragma once

#include "core/bits.h"
#include "core/context.h"
#include "masks/run_set.h"

namespace ldie::masks {

struct RleDecode {
  RunSet runs;
  int64_t height, width;
  bool packed;
  bool zeroed;     // the masks are zero already (CPU)
  uint8_t* masks;  // [runs.count, height, row_bytes()], 0 or 1, or 8 pixels a byte with bit 0 leftmost

  LDIE_HD int64_t row_bytes() const { return mask_row_bytes(width, packed); }
  LDIE_HD int64_t mask_bytes() const { return height * row_bytes(); }
  LDIE_HD int64_t pixels() const { return height * width; }
};

// A run of ones [begin, end) changes every column that it touches where it enters it and, unless it goes on to the
// bottom, where it leaves it. Calls toggle(row, column) for those among columns [left, right).
template <typename Toggle>
LDIE_HD void toggle_run(int64_t begin, int64_t end, int64_t height, int64_t left, int64_t right, const Toggle& toggle) {
  if (begin >= end) return;
  const int64_t first = begin / height, last = (end - 1) / height;
  for (int64_t column = first > left ? first : left; column <= last && column < right; ++column) {
    const int64_t enters = begin - column * height, leaves = end - column * height;
    toggle(enters > 0 ? enters : 0, column);
    if (leaves < height) toggle(leaves, column);
  }
}

void rle_decode(const RleDecode& args, Context& context);

}  // namespace ldie::masks
