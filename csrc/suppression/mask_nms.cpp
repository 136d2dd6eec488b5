// SPDX-License-Identifier: Apache-2.0
#include "suppression/mask_nms.h"

#include "core/library_tensors.h"
#include "suppression/mask_order_tensors.h"
#include "suppression/suppression_tensors.h"

namespace ldie::suppression {
namespace {

Tensor mask_nms_op(const Tensor& masks_, int64_t width, bool packed, const Tensor& labels_, const Tensor& scores_,
                   double iou_threshold) {
  check_scored_masks("mask_nms", masks_, width, packed, labels_, scores_);
  const Tensor masks = as_contiguous(masks_), labels = as_contiguous(labels_), scores = as_contiguous(scores_);
  Tensor rows = make_empty(masks, {masks.size(0)}, ScalarType::Long), kept = make_empty(masks, {}, ScalarType::Long);
  if (masks.size(0) == 0) return rows;

  launch_floating(scores, [&]<typename T>(Context& context) {
    mask_nms<T>({{masks::mask_set(masks, width), data<int64_t>(labels), data<T>(scores)},
                 iou_threshold,
                 mutable_data<int64_t>(rows),
                 mutable_data<int64_t>(kept)},
                context);
  });
  return first_rows(rows, kept_count(kept));
}

LDIE_OP(mask_nms, mask_nms_op,
        "(Tensor masks, SymInt width, bool packed, Tensor labels, Tensor scores, float iou_threshold) -> Tensor");

}  // namespace
}  // namespace ldie::suppression
