// SPDX-License-Identifier: Apache-2.0
// The number of ones of run lengths.
#pragma once

#include "core/context.h"
#include "masks/run_set.h"

namespace ldie::masks {

struct RleArea {
  RunSet masks;
  int64_t* areas;  // [count]
};

void rle_area(const RleArea& args, Context& context);

}  // namespace ldie::masks
