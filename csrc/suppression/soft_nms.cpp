// SPDX-License-Identifier: Apache-2.0
#include "suppression/soft_nms.h"

#include <tuple>

#include "core/library_tensors.h"
#include "suppression/suppression_tensors.h"

namespace ldie::suppression {
namespace {

std::tuple<Tensor, Tensor> soft_nms_op(const Tensor& boxes_, const Tensor& scores_, const std::optional<Tensor>& idxs_,
                                       int64_t method_, double iou_threshold, double sigma, double min_score) {
  constexpr const char* op = "soft_nms";
  check_scored_boxes(op, boxes_, scores_, idxs_);
  const auto method = checked_option<Decay>(op, "method", method_);
  if (!(sigma > 0)) check_failed(op, "sigma must be above 0, got ", sigma);
  const Tensor boxes = as_contiguous(boxes_), scores = as_contiguous(scores_);
  const std::optional<Tensor> idxs = as_contiguous(idxs_);
  const int64_t count = boxes.size(0);
  Tensor kept_scores = make_empty(scores, {count}), kept_rows = make_empty(scores, {count}, ScalarType::Long);
  Tensor kept = make_empty(scores, {}, ScalarType::Long);

  launch_floating(boxes, [&]<typename T>(Context& context) {
    soft_nms<T>(
        {data<T>(boxes), data<T>(scores), idxs ? data<int64_t>(*idxs) : nullptr, count, method, iou_threshold, sigma,
         min_score, mutable_data<T>(kept_scores), mutable_data<int64_t>(kept_rows), mutable_data<int64_t>(kept)},
        context);
  });
  const int64_t size = kept_count(kept);
  return {first_rows(kept_scores, size), first_rows(kept_rows, size)};
}

LDIE_OP(soft_nms, soft_nms_op,
        "(Tensor boxes, Tensor scores, Tensor? idxs, int method, float iou_threshold, float sigma, float min_score) -> "
        "(Tensor, Tensor)");

}  // namespace
}  // namespace ldie::suppression
