// SPDX-License-Identifier: Apache-2.0
#include "core/library_tensors.h"
#include "suppression/nms_tensors.h"

namespace ldie::suppression {
namespace {

Tensor batched_nms_op(const Tensor& boxes, const Tensor& scores, const Tensor& idxs, double iou_threshold) {
  return trimmed(run_nms("batched_nms", boxes, scores, &idxs, iou_threshold, nullptr));
}

LDIE_SCHEMA("batched_nms(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) -> Tensor");
LDIE_REGISTER("batched_nms", batched_nms_op)

}  // namespace
}  // namespace ldie::suppression
