// SPDX-License-Identifier: Apache-2.0
#include "suppression/soft_nms.h"

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include <tuple>

#include "core/library_tensors.h"
#include "suppression/scored_boxes_tensors.h"

namespace ldie::suppression {
namespace {

std::tuple<Tensor, Tensor> soft_nms_op(const Tensor& boxes_, const Tensor& scores_, const std::optional<Tensor>& idxs_,
                                       int64_t method_, double iou_threshold, double sigma, double min_score) {
  constexpr const char* op = "soft_nms";
  check_scored_boxes(op, boxes_, scores_, idxs_ ? &*idxs_ : nullptr);
  const auto method = checked_option<Decay>(op, "method", method_);
  if (!(sigma > 0)) check_failed(op, "sigma must be above 0, got ", sigma);
  const Tensor boxes = as_contiguous(boxes_), scores = as_contiguous(scores_);
  const std::optional<Tensor> idxs = as_contiguous(idxs_);
  const int64_t count = boxes.size(0);
  Tensor kept_scores = make_empty(scores, {count}), kept_rows = make_empty(scores, {count}, ScalarType::Long);
  Tensor kept = make_empty(scores, {}, ScalarType::Long);

  TensorContext context(boxes);
  dispatch_floating(boxes.scalar_type(), [&](auto element) {
    using T = decltype(element);
    SoftNms<T> args;
    args.boxes = data<T>(boxes);
    args.scores = data<T>(scores);
    args.groups = idxs ? data<int64_t>(*idxs) : nullptr;
    args.count = count;
    args.decay = method;
    args.iou_threshold = iou_threshold;
    args.sigma = sigma;
    args.min_score = min_score;
    args.kept_scores = mutable_data<T>(kept_scores);
    args.kept_rows = mutable_data<int64_t>(kept_rows);
    args.kept = mutable_data<int64_t>(kept);
    soft_nms(args, context);
  });
  int64_t size = 0;  // reading it is the op's one synchronisation, as for every output whose size depends on the data
  TORCH_ERROR_CODE_CHECK(aoti_torch_item_int64(kept.get(), &size));
  return {torch::stable::narrow(kept_scores, 0, 0, size), torch::stable::narrow(kept_rows, 0, 0, size)};
}

LDIE_SCHEMA(
    "soft_nms(Tensor boxes, Tensor scores, Tensor? idxs, int method, float iou_threshold, float sigma, "
    "float min_score) -> (Tensor, Tensor)");
LDIE_REGISTER("soft_nms", soft_nms_op)

}  // namespace
}  // namespace ldie::suppression
