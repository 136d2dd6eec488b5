// SPDX-License-Identifier: Apache-2.0
#include "suppression/mask_nms.h"

#include "core/library_tensors.h"
#include "suppression/mask_order_tensors.h"
#include "suppression/nms_tensors.h"

namespace ldie::suppression {
namespace {

Tensor mask_nms_op(const Tensor& masks_, int64_t width, bool packed, const Tensor& labels_, const Tensor& scores_,
                   double iou_threshold) {
  check_scored_masks("mask_nms", masks_, width, packed, labels_, scores_);
  const Tensor masks = as_contiguous(masks_), labels = as_contiguous(labels_), scores = as_contiguous(scores_);
  Kept kept{make_empty(masks, {masks.size(0)}, ScalarType::Long), make_empty(masks, {}, ScalarType::Long)};
  if (masks.size(0) == 0) return kept.rows;
  TensorContext context(masks);
  dispatch_floating(scores.scalar_type(), [&](auto element) {
    using T = decltype(element);
    mask_nms(MaskNms<T>{{masks::mask_set(masks, width), data<int64_t>(labels), data<T>(scores)},
                        iou_threshold,
                        mutable_data<int64_t>(kept.rows),
                        mutable_data<int64_t>(kept.count)},
             context);
  });
  return trimmed(kept);
}

LDIE_SCHEMA(
    "mask_nms(Tensor masks, SymInt width, bool packed, Tensor labels, Tensor scores, float iou_threshold) -> Tensor");
LDIE_REGISTER("mask_nms", mask_nms_op)

}  // namespace
}  // namespace ldie::suppression
