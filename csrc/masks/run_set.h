// SPDX-License-Identifier: Apache-2.0
// The run lengths of many masks, as ops see them.
#pragma once

#include <cstdint>

#include "core/ragged.h"

namespace ldie::masks {

struct RunSet {
  const int32_t* counts;   // [runs] of all masks, column by column, zeros first
  const int64_t* offsets;  // [count + 1], runs of a mask
  int64_t runs, count;

  LDIE_HD RowRange runs_of(int64_t mask) const { return row_range(offsets, mask, runs); }
};

}  // namespace ldie::masks
