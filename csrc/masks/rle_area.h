// SPDX-License-Identifier: Apache-2.0
// The number of ones of run lengths.
#pragma once

#include "masks/mask_set.h"

namespace ldie::masks {

struct RleArea {
  const int32_t* counts;   // [runs]
  const int64_t* offsets;  // [count + 1], runs of a mask
  int64_t runs, count;
  int64_t* areas;  // [count]
};

void rle_area(const RleArea& args, Context& context);

}  // namespace ldie::masks
