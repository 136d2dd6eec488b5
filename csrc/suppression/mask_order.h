// SPDX-License-Identifier: Apache-2.0
// What the suppressions of masks share: the masks, and their order.
#pragma once

#include "masks/mask_set.h"
#include "suppression/nms.h"

namespace ldie::suppression {

// Ranks are places in the order of scores: descending, equal scores in the order of the input, NaN first.
template <typename T>
struct ScoredMasks {
  masks::MaskSet masks;
  const int64_t* labels;  // [count]
  const T* scores;        // [count]
};

}  // namespace ldie::suppression
