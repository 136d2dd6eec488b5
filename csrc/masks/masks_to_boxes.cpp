// SPDX-License-Identifier: Apache-2.0
#include "masks/masks_to_boxes.h"

#include "core/library_tensors.h"
#include "masks/mask_tensors.h"

namespace ldie::masks {
namespace {

Tensor masks_to_boxes_op(const Tensor& masks_, int64_t width, bool packed, bool beyond) {
  check_masks("masks_to_boxes", "masks", masks_, width, packed);
  const Tensor masks = as_contiguous(masks_);
  Tensor boxes = make_empty(masks, {masks.size(0), 4}, ScalarType::Float);
  TensorContext context(masks);
  masks_to_boxes({mask_set(masks, width), beyond, mutable_data<float>(boxes)}, context);
  return boxes;
}

LDIE_OP(masks_to_boxes, masks_to_boxes_op, "(Tensor masks, SymInt width, bool packed, bool beyond) -> Tensor");

}  // namespace
}  // namespace ldie::masks
