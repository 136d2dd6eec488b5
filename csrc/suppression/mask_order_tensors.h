// SPDX-License-Identifier: Apache-2.0
// The tensor side that the suppressions of masks share.
#pragma once

#include "masks/mask_tensors.h"
#include "suppression/mask_order.h"

namespace ldie::suppression {

inline void check_scored_masks(const char* op, const Tensor& masks, int64_t width, bool packed, const Tensor& labels,
                               const Tensor& scores) {
  masks::check_masks(op, "masks", masks, width, packed);
  check_dtype(op, "labels", labels, ScalarType::Long);
  check_shape(op, "labels", labels, {masks.size(0)}, "[N], one per mask");
  check_same_device(op, "labels", labels, "masks", masks);
  check_floating(op, "scores", scores);
  check_shape(op, "scores", scores, {masks.size(0)}, "[N], one per mask");
  check_same_device(op, "scores", scores, "masks", masks);
}

}  // namespace ldie::suppression
