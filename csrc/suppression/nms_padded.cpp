// SPDX-License-Identifier: Apache-2.0
#include <tuple>

#include "core/library_tensors.h"
#include "suppression/nms_tensors.h"

namespace ldie::suppression {
namespace {

std::tuple<Tensor, Tensor> nms_padded_op(const Tensor& boxes, const Tensor& scores, const Tensor& idxs,
                                         double iou_threshold, int64_t max_output) {
  const Kept kept = run_nms("nms_padded", boxes, scores, &idxs, iou_threshold, &max_output);
  return {kept.rows, kept.count};
}

LDIE_SCHEMA(
    "nms_padded(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold, SymInt max_output) -> "
    "(Tensor, Tensor)");
LDIE_REGISTER("nms_padded", nms_padded_op)

}  // namespace
}  // namespace ldie::suppression
