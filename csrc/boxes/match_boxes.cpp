// SPDX-License-Identifier: Apache-2.0
#include "boxes/match_boxes.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::boxes {
namespace {

constexpr const char* kOp = "match_boxes";

void check_ground_truth(const Tensor& gt, const Tensor& gt_offsets, const std::optional<Tensor>& crowd) {
  if (gt.scalar_type() != ScalarType::Float && gt.scalar_type() != ScalarType::Double) {
    check_failed(kOp, "gt must be float32 or float64, got ", describe(gt));
  }
  check_shape(kOp, "gt", gt, {kAnySize, 4}, "[G, 4]");
  constexpr int64_t kLimit = (int64_t(1) << 31) - 1;
  if (gt.size(0) > kLimit) check_failed(kOp, "gt must have fewer than 2^31 rows, got ", describe(gt));
  check_same_device(kOp, "gt_offsets", gt_offsets, "gt", gt);
  check_offsets(kOp, gt_offsets, gt.size(0), "gt_offsets");
  if (!crowd) return;
  check_dtype(kOp, "crowd", *crowd, ScalarType::Bool);
  check_shape(kOp, "crowd", *crowd, {gt.size(0)}, "[G], one per gt box");
  check_same_device(kOp, "crowd", *crowd, "gt", gt);
}

void check_candidates(const Tensor& candidates, const Tensor& gt, int64_t batch) {
  check_dtype(kOp, "candidates", candidates, gt.scalar_type());
  check_same_device(kOp, "candidates", candidates, "gt", gt);
  if (candidates.dim() == 2) return check_shape(kOp, "candidates", candidates, {kAnySize, 4}, "[A, 4] or [B, A, 4]");
  check_shape(kOp, "candidates", candidates, {batch, kAnySize, 4}, "[A, 4] or [B, A, 4], B one less than gt_offsets");
}

std::tuple<Tensor, Tensor> match_boxes_op(const Tensor& gt_, const Tensor& gt_offsets_, const Tensor& candidates_,
                                          double high, double low, bool allow_low_quality, int64_t convention_,
                                          const std::optional<Tensor>& crowd_) {
  check_ground_truth(gt_, gt_offsets_, crowd_);
  const auto convention = checked_option<MatchConvention>(kOp, "convention", convention_);
  const int64_t batch = gt_offsets_.size(0) - 1;
  check_candidates(candidates_, gt_, batch);
  const Tensor gt = as_contiguous(gt_), gt_offsets = as_contiguous(gt_offsets_);
  const Tensor candidates = as_contiguous(candidates_);
  const std::optional<Tensor> crowd = as_contiguous(crowd_);
  const bool shared = candidates.dim() == 2;
  const int64_t count = candidates.size(shared ? 0 : 1);
  Tensor matches = make_empty(gt, {batch, count}, ScalarType::Long), iou = make_empty(gt, {batch, count});
  if (matches.numel() == 0) return {matches, iou};

  TensorContext context(gt);
  const auto run = [&](auto element) {
    using T = decltype(element);
    MatchBoxes<T> args;
    args.gt = data<T>(gt);
    args.gt_offsets = data<int64_t>(gt_offsets);
    args.crowd = crowd ? data<bool>(*crowd) : nullptr;
    args.gt_count = gt.size(0);
    args.batch = batch;
    args.candidates = data<T>(candidates);
    args.shared = shared;
    args.count = count;
    args.high = T(high);
    args.low = T(low);
    args.allow_low_quality = allow_low_quality;
    args.convention = convention;
    args.matches = mutable_data<int64_t>(matches);
    args.iou = mutable_data<T>(iou);
    match_boxes(args, context);
  };
  gt.scalar_type() == ScalarType::Double ? run(double()) : run(float());
  return {matches, iou};
}

LDIE_SCHEMA(
    "match_boxes(Tensor gt, Tensor gt_offsets, Tensor candidates, float high, float low, bool allow_low_quality, "
    "int convention, Tensor? crowd) -> (Tensor, Tensor)");
LDIE_REGISTER("match_boxes", match_boxes_op)

}  // namespace
}  // namespace ldie::boxes
