// SPDX-License-Identifier: Apache-2.0
// The ops that nms() serves: nms, batched_nms and nms_padded.
#include "suppression/nms.h"

#include <tuple>

#include "core/library_tensors.h"
#include "suppression/suppression_tensors.h"

namespace ldie::suppression {
namespace {

struct Kept {
  Tensor rows;   // int64 [max_output], -1 after the last
  Tensor count;  // int64 []
};

Kept run_nms(const Tensor& boxes_, const Tensor& scores_, const std::optional<Tensor>& idxs_, double iou_threshold,
             int64_t max_output) {
  const Tensor boxes = as_contiguous(boxes_), scores = as_contiguous(scores_);
  const std::optional<Tensor> idxs = as_contiguous(idxs_);
  Kept kept{make_empty(boxes, {max_output}, ScalarType::Long), make_empty(boxes, {}, ScalarType::Long)};
  launch_floating(boxes, [&]<typename T>(Context& context) {
    nms<T>({data<T>(boxes), data<T>(scores), idxs ? data<int64_t>(*idxs) : nullptr, boxes.size(0), iou_threshold,
            max_output, mutable_data<int64_t>(kept.rows), mutable_data<int64_t>(kept.count)},
           context);
  });
  return kept;
}

Tensor kept_rows(const char* op, const Tensor& boxes, const Tensor& scores, const std::optional<Tensor>& idxs,
                 double iou_threshold) {
  check_scored_boxes(op, boxes, scores, idxs);
  const Kept kept = run_nms(boxes, scores, idxs, iou_threshold, boxes.size(0));
  return first_rows(kept.rows, kept_count(kept.count));
}

Tensor nms_op(const Tensor& boxes, const Tensor& scores, double iou_threshold) {
  return kept_rows("nms", boxes, scores, std::nullopt, iou_threshold);
}

Tensor batched_nms_op(const Tensor& boxes, const Tensor& scores, const Tensor& idxs, double iou_threshold) {
  return kept_rows("batched_nms", boxes, scores, idxs, iou_threshold);
}

std::tuple<Tensor, Tensor> nms_padded_op(const Tensor& boxes, const Tensor& scores, const Tensor& idxs,
                                         double iou_threshold, int64_t max_output) {
  constexpr const char* op = "nms_padded";
  check_scored_boxes(op, boxes, scores, idxs);
  if (max_output < 0) check_failed(op, "max_output must be at least 0, got ", max_output);
  const Kept kept = run_nms(boxes, scores, idxs, iou_threshold, max_output);
  return {kept.rows, kept.count};
}

LDIE_OP(nms, nms_op, "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor");
LDIE_OP(batched_nms, batched_nms_op, "(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) -> Tensor");
LDIE_OP(nms_padded, nms_padded_op,
        "(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold, SymInt max_output) -> (Tensor, Tensor)");

}  // namespace
}  // namespace ldie::suppression
