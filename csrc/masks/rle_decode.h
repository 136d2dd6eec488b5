// SPDX-License-Identifier: Apache-2.0
// Run lengths, read column by column, to masks.
#pragma once

#include "core/context.h"
#include "masks/mask_output.h"
#include "masks/run_set.h"

namespace ldie::masks {

struct RleDecode {
  RunSet runs;
  MaskOutput out;
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
