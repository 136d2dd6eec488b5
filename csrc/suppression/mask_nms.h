// SPDX-License-Identifier: Apache-2.0
// Greedy suppression of masks: by descending score a mask is kept unless a mask of its label that was kept before has
// an IoU with it above the threshold.
#pragma once

#include "suppression/mask_order.h"

namespace ldie::suppression {

template <typename T>
struct MaskNms {
  ScoredMasks<T> input;
  double iou_threshold;
  int64_t* keep;  // [count] rows kept, by descending score; what follows them is not written
  int64_t* kept;  // [] how many
};

template <typename T>
void mask_nms(const MaskNms<T>& args, Context& context);

}  // namespace ldie::suppression
