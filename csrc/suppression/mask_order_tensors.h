// SPDX-License-Identifier: Apache-2.0
// The tensor side that the suppressions of masks share.
#pragma once

#include "masks/mask_tensors.h"
#include "suppression/mask_order.h"

namespace ldie::suppression {

inline void check_scored_masks(const char* op, const Tensor& masks_, int64_t width, bool packed, const Tensor& labels,
                               const Tensor& scores) {
  masks::check_masks(op, "masks", masks_, width, packed);
  const Argument masks(op, "masks", masks_);
  const int64_t count = masks.size(0);
  Argument(op, "labels", labels).dtype(ScalarType::Long).shape({count}, "[N], one per mask").device_of(masks);
  Argument(op, "scores", scores).floating().shape({count}, "[N], one per mask").device_of(masks);
}

}  // namespace ldie::suppression
