// SPDX-License-Identifier: Apache-2.0
#include "core/library_tensors.h"
#include "suppression/nms_tensors.h"

namespace ldie::suppression {
namespace {

Tensor nms_op(const Tensor& boxes, const Tensor& scores, double iou_threshold) {
  return trimmed(run_nms("nms", boxes, scores, nullptr, iou_threshold, nullptr));
}

LDIE_SCHEMA("nms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor");
LDIE_REGISTER("nms", nms_op)

}  // namespace
}  // namespace ldie::suppression
